"""What a finished run has learned, as a table and lines for a terminal; from its summary.json alone."""

from __future__ import annotations

import shlex
from typing import Any

from rich.table import Table

from swav_ray.run.layout import EVENTS
from swav_ray.run.next_commands import next_commands
from swav_ray.run.scores import standard_error

_MEASURED = {
    "trained": "trained backbone",
    "init": "the weights that it started from",
    "untrained": "the same backbone untrained",
    "pixels": "raw pixels",
}


def result_table(summary: dict[str, Any]) -> Table:
    """The figures. Summaries of earlier versions lack some, and have no row for them."""
    table = Table(show_header=False, title="what the run learned", title_justify="left", min_width=60)
    if summary["loss_last_epoch"] is not None:
        table.add_row("loss, mean of the last epoch", f"{summary['loss_last_epoch']:.3f}")
    table.add_row("ln K, the loss of a run that learns nothing", f"{summary['ln_k']:.3f}")
    _add_knn(table, summary)
    rate, wait = summary["images_per_second"], summary["data_wait"]
    if rate is not None:
        table.add_row("images/s, median", f"{rate:,.0f} (waiting for data {wait:.0%})")
    table.add_row("time that trained (goodput)", f"{summary['seconds']['goodput']:.0%}")
    if refused := summary["refused_steps"]:
        table.add_row("steps refused, not finite or exploding", f"{refused:,} (metrics.jsonl; swav_ray.replay)")
    if summary["bad_images"]:
        table.add_row("unreadable images, replaced", f"{summary['bad_images']:,} (quarantine.jsonl)")
    if bad := summary.get("held_out_unreadable"):
        of = f"{bad:,} of {summary['held_out_images']:,}"
        table.add_row("left out of kNN, unreadable", f"{of} (quarantine.jsonl)")
    if summary.get("verdict"):
        table.add_row("health at the end", summary["verdict"]["health"])
    return table


def result_lines(summary: dict[str, Any], run_dir: str) -> list[str]:
    """The verdict, where the run lies, and what to do next."""
    lines = []
    if summary.get("why_no_knn"):
        lines.append(f"no kNN: {summary['why_no_knn']}")
    if verdict := summary.get("verdict"):
        lines.append(f"verdict: {verdict['line']}")
        if verdict["remedy"]:
            lines.append(f"  {verdict['remedy']}")
    return [
        *lines,
        f"the run lies in {run_dir}",
        f"next: tensorboard --logdir {run_dir}/{EVENTS}, or your own images: --data.uri PLACE --run.name NAME",
        f"and with its weights (python -m swav_ray.inspect {shlex.quote(run_dir)} says what they are):",
        *(f"  {command}" for command in next_commands(run_dir, labelled=bool(summary["knn_top1"]))),
    ]


def _add_knn(table: Table, summary: dict[str, Any]) -> None:
    top1 = summary["knn_top1"]
    for name, what in _MEASURED.items():
        if name in top1:
            table.add_row(f"kNN top-1, {what}", _accuracy(top1[name], summary.get("knn_queries", 0)))
    if others := summary.get("knn_untrained"):
        all_of = [top1["untrained"], *others]
        name = f"kNN top-1, {len(all_of)} untrained initialisations"
        table.add_row(name, f"{min(all_of):.1f} to {max(all_of):.1f}%")
    if top1:
        table.add_row("chance", f"{top1['chance']:.1f}%")
    if twins := summary.get("held_out_twins"):
        table.add_row("left out of kNN, copies of training images", f"{twins:,}")


def _accuracy(top1: float, images: int) -> str:
    error = standard_error(top1, images)
    return f"{top1:.1f}%" + (f" \N{PLUS-MINUS SIGN} {error:.1f}" if error else "")
