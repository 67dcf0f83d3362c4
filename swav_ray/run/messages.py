"""What the workers of a run report. Plain and frozen, since they pass through another process on their way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swav_ray.run.fit_record import FitRecord
from swav_ray.run.step_record import StepRecord


@dataclass(frozen=True)
class Resumed:
    """Training resumes from the checkpoint before `step`, with so many workers."""

    step: int
    workers: int


@dataclass(frozen=True)
class Stopped:
    """The run was stopped before `step`, with a checkpoint."""

    step: int


@dataclass(frozen=True)
class Preempted:
    """These nodes, by id, will be lost in `seconds`."""

    nodes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Leaving:
    """The workers have saved before `step` and leave a preempted node."""

    step: int


@dataclass(frozen=True)
class Resizing:
    """The workers have saved before `step`, and another number of them is about to start."""

    step: int


@dataclass(frozen=True)
class KnnMeasured:
    """Top-1 accuracy in percent of the state before `step`, and its standard error in points (0: not known)."""

    step: int
    top1: float
    error: float = 0.0


@dataclass(frozen=True)
class HealthChanged:
    """The run's health is another word since `step`: one of `health_log.WORDS`, why, and what usually helps."""

    step: int
    word: str
    why: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Observed:
    """A line of health.jsonl."""

    line: dict[str, Any]


@dataclass(frozen=True)
class Remedied:
    """The run has collapsed and resumes from the checkpoint before `step` with other settings; `line` says which."""

    step: int
    line: str


@dataclass(frozen=True)
class Quarantined:
    """Images that could not be read and were replaced: how many by now, how many a run tolerates, and the newest."""

    images: int
    allowed: int
    uri: str
    kind: str


@dataclass(frozen=True)
class Measured:
    """A line of measurements.jsonl."""

    row: dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """An evaluation that trains was judged after so many epochs; figures by name."""

    epoch: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Finishing:
    """The last step is done and saved; the result is measured."""


@dataclass(frozen=True)
class Waiting:
    """The workers wait for something that may take long: "crops", "kNN before step 9"."""

    what: str


@dataclass(frozen=True)
class Warned:
    """Something that a person should know, in one line."""

    text: str


Message = (
    StepRecord
    | FitRecord
    | Judged
    | Resumed
    | Stopped
    | Preempted
    | Leaving
    | Resizing
    | KnnMeasured
    | HealthChanged
    | Observed
    | Remedied
    | Quarantined
    | Measured
    | Finishing
    | Waiting
    | Warned
)
