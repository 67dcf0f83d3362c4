"""The steps that are compared, each built by a function out of the config and the device."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.step_parts.backbone import BareBackbone
from benchmarks.step_parts.plain import PlainStep
from benchmarks.step_parts.setup import full_queue, random_crops
from swav_ray.config import Config, replace
from swav_ray.training.learner import Learner

STEP = 1000  # beyond every freeze and queue start

Step = Callable[[], object]


def ours(config: Config, device: torch.device) -> Step:
    """`Learner.step` with crops as training leaves them on the device."""
    learner = Learner(config, 1, device=device)
    full_queue(learner)
    crops = [group.contiguous(memory_format=torch.channels_last) for group in random_crops(config, device)]
    return lambda: learner.step(crops, STEP)


def ours_compiled(config: Config, device: torch.device) -> Step:
    """The same with `performance.compile`."""
    return ours(replace(config, performance={"compile": True}), device)


def plain(config: Config, device: torch.device) -> Step:
    """The plain loop in the config's precision."""
    loop = PlainStep(config, device)
    loop.queue.normal_(generator=torch.Generator(device).manual_seed(1))
    loop.queue.copy_(torch.nn.functional.normalize(loop.queue, dim=2))
    crops = random_crops(config, device)
    return lambda: loop.step(crops, config.optim.base_lr)


def plain_fp32(config: Config, device: torch.device) -> Step:
    """The plain loop in float32."""
    return plain(replace(config, train={"precision": "fp32"}), device)


def backbone_contiguous(config: Config, device: torch.device) -> Step:
    return _backbone(config, device, channels_last=False)


def backbone_channels_last(config: Config, device: torch.device) -> Step:
    return _backbone(config, device, channels_last=True)


def backbone_compiled(config: Config, device: torch.device) -> Step:
    """Channels-last, by torch.compile."""
    return _backbone(config, device, channels_last=True, compiled=True)


def _backbone(config: Config, device: torch.device, *, channels_last: bool, compiled: bool = False) -> Step:
    bare = BareBackbone(config, device, channels_last=channels_last)
    if compiled:
        bare.model.compile(dynamic=False)
    crops = bare.prepare(random_crops(config, device))
    return lambda: bare.step(crops)


def builders(config: Config, *, compiled: bool = False) -> dict[str, Callable[[Config, torch.device], Step]]:
    """The contenders by name; `compiled`: those of torch.compile too."""
    found = {"ours": ours, "plain": plain}
    if config.train.precision == "bf16":
        found["plain_fp32"] = plain_fp32
    found |= {"backbone_contiguous": backbone_contiguous, "backbone_channels_last": backbone_channels_last}
    if compiled:
        found |= {"ours_compiled": ours_compiled, "backbone_compiled": backbone_compiled}
    return found
