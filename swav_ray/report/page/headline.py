"""The figures that matter of a run, each with what it means in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swav_ray.report.page.run_record import RunRecord
from swav_ray.report.page.timeline import begins, goodput_over_time
from swav_ray.report.silence import duration
from swav_ray.run.health_log import ALARMS, COLLAPSING, DIVERGING, HEALTHY, STARVED, STUCK, WARMING_UP
from swav_ray.run.scores import standard_error

GOOD, BAD, PLAIN = "good", "bad", "plain"
_VERDICTS = {"learned": GOOD, "unclear": PLAIN, "nothing": BAD}  # words of `health.verdict`
_SURE = 2.0  # standard errors
_LAST = 50  # steps whose mean loss stands for a run that is not done
_WORDS = {
    HEALTHY: "Nothing speaks against it.",
    WARMING_UP: "Nothing is proven yet: prototypes are frozen, the rate rises, or too few steps are done.",
    STUCK: "The loss stays at ln K: it learns nothing.",
    COLLAPSING: "Embeddings or prototypes become one.",
    DIVERGING: "Steps are refused, or the loss rises above ln K.",
    STARVED: "Too many prototypes for the samples that batch and queue bring.",
}


@dataclass(frozen=True)
class Figure:
    """A figure: what it is of, the figure as text, what it means, and whether that is good, bad or neither."""

    name: str
    value: str
    means: str
    mood: str = PLAIN


def figures(run: RunRecord) -> list[Figure]:
    """The figures of a run that are known, the one to look at first at the head."""
    found = [_knn(run), _loss(run), _health(run), *_time(run), _refused(run), _unreadable(run)]
    return [figure for figure in found if figure is not None]


def verdict(run: RunRecord) -> str:
    """What the run has learned, or why it ended early, in a sentence or two; '' if nothing says."""
    if run.why:
        return f"{run.state[0].upper()}{run.state[1:]}: {run.why.rstrip('.')}."
    said: Mapping[str, str] = run.summary.get("verdict") or {}
    return " ".join(f"{text[0].upper()}{text[1:]}." for name in ("line", "remedy") if (text := said.get(name, "")))


def loss_now(run: RunRecord) -> float | None:
    """Mean loss of the last epoch, or of the last steps of a run that is not done; None without a finite one."""
    if (known := run.summary.get("loss_last_epoch")) is not None:
        return float(known)
    losses = run.column("loss")[-_LAST:]
    losses = losses[np.isfinite(losses)]
    return float(losses.mean()) if len(losses) else None


def knn_now(run: RunRecord) -> float | None:
    """The last kNN accuracy in percent; None if there is none."""
    if "trained" in (known := run.summary.get("knn_top1") or {}):
        return float(known["trained"])
    measured = [row["knn_top1"] for row in run.measured if row.get("knn_top1") is not None]
    return float(measured[-1]) if measured else None


def knn_text(run: RunRecord) -> str:
    """The last kNN accuracy with its standard error."""
    if (top1 := knn_now(run)) is None:
        return "-"
    error = standard_error(top1, run.queries)
    return f"{top1:.1f}% \N{PLUS-MINUS SIGN} {error:.1f}" if error else f"{top1:.1f}%"


def health_now(run: RunRecord) -> tuple[str, str]:
    """The run's health in one word, and why; '' if nothing was observed."""
    if not run.health:
        return "", ""
    last = run.health[-1]
    return str(last.get("word", "")), str(last.get("why", ""))


def goodput(run: RunRecord) -> float | None:
    """Percent of the time that trained; None before the first step."""
    if known := run.summary.get("seconds"):
        return 100 * float(known["goodput"])
    _, parts = goodput_over_time(run.steps, begins(run.steps, run.history))
    return float(parts.mean()) if len(parts) else None


