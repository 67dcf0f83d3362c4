"""What a protocol that trains a classifier is given, and whether that can be trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from swav_ray.config import Config
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.labelled import Labelled
from swav_ray.evaluate.features.splits import Split
from swav_ray.weights.backbone import Backbone

_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What a protocol trains with.

    Attributes:
        backbone: on the CPU.
        train, val: images to learn from, and to judge by.
        features: extracts frozen features of splits on the whole cluster, unless they are there already.
        config: the settings of `settings.of_a_fit`: workers, and how many images may be unreadable.
    """

    backbone: Backbone
    train: Split
    val: Split
    features: Callable[[Sequence[Split]], list[Labelled]]
    config: Config

    def check(self, batch: int) -> None:
        """Raises EvaluationError if a classifier cannot be trained on these images, `batch` of them a step."""
        train, val = self.train, self.val
        place = train.manifest.root
        known = np.unique(train.labels)
        if len(known) < 2:
            raise EvaluationError(f"--train {place}: has one class; a classifier needs two")
        if batch > len(train.ids):
            count = f"{len(train.ids):,} labelled image{'s' if len(train.ids) != 1 else ''}"
            raise EvaluationError(f"--batch {batch}: is more than the {count} of --train {place}; give a smaller one")
        unseen = np.setdiff1d(val.labels, known)
        if len(unseen):
            some = ", ".join(val.classes[label] for label in unseen[:_EXAMPLES].tolist())
            raise EvaluationError(
                f"--val {val.manifest.root}: {len(unseen)} of its classes have no image in --train: {some}"
            )
        workers = self.config.scaling.num_workers[-1]
        if workers > batch:
            raise EvaluationError(f"--batch {batch}: is less than the {workers} workers of scaling.num_workers")

    def readable(self, **splits: Split) -> tuple[dict[str, Labelled], list[str]]:
        """Frozen features of splits, and notes on what could not be read.

        Args:
            splits: by the option that they come from: val, train.

        Raises:
            EvaluationError: nothing of a split can be read, or features are not finite.
        """
        found, notes = dict(zip(splits, self.features(list(splits.values())), strict=True)), []
        for what, split in found.items():
            some = "; ".join(split.unreadable[:_EXAMPLES])
            place = f"--{what} {split.place}"
            if not len(split):
                raise EvaluationError(
                    f"{place}: none of its {len(split.unreadable)} labelled images can be read; {some}"
                )
            if not np.isfinite(split.features).all():
                raise EvaluationError(f"{place}: some features are not finite: the network has diverged")
            if split.unreadable:
                notes.append(f"{len(split.unreadable)} images of {split.place} cannot be read and are left out: {some}")
        return found, notes
