"""Templates to a page: every text escaped, style and script inside the file, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from swav_ray.report.page import charts

_PACKAGE = "swav_ray.report.page"


@dataclass(frozen=True)
class Tab:
    """A part of a page: its id in the file, its title, and the template that draws it."""

    id: str
    title: str
    template: str


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(_PACKAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals |= {
        "width": charts.WIDTH,
        "height": charts.HEIGHT,
        "left": charts.LEFT,
        "right": charts.RIGHT,
        "top": charts.TOP,
        "bottom": charts.BOTTOM,
    }
    return made


def page(title: str, subtitle: str, tabs: Sequence[Tab], context: dict[str, Any]) -> str:
    """A whole HTML file.

    Args:
        context: what the tabs' templates show, by name. Text in it is text, whatever it looks like.
    """
    style, script = (files(_PACKAGE).joinpath("templates", name).read_text("utf-8") for name in ("page.css", "page.js"))
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            tabs=tabs,
            style=Markup(style),
            style_hash=_hash(style),
            script=Markup(script),
            script_hash=_hash(script),
            **context,
        )
    )


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what is inside the file."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
