"""What a run asks of S3: requests and their price, by the layout of its images, its order, and a cache on each node.

An image that is an object of its own costs a request. Images of shards share one if they are read together
(reading.py). A list that lies in storage costs requests too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from swav_ray.config import Config
from swav_ray.data.crop_blocks import samples_of_task
from swav_ray.data.indexing.partitions import CACHE_BYTES, FILE_ROWS, MOST_IN_MEMORY
from swav_ray.plan.estimate import Images
from swav_ray.plan.reading import Order, Reading, per_image

_FILE_BLOCK = 4096  # bytes to which a file system rounds a cached entry up
_ENTRY_HEAD = 16  # bytes before the data of an entry


@dataclass(frozen=True)
class Reads:
    """What an order asks of S3. `dollars`: of the requests; None without a price.

    Args:
        layout: "files", an object an image, or "shards", objects of many images.
        block, window: of `data.shuffle_block` and `data.shuffle_window`. task: samples that a task reads.
        per_image: requests for an image. list_per_image: requests for its row of a list in storage.
        an_epoch, run: requests without a cache. run_cached: with `scaling.cache_dir` on every node.
        terabytes, terabytes_cached: read from S3 in the run.
        cache_gigabytes: `scaling.cache_bytes` that holds all images, on each node.
    """

    layout: str
    block: int
    window: int
    task: int
    per_image: float
    list_per_image: float
    an_epoch: int
    run: int
    run_cached: int
    dollars: float | None
    dollars_cached: float | None
    terabytes: float
    terabytes_cached: float
    cache_gigabytes: float


def reads_of(
    layout: str,
    block: int,
    config: Config,
    images: Images,
    workers: int,
    nodes: int,
    rates: dict[str, Any],
    prices: dict[str, Any],
) -> Reads:
    """The requests of one layout and order on equally fast nodes, and their price."""
    epochs, count = config.train.epochs, images.count
    window = max(config.data.shuffle_window, block) if block else 0
    task = samples_of_task(config.train.global_batch_size, 3 * config.crops.pixels, workers, window)
    order = Order(block, window, task)

    def reading(missing: float) -> Reading:
        return Reading(missing, missing) if layout == "files" else per_image(count, images.bytes, order, missing)

    listed = _of_list(count, order, rates["list"])
    # A task runs on any node, so a node has not yet read an image of epoch e with a chance of (1 - 1/nodes)^(e - 1).
    cached = [reading((1 - 1 / nodes) ** epoch) for epoch in range(epochs)]
    whole = reading(1.0)
    an_epoch = count * (whole.requests + listed)
    run_cached = count * (sum(one.requests for one in cached) + listed * epochs)
    price = prices.get("get_per_1000")
    return Reads(
        layout=layout,
        block=block,
        window=order.window,
        task=task,
        per_image=whole.requests,
        list_per_image=listed,
        an_epoch=round(an_epoch),
        run=round(an_epoch * epochs),
        run_cached=round(run_cached),
        dollars=times(an_epoch * epochs / 1000, price),
        dollars_cached=times(run_cached / 1000, price),
        terabytes=count * epochs * images.bytes * whole.bytes / 1e12,
        terabytes_cached=count * images.bytes * sum(one.bytes for one in cached) / 1e12,
        cache_gigabytes=count * _on_disk(images.bytes) / 1e9,
    )


def _of_list(images: int, order: Order, kind: dict[str, Any]) -> float:
    """Requests for an image's row of a list in storage: each part of it that a task needs and its process has not."""
    if images <= MOST_IN_MEMORY:
        return 0.0
    parts = math.ceil(images / FILE_ROWS)
    held = CACHE_BYTES / (FILE_ROWS * kind["row_bytes"])
    if order.block:
        blocks = max(1, order.window // order.block)
        met = min(blocks, order.task) if order.task < order.window else order.task / order.block
        crossing = (order.block - 1) / FILE_ROWS  # a block that lies in two parts
        together = min(parts, met * (1 + crossing))
    else:
        together = parts * -math.expm1(-order.task / parts)  # of so many drawn at random, those that differ
    return together / order.task * max(0.0, 1 - held / parts)


def _on_disk(size: float) -> float:
    return -(-(size + _ENTRY_HEAD) // _FILE_BLOCK) * _FILE_BLOCK


def times(amount: float, price: float | None) -> float | None:
    """What an amount costs; None without a price."""
    return None if price is None else amount * price
