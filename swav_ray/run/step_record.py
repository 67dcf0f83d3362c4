"""The figures of one step: what the loop records, metrics.jsonl keeps and the terminal shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step of all workers.

    Attributes:
        step: counted through all epochs. steps: of the whole run.
        epoch: of the step. samples_seen: after it.
        loss: mean over the global batch; None if the step was refused, since JSON has no NaN.
        lr: learning rate.
        images_per_second: of the global batch, waiting included.
        data_wait: fraction of `seconds` that workers waited for the batch, on average.
        crop_seconds: that this worker's batch took to make.
        bytes_read, retries: of reading the global batch.
        bad_images: unreadable images of the run so far.
        workers: that trained.
        ids: digest of the sample ids.
        time: Unix seconds at the step's end. seconds: that the step took.
        checkpoint_seconds, evaluate_seconds: after the step before this one.
        usage: figures of the cluster, by name.
        refused: why the step was not applied, or ''. sample_ids: its samples, if it was refused.
    """

    step: int
    steps: int
    epoch: int
    samples_seen: int
    loss: float | None
    lr: float
    images_per_second: float
    data_wait: float
    crop_seconds: float
    bytes_read: int
    retries: int
    bad_images: int
    workers: int
    ids: str
    time: float
    seconds: float
    checkpoint_seconds: float
    evaluate_seconds: float
    usage: Mapping[str, float] = field(default_factory=dict)
    refused: str = ""
    sample_ids: tuple[int, ...] = ()

    def line(self) -> dict[str, Any]:
        """The step's line of metrics.jsonl, its keys in the file's order."""
        figures = dict(vars(self))
        usage, refused, ids = figures.pop("usage"), figures.pop("refused"), figures.pop("sample_ids")
        return figures | usage | ({"refused": refused, "sample_ids": list(ids)} if refused else {})

    def shown(self) -> str:
        """The step's own figures as a progress line shows them."""
        return f"loss {self.loss:.4f}  lr {self.lr:.4g}"
