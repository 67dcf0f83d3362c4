"""Runs to their page: what `python -m swav_ray.report` does, and each run at its end."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from swav_ray.one_line import one_line
from swav_ray.report.page import curves, differences, headline
from swav_ray.report.page.gallery import Gallery
from swav_ray.report.page.html import Tab, page
from swav_ray.report.page.map_points import map_of
from swav_ray.report.page.run_record import RunRecord, read_run
from swav_ray.run.layout import PAGE
from swav_ray.storage.place import Place

_TABS = (
    Tab("overview", "Overview", "overview.html.j2"),
    Tab("training", "Training", "training.html.j2"),
    Tab("clusters", "Clusters", "clusters.html.j2"),
    Tab("neighbours", "Neighbours", "neighbours.html.j2"),
    Tab("map", "Map", "map.html.j2"),
    Tab("data", "Data", "data.html.j2"),
    Tab("evaluations", "Evaluations", "evaluations.html.j2"),
    Tab("settings", "Settings", "settings.html.j2"),
)
_TABS_OF_SEVERAL = (
    Tab("overview", "Side by side", "compare.html.j2"),
    Tab("training", "Curves", "training.html.j2"),
    Tab("clusters", "Clusters", "clusters.html.j2"),
    Tab("settings", "Settings", "compare_settings.html.j2"),
)
_CLUSTERS, _CLUSTERS_OF_SEVERAL = 24, 6
MakeGallery = Callable[[RunRecord], Gallery]


@dataclass(frozen=True)
class _Pictured:
    """A run's pictures on the page, or why there are none. `most`: clusters of it that are shown."""

    name: str
    number: int
    most: int
    gallery: Gallery | None
    why: str = ""


def pictures_of(run: RunRecord, *, patient: bool = False) -> Gallery:
    """The pictures of a run; arguments and errors as those of `embedded.gallery_of`."""
    from swav_ray.report.page.embedded import gallery_of  # torch and image decoders take seconds to import

    return gallery_of(run.place, run.config, patient=patient)


def write_page(run_dir: Place, make: MakeGallery = pictures_of) -> Place:
    """Writes a run's page into its directory; its place.

    Args:
        make: gives the run's pictures. Whatever it raises, the page is written without them, and says why.

    Raises:
        PlaceError, ConfigError: no run lies there, or one of another version. OSError: its files cannot be read.
    """
    text = of_run(read_run(run_dir), make)
    (run_dir / PAGE).write_bytes(text.encode())
    return run_dir / PAGE


def of_run(run: RunRecord, make: MakeGallery = pictures_of) -> str:
    """The page of one run."""
    drawn, missing = curves.charts([run])
    shown = _pictured(run, 0, _CLUSTERS, make)
    gallery = shown.gallery
    recipe, rows = differences.against_recipe(run.config)
    context = {
        "footer": footer(),
        "place": run.place.uri,
        "verdict": headline.verdict(run),
        "figures": headline.figures(run),
        "charts": drawn,
        "missing": missing,
        "seconds": _seconds(run),
        "galleries": [shown],
        "gallery": gallery,
        "why": shown.why,
        "map": map_of(gallery) if gallery else None,
        "crops": gallery.crops if gallery else (),
        "quarantine": [{"held_out": False} | bad for bad in run.quarantine],
        "data_line": _data_line(run),
        "evaluations": [row for found in run.evaluations for row in _evaluation(found)],
        "recipe": recipe,
        "settings": rows,
        "changed": sum(differs for *_, differs in rows),
        "environment": [(name, differences.shown(value)) for name, value in run.environment.items()],
    }
    return page(f"Run {run.name}", f"{run.state}; {run.place}", _TABS, context)


def of_several(runs: Sequence[RunRecord], make: MakeGallery = pictures_of) -> str:
    """The page of several runs side by side."""
    drawn, missing = curves.charts(runs)
    context = {
        "footer": footer(),
        "runs": runs,
        "table": _table(runs),
        "charts": drawn,
        "missing": missing,
        "galleries": [_pictured(run, number, _CLUSTERS_OF_SEVERAL, make) for number, run in enumerate(runs)],
        "differences": differences.among([run.config for run in runs]),
    }
    names = ", ".join(run.name for run in runs)
    return page(f"{len(runs)} runs side by side", names, _TABS_OF_SEVERAL, context)


def _pictured(run: RunRecord, number: int, most: int, make: MakeGallery) -> _Pictured:
    try:
        return _Pictured(run.name, number, most, make(run))
    except Exception as error:  # a page without pictures is worth more than none, whatever is wrong with the images
        return _Pictured(run.name, number, most, None, one_line(error))


def footer() -> str:
    """The last line of a page: who wrote it, and when."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Written by swav_ray {metadata.version('swav_ray')} on {now}. This file needs no other file and no network."


def _seconds(run: RunRecord) -> list[tuple[str, str, str]]:
    parts = {name: value for name, value in (run.summary.get("seconds") or {}).items() if name != "goodput"}
    total = sum(parts.values())
    return [
        (name.replace("_", " "), f"{value:,.1f}", f"{100 * value / total:.1f}%")
        for name, value in parts.items()
        if value
    ]


def _data_line(run: RunRecord) -> str:
    images = run.summary.get("images")
    known = f"{images:,} images to train on, " if images is not None else ""
    return f"{run.config.data.uri}: {known}{len(run.quarantine):,} of them unreadable."


def _evaluation(found: dict[str, Any]) -> list[dict[str, str]]:
    """A row for each figure of a results.json."""
    return [
        {
            "protocol": str(found["protocol"]),
            "weights": str(found.get("backbone", found.get("weights", ""))),
            "figure": name,
            "value": f"{figure['value']:.4g}{figure.get('unit', '')}",
            "interval": _interval(figure),
        }
        for name, figure in (found.get("figures") or {}).items()
    ]


def _interval(figure: dict[str, Any]) -> str:
    low, high = figure.get("low"), figure.get("high")
    return "-" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _table(runs: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """What is compared, run by run."""

    def per_run(show: Callable[[RunRecord], str]) -> list[str]:
        return [show(run) for run in runs]

    def top1(name: str) -> Callable[[RunRecord], str]:
        return lambda run: f"{known[name]:.1f}%" if name in (known := run.summary.get("knn_top1") or {}) else "-"

    return [
        ("state", per_run(lambda run: run.state)),
        ("health", per_run(lambda run: headline.health_now(run)[0] or "-")),
        ("kNN top-1", per_run(headline.knn_text)),
        ("kNN top-1, untrained", per_run(top1("untrained"))),
        ("kNN top-1, raw pixels", per_run(top1("pixels"))),
        ("loss", per_run(lambda run: "-" if (loss := headline.loss_now(run)) is None else f"{loss:.3f}")),
        ("ln K", per_run(lambda run: f"{run.ln_k:.3f}")),
        ("steps", per_run(lambda run: f"{run.steps[-1]['step'] + 1:,}" if run.steps else "0")),
        ("images/s, median", per_run(_rate)),
        ("goodput", per_run(lambda run: "-" if (good := headline.goodput(run)) is None else f"{good:.0f}%")),
    ]


def _rate(run: RunRecord) -> str:
    rates = sorted(step["images_per_second"] for step in run.steps)
    return f"{rates[len(rates) // 2]:,.0f}" if rates else "-"
