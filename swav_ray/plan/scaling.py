"""A step at many GPUs, on paper: computation, gradients in DDP's buckets, small collectives; and how many there are.

Arithmetic on a config and rates.yaml. Within a machine gradients take NVLink, between machines the network; a bucket
is sent as soon as the backward pass has filled it, so that only what is left at its end costs time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from swav_ray.config import Config, ConfigError
from swav_ray.model.swav import SwAVModel
from swav_ray.plan.estimate import Images, gpu_rate, work_of

_FIRST_BUCKET, _BUCKET = 1 << 20, 25 << 20  # bytes, DDP's own
_BACKWARD = 2 / 3  # of a step's computation
_REQUESTS = 10 * 8  # bytes of the step's tally
_GPUS_A_MACHINE = 8


@dataclass(frozen=True)
class Collectives:
    """Those of one kind in a step: how many, and bytes that each worker brings to all of them together."""

    what: str
    count: int
    bytes: int


@dataclass(frozen=True)
class Scaled:
    """A step at so many GPUs. Seconds; `hidden` of the gradients' time lies under the backward pass."""

    gpus: int
    images_per_gpu: float
    compute: float
    gradients: float
    hidden: float
    small: float
    seconds: float
    images_per_second: float
    efficiency: float


def network_of(config: Config) -> SwAVModel:
    """The network without memory for its weights."""
    model = config.model
    with torch.device("meta"):
        return SwAVModel(
            model.backbone,
            width=model.width,
            small_image_stem=model.small_image_stem,
            hidden_dim=model.hidden_dim,
            output_dim=model.output_dim,
            prototypes=model.prototypes,
        )


def buckets(network: nn.Module) -> list[int]:
    """Bytes of DDP's gradient buckets, in the order in which the backward pass fills them."""
    found, limit = [0], _FIRST_BUCKET
    for parameter in reversed(list(network.parameters())):
        found[-1] += 4 * parameter.numel()
        if found[-1] >= limit:
            found.append(0)
            limit = _BUCKET
    return [size for size in found if size]


def collectives(config: Config, gpus: int) -> list[Collectives]:
    """What a step of ours sends, a line a kind, at so many workers."""
    network = network_of(config)
    sizes = buckets(network)
    norms = [module.num_features for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    trunk = norms[:-1] if config.model.hidden_dim else norms
    each = trunk * len(config.crops.sizes) + norms[len(trunk) :]  # the head sees all resolutions at once
    train, crops = config.train, len(config.assignment.crops_for_assign)
    batch, groups = train.global_batch_size, train.batchnorm_groups
    split = groups == 1 or any((batch * rank // gpus) % (batch // groups) for rank in range(gpus))
    found = [Collectives("gradients", len(sizes), sum(sizes))]
    if train.sync_batchnorm and split:
        found.append(Collectives("BatchNorm", 2 * len(each), 4 * sum((2 * c + 1) + 2 * c for c in each) * groups))
    elif train.sync_batchnorm:
        found.append(Collectives("running statistics", 1, 8 * sum(norms)))
    prototypes = config.model.prototypes
    balances = config.assignment.iterations * crops
    found.append(Collectives("Sinkhorn", balances * len(prototypes), 4 * balances * sum(prototypes)))
    if config.queue.length:
        rows = math.ceil(batch / gpus)
        found.append(Collectives("queue", 1, 4 * rows * crops * config.model.output_dim))
    parameters = len(list(network.parameters()))
    return [*found, Collectives("loss, tally, DDP's bitmap", 3, 4 + _REQUESTS + 4 * parameters)]


def published(config: Config) -> list[Collectives]:
    """The same of the published loop: SyncBatchNorm in groups of 8, a total before every Sinkhorn, queues that stay."""
    network = network_of(config)
    sizes = buckets(network)
    norms = [module.num_features for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    each = norms[:-1] * len(config.crops.sizes) + norms[-1:]
    crops = len(config.assignment.crops_for_assign)
    balances, prototypes = config.assignment.iterations * crops, config.model.prototypes
    return [
        Collectives("gradients", len(sizes), sum(sizes)),
        Collectives("BatchNorm", 2 * len(each), 4 * sum((2 * c + 1) + 2 * c for c in each)),
        Collectives("Sinkhorn", (balances + crops) * len(prototypes), 4 * (balances * sum(prototypes) + crops)),
    ]


def scaled(config: Config, gpu: str, gpus: int, network_gbit: float, rates: dict[str, Any]) -> Scaled:
    """A step of the config's global batch on so many GPUs, eight a machine.

    Raises:
        ConfigError: rates.yaml does not have the GPU, or a GPU would have no image.
    """
    if gpu not in rates["gpus"]:
        raise ConfigError("--gpu", gpu, f"must be one of {', '.join(rates['gpus'])}")
    batch = config.train.global_batch_size
    if gpus > batch:
        raise ConfigError("--gpus", gpus, f"must be at most train.global_batch_size ({batch})")
    rate = gpu_rate(gpu, config, work_of(config, Images(), rates), rates)
    compute = math.ceil(batch / gpus) / rate
    network, machines = rates["network"], math.ceil(gpus / _GPUS_A_MACHINE)
    inside, outside = float(network["within_machine"]) * 1e9, network_gbit * 1e9 / 8 * float(network["share"])
    here = min(gpus, _GPUS_A_MACHINE)
    sizes = buckets(network_of(config))
    # A ring moves each byte twice, but for one part; machines reduce inside first, then between them.
    cost = 2 * (here - 1) / here / inside + 2 * (machines - 1) / machines / outside
    gradients = sum(sizes) * cost
    # The last bucket is full when the backward pass ends; the ones before it were on their way.
    hidden = min(gradients - sizes[-1] * cost, _BACKWARD * compute)
    latency = float(network["collective_seconds"]) * max(1.0, math.log2(gpus) / math.log2(64))
    count = sum(kind.count for kind in collectives(config, gpus) if kind.what != "gradients")
    small = count * latency if gpus > 1 else 0.0
    spread = float(rates["gpu_spread"]["value"]) * math.sqrt(2 * math.log(gpus)) if gpus > 1 else 0.0
    seconds = compute * (1 + spread) + gradients - hidden + small
    return Scaled(
        gpus=gpus,
        images_per_gpu=batch / gpus,
        compute=compute,
        gradients=gradients,
        hidden=hidden,
        small=small,
        seconds=seconds,
        images_per_second=batch / seconds,
        efficiency=batch / seconds / (gpus * rate),
    )
