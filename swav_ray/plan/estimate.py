"""What a run would do on machines that are not there yet: arithmetic on a config and the rates of rates.yaml.

Knows no Ray and starts nothing. Every stage of the pipeline gets its own capacity in images/s; the least one is the
bottleneck.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from swav_ray.config import Config, ConfigError
from swav_ray.one_line import one_line

# Multiply-accumulates of one image of 224 pixels, in 1e9 (torchvision's table), and BatchNorm layers.
_GMACS = {"resnet18": 1.81, "resnet34": 3.66, "resnet50": 4.09, "resnet101": 7.80}
_BATCH_NORMS = {"resnet18": 20, "resnet34": 36, "resnet50": 53, "resnet101": 104}
_PARAMETERS = {"resnet18": 11.2e6, "resnet34": 21.3e6, "resnet50": 23.5e6, "resnet101": 42.5e6}
_CHANNELS = {"resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048}
_REFERENCE_GMACS = 4.09 * (2 + 6 * (96 / 224) ** 2)


@dataclass(frozen=True)
class Machine:
    """A kind of machine: `network` in Gbit/s, prices in US dollars an hour."""

    name: str
    gpu: str
    gpus: int
    vcpus: int
    network: float
    on_demand: float
    spot: float


@dataclass(frozen=True)
class Images:
    """The data set: how many images, of how many bytes and pixels on average."""

    count: int = 1_281_167
    bytes: float = 110_000.0
    pixels: float = 187_500.0


@dataclass(frozen=True)
class Work:
    """What one image costs: GPU seconds on a GPU of rate 1, core seconds, bytes read and bytes of crops."""

    gpu_share: float
    cpu_seconds: float
    read_bytes: float
    crop_bytes: float
    gradient_bytes: float
    collectives: int


@dataclass(frozen=True)
class Capacity:
    """Images/s of each stage on its own, and of the whole; `unmeasured`: the sources of figures nobody measured."""

    gpu: float
    crops: float
    network: float
    storage: float
    step_seconds: float
    communication_seconds: float
    unmeasured: tuple[str, ...]

    @property
    def bottleneck(self) -> str:
        """The stage that bounds the run."""
        stages = {"GPU": self.gpu, "CPU crops": self.crops, "network": self.network, "storage": self.storage}
        return min(stages, key=lambda name: stages[name])

    @property
    def images_per_second(self) -> float:
        """Of the whole pipeline, its stages overlapping."""
        return min(self.gpu, self.crops, self.network, self.storage)


def read_data(name: str, given: str = "") -> dict[str, Any]:
    """rates.yaml or prices.yaml of the package, or the user's own copy; raises ConfigError."""
    try:
        text = Path(given).read_text() if given else (resources.files("swav_ray.plan") / name).read_text()
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--{name.removesuffix('.yaml')}", given, f"cannot be read: {one_line(error)}") from None
    wanted = "gpus" if name == "rates.yaml" else "machines"
    if not isinstance(document, dict) or wanted not in document:
        raise ConfigError(
            f"--{name.removesuffix('.yaml')}", given, f"has no section {wanted}; copy the package's {name}"
        )
    return document


def work_of(config: Config, images: Images, rates: dict[str, Any]) -> Work:
    """What one image of this config costs."""
    model, crops = config.model, config.crops
    gmacs = (
        _GMACS[model.backbone]
        * model.width**2
        * sum(count * (size / 224) ** 2 for count, size in zip(crops.counts, crops.sizes, strict=True))
    )
    if model.small_image_stem:
        gmacs *= 16  # no stride in the first convolution, no pooling: four times the side in every stage
    cpu = rates["cpu"]
    seconds = (
        images.pixels * cpu["decode_ns_per_pixel"] * 1e-9
        + crops.pixels * cpu["crop_ns_per_pixel"][config.augment.color_device] * 1e-9
        + crops.total * cpu["crop_us"] * 1e-6
    )
    channels = _CHANNELS[model.backbone] * model.width
    hidden = model.hidden_dim or 0
    head = channels * hidden + hidden * model.output_dim if hidden else channels * model.output_dim
    parameters = _PARAMETERS[model.backbone] * model.width**2 + head + model.output_dim * sum(model.prototypes)
    norms = _BATCH_NORMS[model.backbone] * 2 * len(crops.sizes) if config.train.sync_batchnorm else 0
    return Work(
        gpu_share=gmacs / _REFERENCE_GMACS,
        cpu_seconds=seconds,
        read_bytes=images.bytes,
        crop_bytes=3.0 * crops.pixels,
        gradient_bytes=4.0 * parameters,
        collectives=norms + 3 * config.assignment.iterations * len(config.assignment.crops_for_assign),
    )


def gpu_rate(gpu: str, config: Config, work: Work, rates: dict[str, Any]) -> float:
    """Images/s of one GPU for this config, on its own."""
    entry = rates["gpus"][gpu]
    share = 1.0 if config.train.precision == "bf16" else float(entry["fp32"])
    return float(entry["images_per_second"]) * share / work.gpu_share


def communication(nodes: list[tuple[Machine, int]], work: Work, rates: dict[str, Any]) -> float:
    """Seconds a step that gradients and small collectives take, without overlap with the computation."""
    trainers = [(machine, count) for machine, count in nodes if machine.gpus]
    workers = sum(machine.gpus * count for machine, count in trainers)
    if workers < 2:
        return 0.0
    machines = sum(count for _, count in trainers)
    small = work.collectives * float(rates["network"]["collective_seconds"])
    if machines == 1:
        return small  # within a machine gradients take NVLink or PCIe: little beside the rest
    slowest = min(machine.network for machine, _ in trainers) * 1e9 / 8 * float(rates["network"]["share"])
    return small + 2 * (machines - 1) / machines * work.gradient_bytes / slowest