def _knn(run: RunRecord) -> Figure | None:
    top1 = knn_now(run)
    if top1 is None:
        why = run.summary.get("why_no_knn") or "no labels, no held-out images, or not measured yet"
        return Figure("kNN accuracy", "-", f"Not measured: {why}.")
    known = run.summary.get("knn_top1") or {}
    words = {"untrained": "the same network untrained", "pixels": "raw pixels", "init": "the weights it started from"}
    others = {text: float(known[name]) for name, text in words.items() if name in known}
    if not others:
        return Figure(
            "kNN accuracy", knn_text(run), "Of held-out images; the untrained network is measured at the end."
        )
    name, best = max(others.items(), key=lambda item: item[1])
    noise = _SURE * float(np.hypot(standard_error(top1, run.queries), standard_error(best, run.queries)))
    against = "; ".join(f"{text} {value:.1f}%" for text, value in others.items())
    if (word := (run.summary.get("verdict") or {}).get("word")) in _VERDICTS:  # it knows more untrained networks
        return Figure("kNN accuracy", knn_text(run), f"Beside it: {against}.", _VERDICTS[word])
    gain = top1 - best
    if not noise:
        return Figure("kNN accuracy", knn_text(run), f"{gain:+.1f} points against the best of: {against}.")
    told = f"{gain:+.1f} points against {name}, noise is {noise:.1f}"
    means = {
        GOOD: f"It learned: {told}. Others: {against}.",
        BAD: f"Worse than what it must beat: {told}. {against}.",
        PLAIN: f"No difference that is larger than luck: {told}. {against}.",
    }
    mood = GOOD if gain > noise else BAD if gain < -noise else PLAIN
    return Figure("kNN accuracy", knn_text(run), means[mood], mood)


def _loss(run: RunRecord) -> Figure:
    loss = loss_now(run)
    if loss is None:
        bad = "No step has a finite loss." if run.steps else "There is no step yet."
        return Figure("Loss", "-", bad, BAD if run.steps else PLAIN)
    below = run.ln_k - loss
    at = f"ln K = {run.ln_k:.2f}, the loss of a run that learns nothing"
    if below > 0.02 * run.ln_k:
        return Figure("Loss", f"{loss:.3f}", f"{below:.2f} below {at}.", PLAIN)
    word, _ = health_now(run)
    return Figure("Loss", f"{loss:.3f}", f"At {at}.", BAD if not word or word in ALARMS else PLAIN)


def _health(run: RunRecord) -> Figure | None:
    word, why = health_now(run)
    if not word:
        return None
    mood = {HEALTHY: GOOD, WARMING_UP: PLAIN}.get(word, BAD)
    return Figure("Health", word, why or _WORDS.get(word, ""), mood)


def _time(run: RunRecord) -> Sequence[Figure]:
    if not run.steps:
        return []
    first, last = run.steps[0], run.steps[-1]
    took = float(last["time"] - first["time"] + first["seconds"])
    rate = float(np.nanmedian(run.column("images_per_second")))
    wait = 100 * float(np.nanmean(run.column("data_wait")))
    done, of = last["step"] + 1, last["steps"]
    shown = [Figure("Steps", f"{done:,} of {of:,}", f"{last['samples_seen']:,} images seen in {duration(took)}.")]
    shown.append(Figure("Images/s", f"{rate:,.0f}", f"The median; {wait:.0f}% of a step waits for data."))
    if (good := goodput(run)) is not None:
        shown.append(Figure("Goodput", f"{good:.0f}%", "Share of the run's time that was spent training."))
    return shown


def _refused(run: RunRecord) -> Figure | None:
    refused = [step for step in run.steps if step.get("refused")]
    if not refused:
        return None
    first = refused[0]
    means = f"The first is step {first['step']:,}: {first['refused']}. A refused step changes nothing."
    return Figure("Refused steps", f"{len(refused):,}", means, BAD)


def _unreadable(run: RunRecord) -> Figure | None:
    if not run.quarantine:
        return None
    return Figure(
        "Unreadable images", f"{len(run.quarantine):,}", "Left out or replaced; below Data they are listed.", BAD
    )
