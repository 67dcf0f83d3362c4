"""The charts of runs: each overlays the runs that it is given; one run alone has its parts drawn as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from swav_ray.report.page import timeline
from swav_ray.report.page.axis import means
from swav_ray.report.page.charts import Chart, Drawn, Level, Mark, Series, draw
from swav_ray.report.page.run_record import RunRecord, column
from swav_ray.run.scores import standard_error

Runs = Sequence[RunRecord]


def charts(runs: Runs) -> tuple[list[Drawn], list[str]]:
    """The charts whose data are there, and for each other one a line that says why it is left out."""
    drawn, missing = [], []
    for make, why in _CHARTS:
        chart = make(runs)
        picture = draw(chart)
        if picture is None:
            observed = why == _NO_HEALTH and any(run.health for run in runs)
            missing.append(f"{chart.title}: health.jsonl has no such figure." if observed else why)
        else:
            drawn.append(picture)
    return drawn, list(dict.fromkeys(missing))


def _name(runs: Runs, run: RunRecord, what: str) -> str:
    return what if len(runs) == 1 else run.name


def _marks(runs: Runs, *, clock: bool = False) -> list[Mark]:
    """What happened to a run; several runs' marks would hide each other's."""
    if len(runs) > 1:
        return []
    began = timeline.begins(runs[0].steps, runs[0].history) if clock else None
    return timeline.marks(runs[0].history, began=began)


def _loss(runs: Runs) -> Chart:
    series = []
    for tone, run in enumerate(runs):
        step, loss = run.column("step"), run.column("loss")
        good = np.isfinite(loss)
        if len(runs) == 1:
            series.append(Series("loss of each step", step, loss, tone, "faint"))
        series.append(
            Series(_name(runs, run, "loss, mean of a stretch of steps"), *means(step[good], loss[good]), tone)
        )
    if len(runs) == 1:
        for tone, (name, figure) in enumerate(
            (("codes' own entropy", "codes_entropy"), ("left to learn", "left_to_learn")), 1
        ):
            series.append(Series(name, column(runs[0].health, "step"), column(runs[0].health, figure), tone))
    levels = {round(run.ln_k, 3): Level(run.ln_k, f"ln K = {run.ln_k:.2f}") for run in runs}
    note = (
        "ln K is the loss of a run that learns nothing: every prototype is as likely as any other. The loss cannot "
        "fall below the codes' own entropy; what lies between them is left to learn."
    )
    return Chart(
        "Loss beside ln K",
        "step",
        "loss, nats",
        series,
        list(levels.values()),
        _marks(runs),
        note=note,
        lists_marks=True,
    )


def _knn(runs: Runs) -> Chart:
    series, levels, noisy = [], [], False
    for tone, run in enumerate(runs):
        top1 = column(run.measured, "knn_top1")
        error = None
        if run.queries:
            noisy = True
            error = np.array([standard_error(value, run.queries) for value in top1])
        series.append(Series(_name(runs, run, "kNN top-1"), column(run.measured, "epochs"), top1, tone, error=error))
    if len(runs) == 1:
        words = {"untrained": "untrained", "pixels": "raw pixels", "init": "what it started from"}
        known = runs[0].summary.get("knn_top1") or {}
        levels = [Level(known[name], text) for name, text in words.items() if name in known]
    bars = f" Bars: one standard error on {runs[0].queries:,} held-out images." if noisy and len(runs) == 1 else ""
    note = f"Held-out images classified by their nearest training images.{bars}"
    return Chart("kNN accuracy on held-out images", "epoch", "top-1, %", series, levels, note=note, whole=True)


def _health(figure: str, title: str, note: str, *, top: float | None = 1.0) -> Callable[[Runs], Chart]:
    def make(runs: Runs) -> Chart:
        series = [
            Series(_name(runs, run, title), column(run.health, "step"), column(run.health, figure), tone)
            for tone, run in enumerate(runs)
        ]
        return Chart(title, "step", title, series, marks=_marks(runs), low=0.0, high=top, note=note)

    return make


def _gradients(runs: Runs) -> Chart:
    parts = ("trunk", "head", "prototypes") if len(runs) == 1 else ("trunk",)
    series = [
        Series(
            part if len(runs) == 1 else run.name,
            column(run.health, "step"),
            column(run.health, f"gradient_{part}"),
            tone + at,
        )
        for tone, run in enumerate(runs)
        for at, part in enumerate(parts)
    ]
    return Chart(
        "Gradient norms", "step", "norm", series, marks=_marks(runs), low=0.0, note="Before LARC rescales them."
    )


def _rate(runs: Runs) -> Chart:
    series = [
        Series(_name(runs, run, "learning rate"), run.column("step"), run.column("lr"), at)
        for at, run in enumerate(runs)
    ]
    return Chart("Learning rate", "step", "learning rate", series, low=0.0)


def _throughput(runs: Runs) -> Chart:
    series = []
    for tone, run in enumerate(runs):
        began = timeline.begins(run.steps, run.history)
        x, y = means(timeline.minutes(run.steps, began), run.column("images_per_second"))
        series.append(Series(_name(runs, run, "images/s"), x, y, tone))
    return Chart(
        "Throughput", "minutes since the run began", "images/s", series, marks=_marks(runs, clock=True), low=0.0
    )


def _goodput(runs: Runs) -> Chart:
    series = []
    for tone, run in enumerate(runs):
        began = timeline.begins(run.steps, run.history)
        series.append(Series(_name(runs, run, "goodput"), *timeline.goodput_over_time(run.steps, began), tone))
    note = "How much of the clock trained. The rest: starts and restarts, waiting for data, checkpoints, measurements."
    return Chart(
        "Goodput",
        "minutes since the run began",
        "% of the time",
        series,
        marks=_marks(runs, clock=True),
        low=0.0,
        high=100.0,
        note=note,
        lists_marks=True,
    )


def _workers(runs: Runs) -> Chart:
    series = [
        Series(
            _name(runs, run, "workers"),
            timeline.minutes(run.steps, timeline.begins(run.steps, run.history)),
            run.column("workers"),
            at,
        )
        for at, run in enumerate(runs)
        if len({line["workers"] for line in run.steps}) > 1
    ]
    return Chart(
        "World size", "minutes since the run began", "workers", series, marks=_marks(runs, clock=True), low=0.0
    )


_NO_HEALTH = "Health: nothing was observed; there is no health.jsonl, as in runs of an earlier version."
_CHARTS: tuple[tuple[Callable[[Runs], Chart], str], ...] = (
    (_loss, "Loss: no step has a finite loss."),
    (_knn, "kNN accuracy: it was never measured (no labels, no held-out images, or eval.knn_every_epochs is 0)."),
    (
        _health(
            "usage", "Use of prototypes", "1: all are used alike; near 0: most images go to a few of them.", top=1.05
        ),
        _NO_HEALTH,
    ),
    (
        _health(
            "code_agreement",
            "Agreement of codes",
            "How often two crops of an image get the same code, beyond chance.",
            top=1.05,
        ),
        _NO_HEALTH,
    ),
    (
        _health(
            "spread",
            "Spread of embeddings",
            "0: all are one point, the network has collapsed; 1: all directions.",
            top=1.05,
        ),
        _NO_HEALTH,
    ),
    (
        _health("effective_rank", "Effective rank", "Dimensions that the embeddings fill.", top=None),
        _NO_HEALTH,
    ),
    (_gradients, _NO_HEALTH),
    (_rate, "Learning rate: there is no step yet."),
    (_throughput, "Throughput: there is no step yet."),
    (_goodput, "Goodput: there is no step yet."),
    (_workers, "World size: it never changed."),
)
