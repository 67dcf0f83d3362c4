"""The figures of one step of an evaluation that trains: for its metrics.jsonl and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class FitRecord:
    """One step of all workers.

    Attributes:
        step: counted through all epochs. steps: of the whole training.
        epoch: of the step.
        figures: what the training says of the step, by name: its loss, its learning rate.
        images_per_second: of the global batch, waiting included.
        data_wait: fraction of `seconds` that rank 0 waited for the batch.
        bad_images: unreadable images so far.
        workers: that trained.
        ids: digest of the sample ids.
        time: Unix seconds at the step's end. seconds: that the step took.
    """

    step: int
    steps: int
    epoch: int
    figures: Mapping[str, float]
    images_per_second: float
    data_wait: float
    bad_images: int
    workers: int
    ids: str
    time: float
    seconds: float

    @property
    def loss(self) -> float | None:
        """The loss, if the training has one figure of this name."""
        return self.figures.get("loss")

    def line(self) -> dict[str, Any]:
        """The step's line of metrics.jsonl, its keys in the file's order."""
        fields = dict(vars(self))
        figures = fields.pop("figures")
        return fields | dict(figures)

    def shown(self) -> str:
        """The step's own figures as a progress line shows them."""
        return "  ".join(f"{name} {value:.4g}" for name, value in self.figures.items())
