"""How a classifier is trained: epochs, batch, learning rates and their decay, by the samples seen and nothing else."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

COSINE, COSINE_BY_STEP, DROPS = "cosine to 0, per epoch", "cosine to 0, per step", "drops"


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of a classifier.

    Attributes:
        epochs: of it. batch: images a step, over all workers.
        lr: of the classifier. trunk_lr: of the network below it; 0: it is frozen.
        momentum, weight_decay: of SGD.
        decay: COSINE, COSINE_BY_STEP or DROPS.
        drops: for DROPS, when the learning rates are multiplied by `drop`, in fractions of the epochs.
        min_area: smallest area of a random crop, as a fraction of the image.
        seed: of the classifier's weights, the order of images and their crops.
    """

    epochs: int
    batch: int
    lr: float
    trunk_lr: float = 0.0
    momentum: float = 0.9
    weight_decay: float
    decay: str
    drops: tuple[float, ...] = ()
    drop: float = 1.0
    min_area: float = 0.08
    seed: int = 0

    def factor(self, step: int, steps_per_epoch: int) -> float:
        """What the learning rates are multiplied by at a step, counted through all epochs."""
        epoch = step // steps_per_epoch
        if self.decay == DROPS:
            return self.drop ** sum(epoch >= round(at * self.epochs) for at in self.drops)
        done = epoch / self.epochs if self.decay == COSINE else step / (self.epochs * steps_per_epoch)
        return 0.5 * (1.0 + math.cos(math.pi * done))

    def settings(self) -> dict[str, Any]:
        """As a protocol's settings hold it."""
        fields = asdict(self)
        if self.decay == DROPS:
            at = ", ".join(str(round(at * self.epochs)) for at in fields.pop("drops"))
            fields["decay"] = f"times {fields.pop('drop'):g} at epochs {at}"
        else:
            del fields["drops"], fields["drop"]
        return fields
