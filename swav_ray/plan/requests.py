"""What a run asks of S3: requests and their price, with and without a cache on each node's disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_FILE_BLOCK = 4096  # bytes to which a file system rounds an entry up


@dataclass(frozen=True)
class Requests:
    """Requests to S3, one an image, as the full random order has them.

    Args:
        an_epoch: without a cache.
        run: of all epochs without a cache. run_cached: with `scaling.cache_dir` on every node.
        dollars, dollars_cached: their price; None if the price list has no `get_per_1000`.
        cache_gigabytes: `scaling.cache_bytes` that holds the whole set, on each node.
    """

    an_epoch: int
    run: int
    run_cached: int
    dollars: float | None
    dollars_cached: float | None
    cache_gigabytes: float


def requests(images: int, image_bytes: float, epochs: int, nodes: int, prices: dict[str, Any]) -> Requests:
    """Of a run on equally fast nodes.

    A task runs on any of them. So a node has not yet read an image of epoch e with a chance of (1 - 1/nodes)^(e - 1).
    """
    run, cached = images * epochs, round(images * nodes * (1 - (1 - 1 / nodes) ** epochs))
    price = prices.get("get_per_1000")
    entry = -(-image_bytes // _FILE_BLOCK) * _FILE_BLOCK
    return Requests(
        an_epoch=images,
        run=run,
        run_cached=cached,
        dollars=None if price is None else run / 1000 * price,
        dollars_cached=None if price is None else cached / 1000 * price,
        cache_gigabytes=images * entry / 1e9,
    )
