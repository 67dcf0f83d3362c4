"""The live panel of a run: whole in a terminal of 80 x 24, narrower if it has to be. Draws what `Progress` knows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from swav_ray.report.progress import Progress
from swav_ray.report.silence import duration
from swav_ray.run.health_log import ALARMS, HEALTHY

_BARS = "▁▂▃▄▅▆▇█"
_WIDEST = 110  # characters: a wider panel is harder to read
_SPARK = 24  # characters of a sparkline
_EDGES = 14  # characters that the panel's frame and its names take


def sparkline(values: Iterable[float], width: int = _SPARK) -> str:
    """A curve as one line of characters, each the mean of a stretch of it."""
    values = list(values)  # another thread may add to them
    if not values:
        return ""
    count = min(width, len(values))
    edges = [number * len(values) // count for number in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in means)


class LivePanel:
    """Draws a run as it is at each refresh.

    Args:
        progress: of the run; it changes while the panel is shown.
        clock: that `progress.saved_at` is of.
    """

    def __init__(self, progress: Progress, clock: Callable[[], float]) -> None:
        self._progress, self._clock = progress, clock

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, _WIDEST)
        rows = Table.grid(padding=(0, 1))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(no_wrap=True, overflow="ellipsis", width=max(10, width - _EDGES))
        for name, content in self._rows(width):
            rows.add_row(name, content)
        yield Panel(rows, box=box.ROUNDED, title=self._title(), title_align="left", width=width)

    def _title(self) -> Text:
        run = self._progress
        title = Text(run.name or "run", style="bold")
        if run.health:
            style = "green" if run.health == HEALTHY else "bold red" if run.health in ALARMS else "yellow"
            title.append(f"  {run.health}", style=style)
        return title

    def _rows(self, width: int) -> list[tuple[str, Text | Table]]:
        run = self._progress
        bar = max(8, min(30, width - 60))
        done, each = run.of_epoch
        eta = f"  ETA {duration(run.eta)}" if run.eta is not None else ""
        rows: list[tuple[str, Text | Table]] = []
        if run.steps:
            rows.append(("run", _bar(run.step, run.steps, bar, f"step {run.step:,} of {run.steps:,}{eta}")))
        if each:
            rows.append(("epoch", _bar(done, each, bar, f"{run.epoch} of {run.epochs}")))
        rows.append(("loss", self._loss(width)))
        if run.knn:
            rows.append(("kNN", self._knn()))
        if run.images_per_second:
            rows.append(("speed", Text(f"{run.images_per_second:,.0f} images/s, {run.data_wait:.0%} waiting for data")))
        if run.workers:
            rows.append(("world", Text(_world(run))))
        if run.saved is not None:
            age = duration(max(0.0, self._clock() - run.saved_at))
            rows.append(("saved", Text(f"{age} ago, before step {run.saved:,}")))
        if run.why:
            rows.append(("why", Text(run.why, style="red")))
        if run.now:
            rows.append(("now", Text(run.now)))
        return rows

    def _loss(self, width: int) -> Text:
        run = self._progress
        beside = f"nothing is learned at ln K = {run.ln_k:.2f}" if run.ln_k else ""
        losses = list(run.losses)
        if not losses:
            return Text(f"no step yet   {beside}".rstrip())
        text = Text(sparkline(losses, min(_SPARK, max(8, width - 56))), style="cyan")
        text.append(f" {losses[-1]:.3f}", style="default")
        return text.append(f"   {beside}", style="dim") if beside else text

    def _knn(self) -> Text:
        run = self._progress
        epoch, top1, error = run.knn[-1]
        text = Text(sparkline([value for _, value, _ in run.knn]), style="cyan")
        noise = f" \N{PLUS-MINUS SIGN} {error:.1f}" if error else ""
        return text.append(f" {top1:.1f}%{noise} after epoch {epoch:g}", style="default")


def _bar(done: int, of: int, width: int, text: str) -> Table:
    line = Table.grid(padding=(0, 1))
    line.add_column(width=width)
    line.add_column(no_wrap=True)
    line.add_row(ProgressBar(total=of, completed=min(done, of), width=width), Text(text))
    return line


def _world(run: Progress) -> str:
    before = ", ".join(f"{workers} until step {step:,}" for workers, step in reversed(run.changes))
    return f"{run.workers} worker{'' if run.workers == 1 else 's'}" + (f" ({before})" if before else "")
