"""What a field of a section is, and what a value out of range raises."""

from __future__ import annotations

from dataclasses import field
from typing import Any


class ConfigError(ValueError):
    """A setting that cannot be: the message names the field, its value and what would be right."""

    def __init__(self, name: str, value: object, right: str) -> None:
        super().__init__(f"{name} = {value!r}: {right}")


def setting(default: Any, doc: str, *, unit: str = "", resumable: bool = False) -> Any:
    """A config field.

    Args:
        doc: the sentence that `--help` shows.
        unit: of the value, shown beside the default.
        resumable: the field may differ when a run or a sweep resumes, since it changes neither what is learned nor what
            a measurement means.
    """
    return field(default=default, metadata={"doc": doc, "unit": unit, "resumable": resumable})


def require(ok: bool, name: str, value: object, right: str) -> None:
    if not ok:
        raise ConfigError(name, value, right)
