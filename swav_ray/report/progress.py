"""What is known of a run that is under way: filled by its messages, or from its files; drawn by `panel`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_LOSSES = 4096  # of the newest steps that the sparkline is drawn of
_CHANGES = 3  # of the number of workers that are shown


@dataclass
class Progress:
    """A run as it is now; what is not known yet is empty, 0 or None.

    Attributes:
        name, epochs, steps, ln_k: of the whole run. step: steps that are done. epoch: of the newest step, from 1.
        losses: of the newest steps. images_per_second, data_wait: of the newest step.
        knn: (epoch, top-1 in percent, its standard error in points), oldest first.
        workers: that train. changes: each earlier number of them and the step at which it ended.
        saved: the step of the newest checkpoint; saved_at: when it was there, on the clock that `panel` is given.
        health, why: its health in one word, and what speaks for that. eta: seconds. now: what is waited for.
    """

    name: str = ""
    epochs: int = 0
    steps: int = 0
    ln_k: float = 0.0
    step: int = 0
    epoch: int = 0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=_LOSSES))
    images_per_second: float = 0.0
    data_wait: float = 0.0
    knn: list[tuple[float, float, float]] = field(default_factory=list)
    workers: int = 0
    changes: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_CHANGES))
    saved: int | None = None
    saved_at: float = 0.0
    health: str = ""
    why: str = ""
    eta: float | None = None
    now: str = ""

    def with_workers(self, workers: int, step: int) -> None:
        """So many workers train from `step` on."""
        if self.workers and workers != self.workers:
            self.changes.append((self.workers, step))
        self.workers = workers

    def with_checkpoint(self, step: int, at: float) -> None:
        """The checkpoint before `step` is the newest, seen at `at` on the panel's clock."""
        if step != self.saved:
            self.saved, self.saved_at = step, at

    @property
    def of_epoch(self) -> tuple[int, int]:
        """Steps of the epoch that are done, and steps of an epoch."""
        each = self.steps // self.epochs if self.epochs else 0
        return (self.step - (self.epoch - 1) * each, each) if each and self.epoch else (0, each)