def crop_rate(machine: Machine, config: Config, work: Work, rates: dict[str, Any]) -> float:
    """Images/s of crops that one machine makes beside its training workers; one vCPU is left to Ray."""
    free = machine.vcpus - machine.gpus * config.scaling.cpus_per_worker - 1
    return max(free, 0.0) * float(rates["cpu"]["vcpu_of_a_core"]) / work.cpu_seconds


def capacity(config: Config, nodes: list[tuple[Machine, int]], images: Images, rates: dict[str, Any]) -> Capacity:
    """What these machines do with this config; raises ConfigError if none of them has a GPU."""
    work = work_of(config, images, rates)
    trainers = [(machine, count) for machine, count in nodes if machine.gpus]
    if not trainers:
        raise ConfigError("--nodes", " ".join(machine.name for machine, _ in nodes), "names no machine with a GPU")
    workers = sum(machine.gpus * count for machine, count in trainers)
    batch = config.train.global_batch_size
    if batch < workers:
        raise ConfigError("train.global_batch_size", batch, f"must be at least {workers}, the number of GPUs")
    # Every worker has an even slice of the batch, so the slowest GPU and the unluckiest one set the rate.
    slowest = min(gpu_rate(machine.gpu, config, work, rates) for machine, _ in trainers)
    spread = float(rates["gpu_spread"]["value"]) * math.sqrt(2 * math.log(workers))
    shared = communication(nodes, work, rates)
    step = math.ceil(batch / workers) / slowest * (1 + spread) + shared
    gpu = batch / step
    crops = sum(crop_rate(machine, config, work, rates) * count for machine, count in nodes)
    return Capacity(
        gpu=gpu,
        crops=crops,
        network=_network(config, nodes, work, rates),
        storage=_storage(config, nodes, work, rates),
        step_seconds=step,
        communication_seconds=shared,
        unmeasured=_unmeasured(trainers, rates),
    )


def _network(config: Config, nodes: list[tuple[Machine, int]], work: Work, rates: dict[str, Any]) -> float:
    """Images/s that the training machines can take in as crops made elsewhere."""
    made = {machine.name: crop_rate(machine, config, work, rates) * count for machine, count in nodes}
    total = sum(made.values())
    gpus = sum(machine.gpus * count for machine, count in nodes)
    least = math.inf
    for machine, count in nodes:
        if not machine.gpus or not total:
            continue
        # Ray places crops on free CPUs, wherever they are needed: a machine finds its own part at home.
        here = made[machine.name] / count / total
        share = machine.gpus / gpus
        inward = machine.network * 1e9 / 8 * float(rates["network"]["share"])
        least = min(least, inward / (work.crop_bytes * (1 - here) * share) if here < 1 else math.inf)
    return least


def _storage(config: Config, nodes: list[tuple[Machine, int]], work: Work, rates: dict[str, Any]) -> float:
    """Images/s that the machines which make crops can read from the bucket."""
    made = [(machine, count, crop_rate(machine, config, work, rates)) for machine, count in nodes]
    total = sum(rate * count for _, count, rate in made)
    least = math.inf
    for machine, _, rate in made:
        if rate:
            inward = machine.network * 1e9 / 8 * float(rates["network"]["share"])
            least = min(least, inward / (work.read_bytes * rate / total))
    return least


def _unmeasured(trainers: list[tuple[Machine, int]], rates: dict[str, Any]) -> tuple[str, ...]:
    gpus = {machine.gpu for machine, _ in trainers}
    notes = [f"{gpu}: {rates['gpus'][gpu]['source']}" for gpu in sorted(gpus) if not rates["gpus"][gpu]["measured"]]
    notes.append(f"vCPU: {rates['cpu']['vcpu_source']}")
    notes.append(f"network: {rates['network']['source']}")
    return tuple(notes)


@dataclass(frozen=True)
class Interruptions:
    """What preempted machines cost. Shares are of the run's time without interruption; times in seconds."""

    between: float
    best_interval: float
    interval: float
    share_with_notice: float
    share_without_notice: float


def interruptions(
    machines: int, per_hour: float, checkpoint_seconds: float, restart_seconds: float, interval: float
) -> Interruptions:
    """Expected cost of losing machines, and the checkpoint interval that makes it least.

    Young, 1974, and Daly, 2006: sqrt(2 C (M + R)) - C for a checkpoint of C seconds, restart of R and M seconds between
    failures of the whole. With a notice the run leaves a checkpoint first, so nothing but C and R is lost.

    Args:
        machines: that can be preempted. per_hour: chance of each in an hour.
        interval: between checkpoints; 0: the best one.
    """
    if per_hour <= 0 or machines == 0:
        return Interruptions(math.inf, math.inf, interval, 0.0, 0.0)
    between = 3600 / (per_hour * machines)
    best = max(math.sqrt(2 * checkpoint_seconds * (between + restart_seconds)) - checkpoint_seconds, checkpoint_seconds)
    chosen = interval or best
    regular = checkpoint_seconds / chosen
    with_notice = regular + (checkpoint_seconds + restart_seconds) / between
    without = regular + (chosen / 2 + restart_seconds) / between
    return Interruptions(between, best, chosen, with_notice, without)
