"""A whole network that learns to classify: the trunk at one learning rate, a new linear layer on it at another.

Shape suffixes: B images of this worker, C classes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swav_ray.data.batch import Batch
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.splits import Split
from swav_ray.evaluate.fit.classify import outcome
from swav_ray.evaluate.fit.classify.images import LabelledImages
from swav_ray.evaluate.fit.classify.training import Training
from swav_ray.evaluate.fit.momentum import put_back, state_of
from swav_ray.evaluate.fit.task import State
from swav_ray.evaluate.results.judged import Judged
from swav_ray.evaluate.results.protocol import Protocol
from swav_ray.features.ahead import one_ahead
from swav_ray.features.embedding import crops_of
from swav_ray.model.global_batch_norm import Parts, synchronize
from swav_ray.model.normalize import normalize
from swav_ray.training.coordinator import Coordinator, Feed
from swav_ray.training.distributed import World
from swav_ray.weights.backbone import Backbone

_CHUNK = 256  # images of the validation split that are read and classified at a time
_THREADS = 4  # that decode them
_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkFit:
    """A network to fine-tune, before any worker has started (a `task.Fit`).

    Attributes:
        images: to train on. val: to judge by.
        published: figures of the published weights, by name.
    """

    protocol: Protocol
    training: Training
    images: LabelledImages
    backbone: Backbone
    val: Split
    published: Mapping[str, float]
    notes: Sequence[str]

    @property
    def epochs(self) -> int:
        """Of the training."""
        return self.training.epochs

    def task(self, device: torch.device, world: World) -> Network:
        """What one worker trains."""
        return Network(self, device, world)

    def judged(self, finished: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Judged:
        """Top-1 and top-5, after the last and the best epoch."""
        unreadable, notes = finished["unreadable"], []
        if unreadable:
            some = "; ".join(unreadable[:_EXAMPLES])
            notes = [f"{len(unreadable)} images of {self.val.manifest.root} cannot be read and are left out: {some}"]
        of = self.protocol.name, self.backbone.origin.place
        return outcome.judged(finished, rows, *of, self.published, len(self.images.split.classes), notes)


class _Classifier(nn.Module):
    """A trunk and a linear layer on its pooled features."""

    def __init__(self, trunk: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.trunk(images))


class Network:
    """The network of one worker (a `task.Task`)."""

    def __init__(self, fit: NetworkFit, device: torch.device, world: World) -> None:
        self._fit, self._device, self._world = fit, device, world
        images, training = fit.images, fit.training
        self.steps_per_epoch = images.steps_per_epoch
        self.steps = training.epochs * self.steps_per_epoch
        self.images, self.max_bad_fraction = len(images.split.ids), images.max_bad_fraction
        self._model = _classifier(fit, device, world)
        self._forward = world.average_gradients(self._model)
        groups = [
            {"params": list(self._model.trunk.parameters()), "lr": training.trunk_lr},
            {"params": list(self._model.head.parameters()), "lr": training.lr},
        ]
        self._optimizer = torch.optim.SGD(
            groups, lr=training.lr, momentum=training.momentum, weight_decay=training.weight_decay
        )

    def state(self) -> State:
        """Weights, the buffers of BatchNorm, and momentum."""
        return state_of(self._model, self._optimizer)

    def load_state(self, state: State) -> None:
        """Puts back what `state` gave."""
        put_back(self._model, self._optimizer, state)

    def feed(self, coordinator: Coordinator, world: World, start: int, end: int) -> Feed:
        """Random crops, as pretraining's are made."""
        return coordinator.feed(self._fit.images.maker(), world, start, end)

    def step(self, index: int, batch: Batch) -> Mapping[str, float]:
        """Trains the trunk and the classifier; the loss is the mean over the global batch."""
        training = self._fit.training
        crops, labels = self._fit.images.tensors(batch, self._device)
        factor = training.factor(index, self.steps_per_epoch)
        for group, lr in zip(self._optimizer.param_groups, (training.trunk_lr, training.lr), strict=True):
            group["lr"] = factor * lr
        self._model.train()
        losses_B = F.cross_entropy(self._forward(crops), labels, reduction="none")
        self._optimizer.zero_grad()
        # Workers' gradients are averaged, so a slice counts by its rows, not by its worker.
        (losses_B.sum() * self._world.size / training.batch).backward()
        loss = float(self._world.sum(losses_B.detach().sum() / training.batch))
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss of step {index} is not finite; a lower --lr or --trunk-lr usually helps"
            )
        self._optimizer.step()
        return {"loss": loss, "lr": factor * training.lr}

    def judge(self, epochs: int) -> Mapping[str, Any]:  # noqa: ARG002
        """Shares of the validation split that are right."""
        right, _ = self._validate()
        return outcome.shares(right.sum(0), len(right), len(self._fit.images.split.classes))

    def finish(self) -> dict[str, Any]:
        """Which images are right."""
        right, reasons = self._validate()
        ids = self._fit.val.ids
        readable = [int(sample) for sample, reason in zip(ids, reasons, strict=True) if reason is None]
        lines = [
            f"{self._fit.val.manifest.uri_of(sample)}: {reason}"
            for sample, reason in zip(ids, reasons, strict=True)
            if reason is not None
        ]
        return outcome.finished(readable, right[:, 0]) | {"unreadable": lines}

    @torch.no_grad()
    def _validate(self) -> tuple[np.ndarray, list[str | None]]:
        """(readable images, 2) bool of the validation split, see `outcome.hits`, and why others could not be read."""
        self._model.eval()
        right, reasons = [torch.empty(0, 2, dtype=torch.bool)], []
        for crops, labels, why in self._validation():
            reasons += why
            right.append(outcome.hits(self._model(crops), labels))
        everyone = self._world.gather_objects((torch.cat(right).numpy(), reasons))
        found = np.concatenate([part for part, _ in everyone])
        whole = [reason for _, part in everyone for reason in part]
        if not len(found):
            place = self._fit.val.manifest.root
            raise EvaluationError(f"--val {place}: none of its {len(whole)} labelled images can be read; {whole[0]}")
        return found, whole

    def _validation(self) -> Iterator[tuple[Tensor, Tensor, list[str | None]]]:
        """Normalised centre crops of the readable images of this worker's slice, their labels, and all reasons."""
        val, preprocess = self._fit.val, self._fit.images.preprocess
        own = self._world.own_slice(len(val.ids))
        ids, labels = val.ids[own], val.labels[own]

        def read(block: slice) -> tuple[np.ndarray, list[str | None], bool]:
            return crops_of(val.manifest, ids[block], preprocess.image_size, _THREADS)

        blocks = [slice(start, start + _CHUNK) for start in range(0, len(ids), _CHUNK)]
        for block, (crops, reasons, _) in zip(blocks, one_ahead(read, blocks), strict=True):
            keep = np.array([reason is None for reason in reasons])
            pixels = torch.from_numpy(crops[keep]).to(self._device)
            images = normalize(pixels, mean=preprocess.mean, std=preprocess.std)
            yield images, torch.from_numpy(labels[block][keep]).to(self._device), reasons


def _classifier(fit: NetworkFit, device: torch.device, world: World) -> _Classifier:
    """The network with a new classifier, the same on every worker, whose BatchNorm sees the global batch."""
    trunk = copy.deepcopy(fit.backbone.trunk)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fit.training.seed)
        made = _Classifier(trunk, fit.backbone.feature_dim, len(fit.images.split.classes))
    made = made.to(device).to(memory_format=torch.channels_last)
    synchronize(made, world.group, Parts(1))
    return made
