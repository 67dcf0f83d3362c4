"""`python -m swav_ray.runs STORAGE`: a table of all runs below a storage, read from their files."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from swav_ray import command_line
from swav_ray.report.complaint import complain
from swav_ray.report.registry import RunLine, ordered, runs_below
from swav_ray.run.health_log import ALARMS
from swav_ray.storage.place import PlaceError, place

_FIGURES = ("run", "state", "health", "step", "loss", "ln_k", "knn", "untrained", "images_per_second", "goodput")
_HEADERS = {"kNN": "knn", "images/s": "images_per_second", "hours": "worker_hours", "cost": "worker_hours"}
# What `--sort` takes, and the figure that it means: names as in --json, and the table's headers.
SORTS = {name: name for name in (*_FIGURES, "worker_hours", "started")} | _HEADERS


def parser() -> command_line.Parser:
    """The command's options."""
    made = command_line.Parser(
        prog="python -m swav_ray.runs", description="A table of all runs below a storage, trials of sweeps included."
    )
    made.add_argument("storage", metavar="STORAGE", help="where runs lie (run.storage), local or s3://")
    made.add_argument(
        "--sort", choices=SORTS, default="run", metavar="COLUMN", help="figures: the best first (%(default)s)"
    )
    made.add_argument(
        "--price",
        type=command_line.not_negative,
        default=0.0,
        metavar="DOLLARS",
        help="of an hour of one worker: adds what each run's training cost so far",
    )
    made.add_argument("--json", action="store_true", help="a JSON list instead, for programs")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 done, 1 it failed, 2 the user's mistake, in one line."""
    try:
        options = command_line.read(parser(), sys.argv[1:] if arguments is None else arguments)
        storage = place(options.storage)
        lines = ordered(runs_below(storage), SORTS[options.sort])
        if not lines and not storage.exists():
            raise PlaceError(f"{storage}: there is no such place; give the storage of some runs")
    except (ValueError, OSError) as error:
        return complain(error)
    if options.json:
        sys.stdout.write(json.dumps([_document(line, options.price) for line in lines], indent=1) + "\n")
        return 0
    console = Console(highlight=False)
    if not lines:
        console.print(Text(f"no run lies below {storage}"))
        return 0
    # Cut at a pipe's assumed 80 columns, a table of figures would be worth nothing.
    width = console.width if console.is_terminal else 240
    Console(highlight=False, width=width).print(table(lines, options.price))
    return 0


def _document(line: RunLine, price: float) -> dict[str, object]:
    return line.document() | ({"dollars": _dollars(line, price)} if price else {})


def _dollars(line: RunLine, price: float) -> float | None:
    return None if line.worker_hours is None else round(line.worker_hours * price, 4)


def table(lines: Sequence[RunLine], price: float = 0.0) -> Table:
    """The runs for people.

    Args:
        price: dollars of an hour of a worker; 0: no column of cost.
    """
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("run", overflow="fold")
    made.add_column("state")
    made.add_column("health")
    for name in ("step", "loss", "ln K", "kNN", "untrained", "images/s", "goodput", "hours"):
        made.add_column(name, justify="right")
    if price:
        made.add_column("cost", justify="right")
    made.add_column("started")
    for line in lines:
        style = "red" if line.health in ALARMS or line.problem else ""
        cells = [line.run, line.state, line.problem or line.health or "-"]
        cells += [f"{line.step:,}/{line.steps:,}" if line.steps else "-", _shown(line.loss, ".3f")]
        cells += [_shown(line.ln_k, ".3f"), _shown(line.knn, ".1f", "%"), _shown(line.untrained, ".1f", "%")]
        cells += [_shown(line.images_per_second, ",.0f"), _shown(line.goodput, ".0%"), _shown(line.worker_hours, ".2f")]
        cells += [_shown(_dollars(line, price), ",.2f", " $")] if price else []
        made.add_row(*(Text(cell) for cell in [*cells, _day(line.started)]), style=style)
    return made


def _shown(value: float | None, how: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{how}}{unit}"


def _day(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")


if __name__ == "__main__":
    sys.exit(main())
