"""What a run costs on given machines: hours and dollars, the bottleneck, the mix of machines, interruptions.

Puts the capacities of estimate.py together with a price list. Knows no Ray, starts nothing and prints nothing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swav_ray.config import Config, ConfigError
from swav_ray.plan.estimate import (
    Capacity,
    Images,
    Interruptions,
    Machine,
    capacity,
    crop_rate,
    interruptions,
    work_of,
)
from swav_ray.plan.requests import Reads, reads_of

Nodes = list[tuple[Machine, int]]


@dataclass(frozen=True)
class Spot:
    """How often a spot machine is preempted, and what a preemption costs.

    Args:
        per_hour: chance that one machine is preempted within an hour.
        checkpoint_seconds: that training waits for a checkpoint.
        restart_seconds: from the loss of a machine to the next step.
    """

    per_hour: float
    checkpoint_seconds: float
    restart_seconds: float


@dataclass(frozen=True)
class Cost:
    """The whole answer. `hours` and `dollars` include the expected interruptions of spot machines."""

    recipe: str
    nodes: str
    capacity: Capacity
    bottleneck: str
    images_per_second: float
    epoch_minutes: float
    hours: float
    dollars_per_hour: float
    dollars: float
    vcpus_per_gpu: float
    crop_machines_wanted: int
    interruptions: Interruptions | None
    requests: Reads


def machines(prices: dict[str, Any]) -> dict[str, Machine]:
    """The kinds of machines of a price list; raises ConfigError when an entry is incomplete."""
    found = {}
    for name, fields in prices["machines"].items():
        try:
            found[name] = Machine(name=name, **fields)
        except TypeError:
            right = "needs gpu, gpus, vcpus, network, on_demand and spot"
            raise ConfigError(f"--prices: machines.{name}", fields, right) from None
    return found


def parse_nodes(arguments: Sequence[str], known: dict[str, Machine]) -> Nodes:
    """`TYPE:COUNT ...`; raises ConfigError."""
    nodes = []
    for argument in arguments:
        name, _, count = argument.partition(":")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}, or add it to --prices"
            raise ConfigError("--nodes", argument, f"no such machine; {hint}")
        if not count.isdigit() or int(count) < 1:
            raise ConfigError("--nodes", argument, "must be TYPE:COUNT, as g6.2xlarge:8")
        nodes.append((known[name], int(count)))
    return nodes


def cost(
    config: Config, nodes: Nodes, images: Images, spot: Spot | None, rates: dict[str, Any], prices: dict[str, Any]
) -> Cost:
    """The cost of a config on machines.

    Args:
        spot: None: at the price on demand, without interruptions.
        rates: of rates.yaml. prices: of prices.yaml.

    Raises:
        ConfigError: images, machines and config do not fit each other, or `prices` names a machine that it has not.
    """
    batch = config.train.global_batch_size
    if images.count < batch:
        raise ConfigError("--images", images.count, f"must be at least train.global_batch_size ({batch})")
    able = capacity(config, nodes, images, rates)
    epoch = images.count // batch * batch / able.images_per_second
    seconds = epoch * config.train.epochs
    lost = None
    if spot is not None:
        # A whole cluster stops when any machine that trains goes; those that only make crops are made up for.
        training = sum(count for machine, count in nodes if machine.gpus)
        lost = interruptions(
            training,
            spot.per_hour,
            spot.checkpoint_seconds,
            spot.restart_seconds,
            config.checkpoint.every_epochs * epoch,
        )
        seconds *= 1 + lost.share_with_notice
    hourly = _dollars_per_hour(nodes, prices, spot is not None)
    gpus = sum(machine.gpus * count for machine, count in nodes)
    cpu_seconds = work_of(config, images, rates).cpu_seconds
    return Cost(
        recipe=config.run.name,
        nodes=" + ".join(f"{count} x {machine.name}" for machine, count in nodes),
        capacity=able,
        bottleneck=able.bottleneck,
        images_per_second=able.images_per_second,
        epoch_minutes=epoch / 60,
        hours=seconds / 3600,
        dollars_per_hour=hourly,
        dollars=hourly * seconds / 3600,
        vcpus_per_gpu=able.gpu / gpus * cpu_seconds / float(rates["cpu"]["vcpu_of_a_core"]),
        crop_machines_wanted=_crop_machines(config, nodes, images, able, rates, prices),
        interruptions=lost,
        requests=_requests(config, nodes, images, rates, prices),
    )


def _requests(config: Config, nodes: Nodes, images: Images, rates: dict[str, Any], prices: dict[str, Any]) -> Reads:
    block = config.data.shuffle_block
    workers, machines = (sum(number) for number in zip(*[(m.gpus * n, n) for m, n in nodes], strict=True))
    return reads_of("shards" if block else "files", block, config, images, workers, machines, rates, prices)


def _dollars_per_hour(nodes: Nodes, prices: dict[str, Any], spot: bool) -> float:
    """Of all machines and the head, which is never a spot machine."""
    head = _named("head", prices).on_demand
    return head + sum((machine.spot if spot else machine.on_demand) * count for machine, count in nodes)


def _crop_machines(
    config: Config, nodes: Nodes, images: Images, able: Capacity, rates: dict[str, Any], prices: dict[str, Any]
) -> int:
    """How many machines of the kind `crops`, beside those with GPUs, would keep the GPUs busy."""
    work = work_of(config, images, rates)
    beside = sum(crop_rate(machine, config, work, rates) * count for machine, count in nodes if machine.gpus)
    return math.ceil(max(0.0, able.gpu - beside) / crop_rate(_named("crops", prices), config, work, rates))


def _named(role: str, prices: dict[str, Any]) -> Machine:
    known, name = machines(prices), prices[role]
    if name not in known:
        raise ConfigError("--prices", name, "is named as head or crops but is not among its machines")
    return known[name]
