"""Runs a refused step again, in this process alone, and finds the first tensor of it that is not finite.

Forward and backward passes, in the order in which they compute: the crops, the weights, every layer's output,
embeddings and scores, then the gradient of every layer's output and of every parameter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from swav_ray.config import replace
from swav_ray.health import black_box
from swav_ray.health.black_box import BlackBox
from swav_ray.model.swav import SwAVModel
from swav_ray.training.device_batches import to_device
from swav_ray.training.learner import Learner


@dataclass
class Trail:
    """What was computed, in order, up to the first tensor that is not finite.

    Attributes:
        found: its name and what it holds; '' while everything is finite.
        largest: the largest magnitude of the tensors before it, by name, in order.
    """

    found: str = ""
    largest: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, tensor: Tensor) -> None:
        """The next one."""
        if self.found or not tensor.numel() or not tensor.is_floating_point():
            return
        values = tensor.detach()
        bad = ~values.isfinite()
        if bool(bad.any()):
            nan, total = int(values.isnan().sum()), values.numel()
            infinite = int(bad.sum()) - nan
            self.found = f"{name}: {nan:,} NaN and {infinite:,} infinite of {total:,} values"
        else:
            self.largest[name] = float(values.abs().amax())


@dataclass(frozen=True)
class Replayed:
    """A step that ran again.

    Attributes:
        refused: why it was refused this time; '' if it was not.
        before: why it was refused in the run.
        trail: what it computed.
    """

    refused: str
    before: str
    trail: Trail

    def lines(self) -> list[str]:
        """What a person reads."""
        again = f"refused again: {self.refused}" if self.refused else "not refused this time"
        lines = [f"in the run: {self.before}", f"now: {again}"]
        if self.trail.found:
            lines.append(f"the first tensor that is not finite is {self.trail.found}")
        else:
            lines.append("every tensor of the step is finite")
        last = list(self.trail.largest.items())[-3:]
        if self.trail.found:
            lines += [f"  before it: {name}, largest magnitude {value:.3g}" for name, value in last]
        large = sorted(self.trail.largest.items(), key=lambda item: -item[1])[:3]
        lines += [f"  among the largest: {name}, {value:.3g}" for name, value in large]
        return lines


def replay(box: BlackBox, device: torch.device) -> Replayed:
    """Runs the step of a black box again.

    One process has the whole global batch, in passes if the run had. With one worker on the same device it is the same
    step bit for bit; otherwise sums round differently. They also do if the run had `performance.compile`, since layers
    that are compiled cannot be watched.
    """
    trail = Trail()
    # Rounds as the run did; whatever sizes the run had must fit here, too.
    config = replace(box.config, scaling={"num_workers": (1,)}, performance={"compile": False})
    learner = Learner(config, box.state.meta["steps_per_epoch"], device=device)
    black_box.restore(learner, box)
    crops = to_device(box.batch, config, device)
    for number, group in enumerate(crops):
        trail.add(f"crops of {group.shape[-1]} pixels (group {number})", group)
    for name, tensor in learner.model.state_dict().items():
        trail.add(f"{_kind(learner.model, name)} {name}", tensor)
    if learner.queue is not None:
        trail.add("the queue", learner.queue.rows)
    for name, tensor in box.state.training.items():
        trail.add(name.replace("momentum.", "momentum of "), tensor)
    with _watched(learner.model, trail):
        result = learner.step(crops, box.batch.step)
    for number, codes in enumerate(result.codes):
        trail.add(f"codes of head {number}", codes)
    trail.add("the loss", torch.tensor(result.loss))
    return Replayed(result.refused, box.refused, trail)


def _kind(model: nn.Module, name: str) -> str:
    return "parameter" if name in dict(model.named_parameters()) else "running statistic"


@contextlib.contextmanager
def _watched(model: SwAVModel, trail: Trail) -> Iterator[None]:
    """While entered, outputs of all layers, gradients that flow into them and those of parameters go to the trail."""
    handles: list[Any] = []

    def watch(name: str, module: nn.Module) -> None:
        counted = {"calls": 0}

        def after(_: nn.Module, __: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                return
            counted["calls"] += 1
            label = f"output of {name}" + (f" (call {counted['calls']})" if counted["calls"] > 1 else "")
            trail.add(label, output)
            if output.requires_grad:
                handles.append(output.register_hook(lambda gradient: trail.add(f"gradient of the {label}", gradient)))

        handles.append(module.register_forward_hook(after))

    handles.append(model.prototypes.register_forward_pre_hook(lambda _, given: trail.add("embeddings", given[0])))
    for name, parameter in model.named_parameters():

        def accumulated(parameter: Tensor, name: str = name) -> None:
            if parameter.grad is not None:
                trail.add(f"gradient of {name}", parameter.grad)

        handles.append(parameter.register_post_accumulate_grad_hook(accumulated))
    for name, module in model.named_modules():
        if name and not list(module.children()):
            watch(name, module)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
