"""Detection as an evaluation that trains (`fit.task`): what is trained, and what it says at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from swav_ray.data.decoding.decode import UnreadableImage
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.evaluate.detect import detector
from swav_ray.evaluate.detect.annotations import EXAMPLES, Annotated
from swav_ray.evaluate.detect.detector import Found
from swav_ray.evaluate.detect.examples import Augment, Example, test_example
from swav_ray.evaluate.detect.feed import DetectionBatch, DetectionFeed
from swav_ray.evaluate.detect.outcome import as_json, finished, judged
from swav_ray.evaluate.detect.settings import Settings
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.fit.momentum import put_back, state_of
from swav_ray.evaluate.fit.task import State
from swav_ray.evaluate.results.judged import Judged
from swav_ray.evaluate.results.protocol import Protocol
from swav_ray.model.global_batch_norm import Parts, synchronize
from swav_ray.training.coordinator import Coordinator
from swav_ray.training.distributed import World
from swav_ray.weights.backbone import Backbone

_THREADS = 4  # that decode images to find objects in
_POINTS = 20  # of the curve of the loss
_NORMS = (nn.modules.batchnorm._BatchNorm,)


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectFit:
    """A detector to train, before any worker has started (a `fit.task.Fit`).

    Attributes:
        train, val: what to learn from and to judge by, of the same classes.
        published: figures of the published weights, by name.
        max_bad_fraction: of the training images that may be unreadable.
    """

    protocol: Protocol
    settings: Settings
    backbone: Backbone
    train: Annotated
    val: Annotated
    published: Mapping[str, float]
    max_bad_fraction: float
    notes: Sequence[str]

    @property
    def plan(self) -> SamplePlan:
        """The order of every image that teaches something; raises EvaluationError if a batch takes more of them."""
        ids, batch = self.train.trainable(), self.settings.batch_size
        if len(ids) < batch:
            raise EvaluationError(
                f"--train {self.train.source}: a step takes {batch} images, and {len(ids)} have annotations; "
                f"give --batch {len(ids)} or less"
            )
        return SamplePlan(ids, self.settings.seed, batch)

    @property
    def masks(self) -> bool:
        """Whether masks are trained and judged."""
        return self.settings.has_masks and self.train.has_masks and self.val.has_masks

    @property
    def epochs(self) -> int:
        """Of the training, the last of which may be cut short."""
        return math.ceil(self.settings.iterations / self.plan.steps_per_epoch)

    def task(self, device: torch.device, world: World) -> Detect:
        """What one worker trains."""
        return Detect(self, device, world)

    def judged(self, finished: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Judged:
        """Average precision of boxes and masks, and a picture of what was found."""
        title = f"{self.protocol.name}, {self.backbone.origin.place}"
        return judged(finished, rows, self.val, title)


class Detect:
    """The detector of one worker (a `fit.task.Task`)."""

    def __init__(self, fit: DetectFit, device: torch.device, world: World) -> None:
        self._fit, self._world, self._settings, self._plan = fit, world, fit.settings, fit.plan
        self.steps, self.steps_per_epoch = fit.settings.iterations, self._plan.steps_per_epoch
        self.images, self.max_bad_fraction = len(self._plan.ids), fit.max_bad_fraction
        self._model = detector.build(fit.settings, fit.backbone, len(fit.train.classes), masks=fit.masks).to(device)
        synchronize(self._model, world.group, Parts(1))
        self._forward = world.average_gradients(self._model)
        self._optimizer = _optimizer(self._model, fit.settings)

    def state(self) -> State:
        """Weights, the buffers of BatchNorm, and momentum."""
        return state_of(self._model, self._optimizer)

    def load_state(self, state: State) -> None:
        """Puts back what `state` gave."""
        put_back(self._model, self._optimizer, state)

    def feed(self, coordinator: Coordinator, world: World, start: int, end: int) -> DetectionFeed:  # noqa: ARG002
        """Images resized and flipped, read by this worker."""
        settings = self._settings
        augment = Augment(settings.short_sides, settings.long_side, settings.flip, self._fit.masks)
        own = world.own_slice(settings.batch_size)
        return DetectionFeed(self._fit.train, self._plan, augment, own, start, end)

    def step(self, index: int, batch: DetectionBatch) -> Mapping[str, float]:
        """Trains the whole detector; each loss is the mean over workers, weighted by their images."""
        rate = self._settings.rate(index)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._model.train()
        losses: dict[str, torch.Tensor] = self._forward(batch.examples)
        part = len(batch.examples) / self._settings.batch_size
        total = torch.stack(list(losses.values())).sum()
        self._optimizer.zero_grad()
        # Workers' gradients are averaged, so a slice counts by its images, not by its worker.
        (total * part * self._world.size).backward()
        shown = self._world.sum(torch.stack([total, *losses.values()]).detach() * part).tolist()
        if not math.isfinite(shown[0]):
            raise FloatingPointError(f"the loss of step {index} is not finite; a lower --lr usually helps")
        self._optimizer.step()
        return dict(zip(("loss", *losses), shown, strict=True)) | {"lr": rate}

    def judge(self, epochs: int) -> Mapping[str, Any]:
        """Where training is, a few times in all, for the curve of its loss: finding objects takes too long for that."""
        every = max(1, self._fit.epochs // _POINTS)
        return {"iterations": epochs * self.steps_per_epoch} if epochs % every == 0 else {}

    def finish(self) -> dict[str, Any]:
        """Figures over the validation set, what was found in a few of its images, and those that are unreadable."""
        found, unreadable = self._find()
        readable = [index for index in range(len(self._fit.val)) if index not in unreadable]
        if not readable:
            why = next(iter(unreadable.values()))
            raise EvaluationError(f"--val {self._fit.val.source}: none of its images can be read; {why}")
        # Rank 0 alone writes it, and the figures of a large set take a minute.
        if self._world.rank:
            return {}
        names = {self._fit.val.names[index]: why for index, why in unreadable.items()}
        val = self._fit.val.take(readable)
        kinds = finished(
            val, [found[index] for index in readable], self._settings, self._fit.published, self._fit.masks
        )
        return {
            **kinds,
            "found": {str(index): as_json(found[index]) for index in _shown(readable)},
            "unreadable": names,
        }

    def _find(self) -> tuple[dict[int, Found], dict[int, str]]:
        """What is in each readable image of the validation set, and why others cannot be read; every worker's slice."""
        self._model.eval()
        own = range(len(self._fit.val))[self._world.own_slice(len(self._fit.val))]
        found: dict[int, Found] = {}
        unreadable: dict[int, str] = {}
        with ThreadPoolExecutor(_THREADS, "detect") as pool:
            # One image at a time: in a batch it would be padded, by what the others are.
            for first in range(0, len(own), 4 * _THREADS):
                for index, example in pool.map(self._example, own[first : first + 4 * _THREADS]):
                    if isinstance(example, UnreadableImage):
                        unreadable[index] = str(example)
                        continue
                    height, width = self._fit.val.sizes[index].tolist()
                    found[index] = self._model.find([example], [(height, width)])[0]
        everyone = self._world.gather_objects((found, unreadable))
        return (
            {index: one for part, _ in everyone for index, one in part.items()},
            {index: why for _, part in everyone for index, why in part.items()},
        )

    def _example(self, index: int) -> tuple[int, Example | UnreadableImage]:
        try:
            return index, test_example(self._fit.val, index, self._settings.test_side, self._settings.long_side)
        except UnreadableImage as error:
            return index, error


def _optimizer(model: nn.Module, settings: Settings) -> torch.optim.SGD:
    norms = [
        parameter
        for part in model.modules()
        if isinstance(part, _NORMS)
        for parameter in part.parameters(recurse=False)
    ]
    own = {id(parameter) for parameter in norms}
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in model.parameters() if id(parameter) not in own]},
        {"params": norms, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)


def _shown(indices: Sequence[int]) -> list[int]:
    """A few images, spread evenly."""
    most = min(2 * EXAMPLES, len(indices))
    return [indices[number * len(indices) // most] for number in range(most)]
