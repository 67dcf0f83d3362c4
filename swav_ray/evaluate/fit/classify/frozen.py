"""Linear classifiers on a frozen backbone: random crops are embedded as they stream by, and train every head at once.

The network is in eval mode. What it says of the validation split's centre crops never changes, so those features are
extracted once, by the whole cluster, and a judgement is one matrix product.

Shape suffixes: N images, D features, H heads, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from swav_ray.data.batch import Batch
from swav_ray.evaluate.features.labelled import Labelled
from swav_ray.evaluate.fit.classify import outcome
from swav_ray.evaluate.fit.classify.heads import Heads
from swav_ray.evaluate.fit.classify.images import LabelledImages
from swav_ray.evaluate.fit.classify.training import Training
from swav_ray.evaluate.fit.task import State
from swav_ray.evaluate.results.judged import Judged
from swav_ray.evaluate.results.protocol import Protocol
from swav_ray.training.coordinator import Coordinator, Feed
from swav_ray.training.distributed import World
from swav_ray.weights.backbone import Backbone

_SCORES = 2**24  # float32 scores held at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenFit:
    """Linear classifiers on a frozen backbone, before any worker has started (a `task.Fit`).

    Attributes:
        training: of every head but for its learning rate and weight decay.
        lrs, weight_decays: of each head.
        images: to train on. val: features to judge by.
        held_out: features of images that are not trained on, to choose a head by; None: there is one head.
        published: figures of the published weights, by name.
    """

    protocol: Protocol
    training: Training
    lrs: Sequence[float]
    weight_decays: Sequence[float]
    images: LabelledImages
    backbone: Backbone
    val: Labelled
    held_out: Labelled | None
    published: Mapping[str, float]
    notes: Sequence[str]

    @property
    def epochs(self) -> int:
        """Of the training."""
        return self.training.epochs

    def task(self, device: torch.device, world: World) -> Frozen:
        """What one worker trains."""
        return Frozen(self, device, world)

    def judged(self, finished: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Judged:
        """Top-1 and top-5 of the chosen head, after the last and the best epoch."""
        notes = []
        if self.held_out is not None:
            lr, decay, share = finished["lr"], finished["weight_decay"], finished["held_out"]
            notes = [
                f"of {len(self.lrs)} heads, lr {lr:g} and weight decay {decay:g} were chosen by {share:.1f}% on "
                f"{len(self.held_out):,} images held out of --train"
            ]
        of = self.protocol.name, self.backbone.origin.place
        return outcome.judged(finished, rows, *of, self.published, len(self.images.split.classes), notes)


class Frozen:
    """The heads of one worker (a `task.Task`)."""

    def __init__(self, fit: FrozenFit, device: torch.device, world: World) -> None:
        self._fit, self._device, self._world = fit, device, world
        images, training = fit.images, fit.training
        self.steps_per_epoch = images.steps_per_epoch
        self.steps = training.epochs * self.steps_per_epoch
        self.images, self.max_bad_fraction = len(images.split.ids), images.max_bad_fraction
        self._classes = len(images.split.classes)
        self._backbone = fit.backbone.to(device).to(memory_format=torch.channels_last)
        self._heads = Heads(
            self._classes,
            fit.backbone.feature_dim,
            torch.tensor(fit.lrs),
            torch.tensor(fit.weight_decays),
            momentum=training.momentum,
            seed=training.seed,
            device=device,
        )

    def state(self) -> State:
        """Weights and momentum of every head."""
        return State(self._heads.state())

    def load_state(self, state: State) -> None:
        """Puts back what `state` gave."""
        self._heads.load_state(state.tensors)

    def feed(self, coordinator: Coordinator, world: World, start: int, end: int) -> Feed:
        """Random crops, as pretraining's are made."""
        return coordinator.feed(self._fit.images.maker(), world, start, end)

    def step(self, index: int, batch: Batch) -> Mapping[str, float]:
        """Trains every head; the loss is that of the best one."""
        training = self._fit.training
        crops, labels = self._fit.images.tensors(batch, self._device)
        with torch.no_grad():  # not inference mode, whose tensors no gradient can be taken of
            features = self._backbone(crops).float()
        factor = training.factor(index, self.steps_per_epoch)
        losses_H = self._heads.step(features, labels, factor, training.batch, self._world)
        loss = float(losses_H.nan_to_num(nan=math.inf).min())
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss of step {index} is not finite; a lower --lr usually helps")
        if len(losses_H) > 1:
            return {"loss": loss, "factor of lr": factor}
        return {"loss": loss, "lr": factor * self._fit.lrs[0]}

    def judge(self, epochs: int) -> Mapping[str, Any]:  # noqa: ARG002
        """Shares of the validation split that the chosen head gets right."""
        head, chosen_by = self._choose()
        right = self._right(self._fit.val, head).sum(0)
        return outcome.shares(right, len(self._fit.val), self._classes) | chosen_by

    def finish(self) -> dict[str, Any]:
        """Which images the chosen head gets right, and its settings."""
        head, chosen_by = self._choose()
        right = self._right(self._fit.val, head)[:, 0]
        settings = {"lr": self._fit.lrs[head], "weight_decay": self._fit.weight_decays[head]}
        return outcome.finished(self._fit.val.ids.tolist(), right) | settings | chosen_by

    def _choose(self) -> tuple[int, dict[str, Any]]:
        """The head that does best on the images held out of training, with its share and those of all heads."""
        held_out = self._fit.held_out
        if held_out is None:
            return 0, {}
        shares = [100 * float(self._right(held_out, head)[:, 0].mean()) for head in range(len(self._fit.lrs))]
        best = int(np.argmax(shares))
        return best, {"held_out": shares[best], "heads": shares}

    def _right(self, split: Labelled, head: int) -> np.ndarray:
        """(N, 2) bool of a split, see `outcome.hits`; every worker does its slice."""
        own = self._world.own_slice(len(split))
        features = torch.from_numpy(split.features[own])
        labels = torch.from_numpy(split.labels[own]).to(self._device)
        weight_CD, bias_C = self._heads.weight_HCD[head], self._heads.bias_HC[head]
        rows = max(1, _SCORES // self._classes)
        parts = [torch.empty(0, 2, dtype=torch.bool)]
        for start in range(0, len(features), rows):
            block = slice(start, start + rows)
            scores: Tensor = F.linear(features[block].to(self._device), weight_CD, bias_C)
            parts.append(outcome.hits(scores, labels[block]))
        everyone = self._world.gather_objects(torch.cat(parts).numpy())
        return np.concatenate(everyone)
