"""`python -m swav_ray.plan {cost,data,scaling,check}`: what a run would take and cost, before any machine is paid for.

data: requests, bytes, cache, index and memory of a data set of a million, a hundred million or a billion images.
scaling: a step at 8, 64 and 512 GPUs, and its collectives beside the published loop's.
cost: images/s, bottleneck, mix of CPUs and GPUs, hours, dollars and the cost of interruptions of a recipe on machines.
check: the simulation behind it beside the published 64-GPU run.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from swav_ray import command_line
from swav_ray.command_line import Parser, at_least_one, not_negative
from swav_ray.plan import show_data_set, show_scaling, simulate
from swav_ray.plan.cost import Cost, Spot, cost, machines, parse_nodes
from swav_ray.plan.estimate import Images, read_data
from swav_ray.plan.requests import Reads
from swav_ray.report.complaint import complain


def cost_of(options: argparse.Namespace) -> Cost:
    """The cost that the options ask for; raises ConfigError."""
    rates, prices = read_data("rates.yaml", options.rates), read_data("prices.yaml", options.prices)
    spot = Spot(options.preempted_per_hour, options.checkpoint_seconds, options.restart_seconds)
    return cost(
        options.config,
        parse_nodes(options.nodes, machines(prices)),
        Images(options.images, options.image_kb * 1000, options.image_pixels),
        spot if options.spot else None,
        rates,
        prices,
    )


def show(found: Cost, options: argparse.Namespace, console: Console) -> None:
    """Prints the table."""
    prices = read_data("prices.yaml", options.prices)
    able = found.capacity
    table = Table(show_header=False, title=f"{found.recipe} on {found.nodes}", title_justify="left")
    for name, value in (("GPU", able.gpu), ("CPU crops", able.crops), ("network", able.network)):
        table.add_row(f"images/s, {name}", f"{value:,.0f}" if math.isfinite(value) else "no bound")
    table.add_row("images/s, storage", f"{able.storage:,.0f}" if math.isfinite(able.storage) else "no bound")
    table.add_row("bottleneck", f"{found.bottleneck}: {found.images_per_second:,.0f} images/s")
    table.add_row("a step", f"{able.step_seconds:.2f} s, {able.communication_seconds:.2f} s of it between the GPUs")
    table.add_row("vCPUs of crops for each GPU", f"{found.vcpus_per_gpu:.1f}")
    table.add_row(
        f"{prices['crops']} beside the GPU machines", f"{found.crop_machines_wanted} would keep the GPUs busy"
    )
    table.add_row("an epoch", f"{found.epoch_minutes:.1f} min")
    table.add_row("the run", f"{found.hours:,.1f} h")
    kind = "spot" if options.spot else "on demand"
    table.add_row(f"price, {kind}, with the head", f"{found.dollars_per_hour:,.2f} $/h (example of {prices['date']})")
    table.add_row("cost of the run", f"{found.dollars:,.0f} $")
    _show_requests(found.requests, table)
    if lost := found.interruptions:
        table.add_row(
            "interruptions", f"one in {lost.between / 3600:.1f} h at {options.preempted_per_hour:g} an hour each"
        )
        epochs = lost.best_interval / 60 / found.epoch_minutes
        best = f"{lost.best_interval / 60:.1f} min: checkpoint.every_epochs {epochs:.2g} (Young, Daly)"
        table.add_row("checkpoint, best every", best)
        table.add_row("checkpoint, as configured", f"{lost.interval / 60:.1f} min")
        table.add_row("time lost, with the notice", f"{lost.share_with_notice:.1%}")
        table.add_row("time lost, without it", f"{lost.share_without_notice:.1%}")
    console.print(table)
    for note in able.unmeasured:
        console.print(f"not measured: {note}", style="dim", soft_wrap=True)


def _show_requests(found: Reads, table: Table) -> None:
    def row(name: str, count: int, dollars: float | None) -> None:
        table.add_row(name, f"{count:,}" + ("" if dollars is None else f", {dollars:,.2f} $"))

    table.add_row("requests to S3, an epoch", f"{found.an_epoch:,}")
    row("requests to S3, the run", found.run, found.dollars)
    row("the same with scaling.cache_dir", found.run_cached, found.dollars_cached)
    table.add_row("scaling.cache_bytes for all images", f"{found.cache_gigabytes:,.0f} GB on each node")


def check(options: argparse.Namespace, console: Console) -> int:
    """Prints the simulated and the published epoch; 1 when they differ by more than a quarter."""
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
    plan.add_argument(
        "--preempted-per-hour", type=not_negative, default=0.01, help="chance of a spot machine (default %(default)s)"
    )
    plan.add_argument(
        "--checkpoint-seconds", type=not_negative, default=5, help="that training waits (default %(default)s)"
    )
    plan.add_argument("--restart-seconds", type=not_negative, default=60, help="to the next step (default %(default)s)")
    plan.add_argument("--prices", default="", metavar="FILE", help="your own prices.yaml")
    size = commands.add_parser("data", help="what a data set of many images asks of storage, disks and memory")
    size.add_config(default="swav_200ep")
    counts = [1_281_167, 10**6, 10**8, 10**9]
    help_images = "data sets, such as 1e9 (default ImageNet and 1e6 1e8 1e9)"
    size.add_argument("--images", nargs="+", type=show_data_set.number, default=counts, metavar="N", help=help_images)
    size.add_argument("--image-kb", type=not_negative, default=110, help="size of an image file (default %(default)s)")
    size.add_argument("--nodes", default="p3.16xlarge:8", metavar="TYPE:COUNT", help="machines (default %(default)s)")
    size.add_argument("--prices", default="", metavar="FILE", help="your own prices.yaml")
    scale = commands.add_parser("scaling", help="a step at many GPUs, and its collectives")
    scale.add_config(default="swav_200ep")
    scale.add_argument("--gpu", default="H100", help="a GPU of rates.yaml (default %(default)s)")
    scale.add_argument("--gpus", nargs="+", type=at_least_one, default=[8, 64, 512], help="counts (default 8 64 512)")
    scale.add_argument(
        "--network", type=at_least_one, default=400, help="between machines of 8 GPUs, Gbit/s (default %(default)s)"
    )
    checked = commands.add_parser("check", help="the simulation beside the published 64-GPU figure")
    for command in (plan, size, scale, checked):
        command.add_argument("--rates", default="", metavar="FILE", help="your own rates.yaml")
        command.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 done, 1 the check failed, 2 the user's mistake."""
    console = Console(highlight=False)
    try:
        options = command_line.read(_parser(), sys.argv[1:] if arguments is None else arguments)
        if options.command == "check":
            return check(options, console)
        if options.command == "data":
            return show_data_set.run(options, console)
        if options.command == "scaling":
            return show_scaling.run(options, console)
        found = cost_of(options)
    except (ValueError, OSError) as error:
        return complain(error)
    if options.json:
        console.print(json.dumps(asdict(found)), soft_wrap=True, markup=False)
    else:
        show(found, options, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
