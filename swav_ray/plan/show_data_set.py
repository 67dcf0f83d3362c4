"""What `python -m swav_ray.plan data` prints: a column for each number of images, and what to change in words."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace

from rich import box
from rich.console import Console
from rich.table import Table

from swav_ray.config import Config, ConfigError
from swav_ray.data.indexing.partitions import MOST_IN_MEMORY
from swav_ray.plan.cost import machines, parse_nodes
from swav_ray.plan.data_set import DataSet, data_set
from swav_ray.plan.estimate import Images, read_data

_LARGE_CACHE = 8000.0  # GB: the NVMe of the largest usual machines


def number(text: str) -> int:
    """A number of images, for `type=`: 1281167, 1_000_000 or 1e9."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value >= 1 and value.is_integer()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number, such as 1281167 or 1e9")
    return int(value)


def run(options: argparse.Namespace, console: Console) -> int:
    """Prints the tables or one JSON line; raises ConfigError."""
    rates, prices = read_data("rates.yaml", options.rates), read_data("prices.yaml", options.prices)
    config: Config = options.config
    if "list" not in rates:
        raise ConfigError("--rates", options.rates, "has no section list; copy the package's rates.yaml")
    if options.image_kb == 0:
        raise ConfigError("--image-kb", options.image_kb, "must be above 0")
    nodes = parse_nodes([options.nodes], machines(prices))
    machine, count = nodes[0]
    images = Images(bytes=options.image_kb * 1000)
    for wanted in options.images:
        if wanted < config.train.global_batch_size:
            right = f"must be at least train.global_batch_size ({config.train.global_batch_size})"
            raise ConfigError("--images", wanted, right)
    found = [data_set(config, replace(images, count=one), machine, count, rates, prices) for one in options.images]
    if options.json:
        about = {"recipe": config.run.name, "nodes": options.nodes, "image_kb": options.image_kb}
        listed = [{**asdict(one), "advice": advice(config, one)} for one in found]
        console.print(json.dumps({**about, "data_sets": listed}), soft_wrap=True, markup=False)
        return 0
    title = (
        f"{config.run.name}, {config.train.epochs} epochs, images of {options.image_kb:g} KB, {count} x {machine.name}"
    )
    console.print(_requests(found, title))
    console.print(_rest(found))
    for one in found:
        for line in advice(config, one):
            console.print(f"{_count(one.images)} images: {line}", soft_wrap=True)
    for what in (f"measured: {rates['list']['source']}", f"assumed: {rates['list']['assumed']}"):
        console.print(what, style="dim", soft_wrap=True)
    console.print(f"assumed: prices are examples of {prices['date']}; the sizes of images are as given", style="dim")
    return 0


