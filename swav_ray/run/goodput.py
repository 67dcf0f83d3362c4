"""What the time of a run went into, by the clock: each second between a launch and its end is somewhere once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

_PARTS = (
    "training",
    "data_wait",
    "checkpointing",
    "evaluating",
    "launching",
    "starting",
    "restarting",
    "recomputing",
    "finishing",
)
_STOPS = ("stop", "collapsed")  # with a checkpoint, by a person or for the run's health


def goodput(
    records: Sequence[dict[str, Any]], history: Sequence[dict[str, Any]], now: float | None = None
) -> dict[str, float]:
    """Seconds of a run by what they went into, and `goodput`, the fraction of them that trained.

    Args:
        records: metrics.jsonl, each with `time` (Unix seconds at its end), `seconds`, `data_wait` (fraction),
            `checkpoint_seconds` and `evaluate_seconds` (since the record before).
        history: history.jsonl.
        now: Unix seconds; the end of a run that finishes. None: the run counts up to its last step or stop.

    Returns:
        training, data_wait, checkpointing, evaluating; launching (from each command to the first start of its workers:
        Ray's own start, the listing), starting (from there to the first step), restarting (from the last committed step
        before a failure to the first one after it, less what is under recomputing), recomputing (steps that were lost),
        finishing (after the last step of each launch: its checkpoint, the last measurement, the end of the workers),
        and goodput. The time between a stop or a kill and the next launch is nobody's. Steps lost together with their
        lines (on S3: since the last checkpoint) count under restarting.
    """
    seconds = dict.fromkeys(_PARTS, 0.0)
    for record in records:
        seconds["training"] += record["seconds"] * (1 - record["data_wait"])
        seconds["data_wait"] += record["seconds"] * record["data_wait"]
        seconds["checkpointing"] += record["checkpoint_seconds"]
        seconds["evaluating"] += record["evaluate_seconds"]
    events = [entry for entry in history if entry["event"] in ("launch", "start", *_STOPS)]
    _add_starts(seconds, events, {record["step"]: record for record in records})
    _add_launches(seconds, events)
    _add_ends(seconds, events, records, now)
    total = sum(seconds.values())
    rounded = {name: round(value, 3) for name, value in seconds.items()}
    return rounded | {"goodput": round(seconds["training"] / total, 4) if total else 0.0}


def _add_starts(seconds: dict[str, float], events: list[dict[str, Any]], by_step: dict[int, dict[str, Any]]) -> None:
    """What starts of workers cost: from each to its first step, or from the step before a failure."""
    chain: list[dict[str, Any]] = []  # starts from the same step, of which the last came to do it
    before_chain: dict[str, Any] | None = None
    for at, entry in enumerate(events):
        if entry["event"] != "start":
            continue
        if not chain:
            before_chain = events[at - 1] if at else None
        chain.append(entry)
        seconds["recomputing"] += entry["lost_seconds"]
        following = next((later for later in events[at + 1 :] if later["event"] == "start"), None)
        if following is not None and following["step"] == entry["step"]:
            if events[at + 1] is not following:  # another launch did it, and what lies between is nobody's
                chain = []
            continue
        first, before = by_step.get(entry["step"]), by_step.get(entry["step"] - 1)
        if first is not None:
            begins = first["time"] - first["seconds"]
            if before is None or before_chain is None or before_chain["event"] != "start":
                seconds["starting"] += max(0.0, begins - chain[0]["time"])
            else:
                lost = sum(start["lost_seconds"] for start in chain)
                seconds["restarting"] += max(0.0, begins - before["time"] - lost)
        chain = []


def _add_launches(seconds: dict[str, float], events: list[dict[str, Any]]) -> None:
    for entry, following in itertools.pairwise(events):
        if entry["event"] == "launch" and following["event"] == "start":
            seconds["launching"] += max(0.0, following["time"] - entry["time"])


def _add_ends(
    seconds: dict[str, float], events: list[dict[str, Any]], records: Sequence[dict[str, Any]], now: float | None
) -> None:
    """What came after the last step of each launch: up to its stop, or to `now` for the last one."""
    ends = [entry["time"] for entry in events if entry["event"] in _STOPS]
    if now is not None:
        ends.append(now)
    for end in ends:
        known = [record["time"] for record in records if record["time"] <= end]
        known += [entry["time"] for entry in events if entry["event"] == "start" and entry["time"] <= end]
        if known:
            seconds["finishing"] += end - max(known)
