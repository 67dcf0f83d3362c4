"""What an evaluation that trains is made of, as its worker sees it. Protocols only; classify/ has the first of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from typing import Protocol as Interface

import numpy as np
import torch
from torch import Tensor

from swav_ray.data.bad_images import BadImage
from swav_ray.evaluate.results.judged import Judged
from swav_ray.evaluate.results.protocol import Protocol
from swav_ray.training.coordinator import Coordinator
from swav_ray.training.distributed import World

MOMENTUM = "momentum."
"""Before the names of an optimizer's tensors. A checkpoint has them in a file of their own, beside the weights."""


@dataclass(frozen=True)
class State:
    """Everything that training changes, between two steps.

    Attributes:
        tensors: by name: weights, the buffers of BatchNorm, and what the optimizer keeps, with MOMENTUM before its
            names. They may be the live ones: they are copied.
        progress: what else there is, as JSON. The number of the step is no part of it.
    """

    tensors: Mapping[str, Tensor]
    progress: Mapping[str, Any] = field(default_factory=dict)


class FitBatch(Interface):
    """One worker's part of a step, whatever else it holds. `data.batch.Batch` is one."""

    @property
    def step(self) -> int:
        """Counted through all epochs."""

    @property
    def sample_ids(self) -> np.ndarray:
        """(rows,) int64, the planned samples."""

    @property
    def bad(self) -> Sequence[BadImage]:
        """Images that could not be read, and what replaced them."""


class FitFeed(Interface):
    """A worker's batches, in order. `training.coordinator.Feed` is one."""

    def __iter__(self) -> Iterator[Any]: ...

    def __next__(self) -> Any: ...

    def ready(self, seconds: float) -> bool:
        """Whether the next batch comes within so many seconds."""

    def close(self) -> None:
        """Stops making batches."""


class Task(Interface):
    """What one worker of an evaluation trains. Every worker has one, and every call is made on all at the same time.

    Equal seeds, states and batches must give equal states, bit for bit, and `judge` and `finish` must change none.

    Attributes:
        steps: of the whole training. steps_per_epoch: of an epoch, after which it may be judged.
        images: that it trains on. max_bad_fraction: of them that may be unreadable before it stops.
    """

    steps: int
    steps_per_epoch: int
    images: int
    max_bad_fraction: float

    def state(self) -> State:
        """What training has changed so far; no collective, since rank 0 alone writes it."""

    def load_state(self, state: State) -> None:
        """Puts back what `state` gave, which may have been on another number of workers."""

    def feed(self, coordinator: Coordinator, world: World, start: int, end: int) -> FitFeed:
        """This worker's batches (each a FitBatch) of the steps from `start` up to `end`; a collective."""

    def step(self, index: int, batch: Any) -> Mapping[str, float]:
        """Trains on a global batch, of which `batch` is this worker's part; figures of the whole, "loss" among them.

        Raises FloatingPointError if training has diverged.
        """

    def judge(self, epochs: int) -> Mapping[str, Any]:
        """Figures after so many epochs, as JSON; empty if there are none after this one."""

    def finish(self) -> dict[str, Any]:
        """What the trained state says at the end, as JSON: what `Fit.judged` needs beside the rows of `judge`."""


class Fit(Interface):
    """An evaluation that trains, before any worker has started. Picklable."""

    @property
    def protocol(self) -> Protocol:
        """What it is, every setting included."""

    @property
    def epochs(self) -> int:
        """Of the training."""

    @property
    def notes(self) -> Sequence[str]:
        """Lines for people."""

    def task(self, device: torch.device, world: World) -> Task:
        """What one worker trains; the same weights on each."""

    def judged(self, finished: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Judged:
        """What the evaluation says.

        Args:
            finished: what `Task.finish` returned.
            rows: what `Task.judge` returned, with "step" and "epoch", in order.
        """
