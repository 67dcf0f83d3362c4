"""`python -m swav_ray.plan {cost,check}`: what a run would take and cost, before any machine is paid for.

cost: images/s, bottleneck, mix of CPUs and GPUs, hours, dollars and the cost of interruptions of a recipe on machines.
check: the simulation behind it beside the published 64-GPU run.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from swav_ray import command_line
from swav_ray.command_line import Parser, at_least_one, not_negative
from swav_ray.config import Config, ConfigError
from swav_ray.plan import simulate
from swav_ray.plan.estimate import (
    Capacity,
    Images,
    Interruptions,
    Machine,
    capacity,
    crop_rate,
    interruptions,
    read_data,
    work_of,
)
from swav_ray.report.complaint import complain


@dataclass(frozen=True)
class Plan:
    """Everything that is printed. `hours` and `dollars` include the expected interruptions where `spot` is set."""

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


def machines(prices: dict[str, Any]) -> dict[str, Machine]:
    """The kinds of machines of a price list; raises ConfigError where an entry is incomplete."""
    found = {}
    for name, fields in prices["machines"].items():
        try:
            found[name] = Machine(name=name, **fields)
        except TypeError:
            right = "needs gpu, gpus, vcpus, network, on_demand and spot"
            raise ConfigError(f"--prices: machines.{name}", fields, right) from None
    return found


def parse_nodes(words: Sequence[str], known: dict[str, Machine]) -> list[tuple[Machine, int]]:
    """`TYPE:COUNT ...`; raises ConfigError."""
    nodes = []
    for word in words:
        name, _, count = word.partition(":")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}, or add it to --prices"
            raise ConfigError("--nodes", word, f"no such machine; {hint}")
        if not count.isdigit() or int(count) < 1:
            raise ConfigError("--nodes", word, "must be TYPE:COUNT, as g6.2xlarge:8")
        nodes.append((known[name], int(count)))
    return nodes


def make_plan(config: Config, words: Sequence[str], options: argparse.Namespace) -> Plan:
    """The plan of a config on machines; raises ConfigError."""
    rates, prices = read_data("rates.yaml", options.rates), read_data("prices.yaml", options.prices)
    known = machines(prices)
    nodes = parse_nodes(words, known)
    images = Images(options.images, options.image_kb * 1000, options.image_pixels)
    if options.images < config.train.global_batch_size:
        right = f"must be at least train.global_batch_size ({config.train.global_batch_size})"
        raise ConfigError("--images", options.images, right)
    able = capacity(config, nodes, images, rates)
    steps = options.images // config.train.global_batch_size
    epoch = steps * config.train.global_batch_size / able.images_per_second
    seconds = epoch * config.train.epochs
    lost = None
    if options.spot:
        # A whole cluster stops when any machine that trains goes; those that only make crops are made up for.
        taken = sum(count for machine, count in nodes if machine.gpus)
        lost = interruptions(
            taken,
            options.taken_per_hour,
            options.checkpoint_seconds,
            options.restart_seconds,
            config.checkpoint.every_epochs * epoch,
        )
        seconds *= 1 + lost.share_with_notice
    hourly = sum((machine.spot if options.spot else machine.on_demand) * count for machine, count in nodes)
    hourly += _machine(prices["head"], known).on_demand
    gpus = sum(machine.gpus * count for machine, count in nodes)
    work = work_of(config, images, rates)
    maker = _machine(prices["crops"], known)
    beside = sum(crop_rate(machine, config, work, rates) * count for machine, count in nodes if machine.gpus)
    missing = max(0.0, able.gpu - beside) / crop_rate(maker, config, work, rates)
    return Plan(
        recipe=config.run.name,
        nodes=" + ".join(f"{count} x {machine.name}" for machine, count in nodes),
        capacity=able,
        bottleneck=able.bottleneck,
        images_per_second=able.images_per_second,
        epoch_minutes=epoch / 60,
        hours=seconds / 3600,
        dollars_per_hour=hourly,
        dollars=hourly * seconds / 3600,
        vcpus_per_gpu=able.gpu / gpus * work.cpu_seconds / float(rates["cpu"]["vcpu_of_a_core"]),
        crop_machines_wanted=math.ceil(missing),
        interruptions=lost,
    )


def _machine(name: str, known: dict[str, Machine]) -> Machine:
    if name not in known:
        raise ConfigError("--prices", name, "is named as head or crops but is not among its machines")
    return known[name]


def show_plan(plan: Plan, options: argparse.Namespace, console: Console) -> None:
    """Prints the table."""
    prices = read_data("prices.yaml", options.prices)
    able = plan.capacity
    table = Table(show_header=False, title=f"{plan.recipe} on {plan.nodes}", title_justify="left")
    for name, value in (("GPU", able.gpu), ("CPU crops", able.crops), ("network", able.network)):
        table.add_row(f"images/s, {name}", f"{value:,.0f}" if math.isfinite(value) else "no bound")
    table.add_row("images/s, storage", f"{able.storage:,.0f}" if math.isfinite(able.storage) else "no bound")
    table.add_row("bottleneck", f"{plan.bottleneck}: {plan.images_per_second:,.0f} images/s")
    table.add_row("a step", f"{able.step_seconds:.2f} s, {able.communication_seconds:.2f} s of it between the GPUs")
    table.add_row("vCPUs of crops for each GPU", f"{plan.vcpus_per_gpu:.1f}")
    table.add_row(f"{prices['crops']} beside the GPU machines", f"{plan.crop_machines_wanted} would keep the GPUs busy")
    table.add_row("an epoch", f"{plan.epoch_minutes:.1f} min")
    table.add_row("the run", f"{plan.hours:,.1f} h")
    kind = "spot" if options.spot else "on demand"
    table.add_row(f"price, {kind}, with the head", f"{plan.dollars_per_hour:,.2f} $/h (example of {prices['date']})")
    table.add_row("cost of the run", f"{plan.dollars:,.0f} $")
    if lost := plan.interruptions:
        table.add_row("interruptions", f"one in {lost.between / 3600:.1f} h at {options.taken_per_hour:g} an hour each")
        epochs = lost.best_interval / 60 / plan.epoch_minutes
        best = f"{lost.best_interval / 60:.1f} min: checkpoint.every_epochs {epochs:.2g} (Young, Daly)"
        table.add_row("checkpoint, best every", best)
        table.add_row("checkpoint, as configured", f"{lost.interval / 60:.1f} min")
        table.add_row("time lost, with the notice", f"{lost.share_with_notice:.1%}")
        table.add_row("time lost, without it", f"{lost.share_without_notice:.1%}")
    console.print(table)
    for note in able.unmeasured:
        console.print(f"not measured: {note}", style="dim", soft_wrap=True)


def check(options: argparse.Namespace, console: Console) -> int:
    """Prints the simulated and the published epoch; 1 where they differ by more than a quarter."""
    rates = read_data("rates.yaml", options.rates)
    hardware = simulate.published(rates)
    seconds = simulate.epoch_seconds(hardware, simulate.PUBLISHED_IMAGES, simulate.PUBLISHED_BATCH)
    ratio = seconds / simulate.PUBLISHED_EPOCH_SECONDS
    if options.json:
        console.print_json(data={"simulated_seconds": seconds, "published_seconds": 220, "ratio": ratio})
    else:
        table = Table("64 V100, batch 4096, 2x224 + 6x96", "an epoch", title_justify="left")
        table.add_row("published", "3 min 40 s")
        table.add_row("simulated", f"{int(seconds // 60)} min {seconds % 60:.0f} s ({ratio - 1:+.0%})")
        console.print(table)
        console.print("The GPU's rate comes from the published 4-GPU run, not from this one.", soft_wrap=True)
    return 0 if abs(ratio - 1) <= 0.25 else 1


def _parser() -> Parser:
    parser = Parser(prog="python -m swav_ray.plan", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    plan = commands.add_parser("cost", help="what a recipe takes and costs")
    plan.add_config(default="swav_200ep")
    plan.add_argument("--nodes", nargs="+", required=True, metavar="TYPE:COUNT", help="machines, as g6.2xlarge:8")
    plan.add_argument("--spot", action="store_true", help="spot prices, and what interruptions cost")
    plan.add_argument("--images", type=at_least_one, default=1_281_167, help="data set (default %(default)s, ImageNet)")
    plan.add_argument("--image-kb", type=not_negative, default=110, help="size of an image file (default %(default)s)")
    plan.add_argument("--image-pixels", type=not_negative, default=187_500, help="its pixels (default %(default)s)")
    plan.add_argument("--taken-per-hour", type=not_negative, default=0.01, help="chance that a spot machine is taken")
    plan.add_argument(
        "--checkpoint-seconds", type=not_negative, default=5, help="that training waits (default %(default)s)"
    )
    plan.add_argument("--restart-seconds", type=not_negative, default=60, help="to the next step (default %(default)s)")
    plan.add_argument("--prices", default="", metavar="FILE", help="your own prices.yaml")
    checked = commands.add_parser("check", help="the simulation beside the published 64-GPU figure")
    for command in (plan, checked):
        command.add_argument("--rates", default="", metavar="FILE", help="your own rates.yaml")
        command.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """The command; 0 done, 1 the check failed, 2 the user's mistake."""
    console = Console(highlight=False)
    try:
        options = command_line.read(_parser(), sys.argv[1:] if words is None else words)
        if options.command == "check":
            return check(options, console)
        plan = make_plan(options.config, options.nodes, options)
    except (ValueError, OSError) as error:
        return complain(error)
    if options.json:
        console.print(json.dumps(asdict(plan)), soft_wrap=True, markup=False)
    else:
        show_plan(plan, options, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