def _table(first: str, found: list[DataSet], title: str | None = None) -> Table:
    table = Table(box=box.SIMPLE, title=title, title_justify="left", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for one in found:
        table.add_column(_count(one.images), justify="right", no_wrap=True)
    return table


def _requests(found: list[DataSet], title: str) -> Table:
    table = _table("requests of the run, images:", found, title)
    for index, first in enumerate(found[0].reads):
        all_reads = [one.reads[index] for one in found]
        name = "image files" if first.layout == "files" else f"shards, data.shuffle_block {first.block}"
        table.add_row(name, *[_count(reads.run) for reads in all_reads])
        table.add_row("  price", *[_money(reads.dollars) for reads in all_reads])
        table.add_row("  an image and epoch", *[f"{reads.per_image:.3g}" for reads in all_reads])
        if any(reads.list_per_image for reads in all_reads):
            table.add_row("  for its row of the list", *[f"{reads.list_per_image:.2g}" for reads in all_reads])
        table.add_row("  with the node cache", *[_count(reads.run_cached) for reads in all_reads])
        table.add_row("  price", *[_money(reads.dollars_cached) for reads in all_reads])
    return table


def _rest(found: list[DataSet]) -> Table:
    table = _table("images:", found)

    def row(name: str, value: Callable[[DataSet], str]) -> None:
        table.add_row(name, *[value(one) for one in found])

    row("read from S3, the run", lambda one: _size(one.reads[0].terabytes))
    row("  with the node cache", lambda one: _size(one.reads[0].terabytes_cached))
    row("  price, if S3 is in another region", lambda one: _money(one.out_dollars))
    row("crops between nodes, the run", lambda one: _size(one.crop_terabytes))
    row("  price, if nodes are in two zones", lambda one: _money(one.zone_dollars))
    row("scaling.cache_bytes for all images", lambda one: _size(one.reads[0].cache_gigabytes / 1000))
    row("index, with a listing", lambda one: _time(one.index.seconds))
    row("  price of the listing", lambda one: _money(one.index.dollars))
    row("index, with an inventory", lambda one: _time(one.index.seconds_with_inventory))
    row("  memory of it", lambda one: _megabytes(one.index.megabytes))
    row("the list lies in", lambda one: "memory" if one.in_memory else "storage")
    row("  on disk", lambda one: _size(one.list_gigabytes / 1000))
    row("  memory of the driver", lambda one: _megabytes(one.memory.driver))
    row("  of a worker", lambda one: _megabytes(one.memory.worker))
    row("  of a crop task, full order", lambda one: _megabytes(one.memory.crop_task))
    row("  of a crop task, by blocks", lambda one: _megabytes(one.memory.crop_task_by_blocks))
    row("  of a node, at most", lambda one: _megabytes(one.memory.node))
    return table


def advice(config: Config, one: DataSet) -> list[str]:
    """What to change for this number of images, a line each; empty if nothing."""
    lines = []
    files, best = one.reads[0], one.reads[-1]
    if one.images > MOST_IN_MEMORY and not config.data.shuffle_block:
        each, better = files.per_image + files.list_per_image, best.per_image + best.list_per_image
        lines.append(
            f"in full order, or as image files, an image costs {each:.2g} requests an epoch, {_money(files.dollars)} "
            "for the run. Write shards in random order once (python -m swav_ray.data import PLACE SHARDS --shuffle, "
            f"{_money(one.import_dollars)} of requests), and train on them with --data.shuffle_block {best.block} "
            f"--data.shuffle_window {best.window}: {better:.2g} requests, {_money(best.dollars)}"
        )
    own = next((reads for reads in one.reads[1:] if reads.block == config.data.shuffle_block), best)
    if own.block and own.per_image > 2 / own.block:
        lines.append(
            f"a task reads {own.task} samples, which do not have whole windows of {own.window}, so an image costs "
            f"{own.per_image:.2g} requests; choose a smaller --data.shuffle_window"
        )
    return lines + _of_cache(config, files.cache_gigabytes) + _of_index(one)


def _of_cache(config: Config, wanted: float) -> list[str]:
    """Advice about a cache that would need so many GB on each node."""
    configured = config.scaling.cache_bytes / 1e9
    if wanted > _LARGE_CACHE:
        return [
            f"leave the node cache off: a node needs {_size(wanted / 1000)} of NVMe for it, and a cache with a part c "
            "of all images saves about half of c squared of the requests"
        ]
    if config.scaling.cache_dir and configured < wanted:
        return [
            f"scaling.cache_bytes ({configured:,.0f} GB) holds {configured / wanted:.0%} of the images and saves "
            f"little; give it {wanted:,.0f} GB"
        ]
    return []


def _of_index(one: DataSet) -> list[str]:
    if one.index.seconds <= 3600:
        return []
    return [
        "index once, from an S3 Inventory (python -m swav_ray.data index PLACE --inventory MANIFEST), which saves "
        f"{_count(one.index.listings)} listing requests; later starts take that list as it is"
    ]


def _megabytes(value: float) -> str:
    return f"{value:,.0f} MB"


def _count(value: int) -> str:
    for size, name in ((10**12, "tn"), (10**9, "bn"), (10**6, "M")):
        if value >= size:
            return f"{value / size:,.3g} {name}"
    return f"{value:,}"


def _money(dollars: float | None) -> str:
    if dollars is None:
        return "no price"
    return f"{dollars:,.0f} $" if dollars >= 10 else f"{dollars:,.2f} $"


def _size(terabytes: float) -> str:
    for size, name in ((1e3, "PB"), (1.0, "TB"), (1e-3, "GB")):
        if terabytes >= size:
            return f"{terabytes / size:,.3g} {name}"
    return f"{terabytes * 1e6:,.3g} MB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
