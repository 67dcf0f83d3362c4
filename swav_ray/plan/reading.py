"""How many requests an image costs, from what decides it: who is read together with whom, and what lies between them.

Follows storage/ranges.py: samples of a read that lie close together in one file share a request. docs/scale.md has the
requests that were counted; tests/plan/test_reading.py compares them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from swav_ray.data.crop_blocks import READ_TOGETHER
from swav_ray.storage.ranges import LARGEST_GAP, LARGEST_READ

_MOST_TASKS = 1024  # that are looked at, if windows and tasks fit each other that late


@dataclass(frozen=True)
class Reading:
    """Of one image: requests, and bytes read as a multiple of its own."""

    requests: float
    bytes: float


@dataclass(frozen=True)
class Order:
    """What of the order of an epoch decides which samples are read together.

    Args:
        block: neighbouring samples that come together; 0: the full random order.
        window: samples within which blocks are shuffled.
        task: samples that a task reads.
    """

    block: int
    window: int
    task: int


def per_image(images: int, image_bytes: float, order: Order, missing: float = 1.0) -> Reading:
    """What an image of shards costs. An image that is a file of its own costs one request, whatever the order.

    Args:
        images: of the data set. image_bytes: of one of them.
        missing: fraction of the images that are not in the node's cache.
    """
    if not order.block:
        together = min(order.task, READ_TOGETHER, images)
        found = _of_segment(images, 1, images, together / images * missing, image_bytes)
        return Reading(found.requests * missing, found.bytes * missing)
    blocks = max(1, order.window // order.block)
    window = blocks * order.block
    segments = _segments(window, order.task)
    requests = read = 0.0
    for samples in segments:
        # The samples of a block that is read as a whole were cached together, or none of them was.
        wanted = 1.0 if samples == window else samples / window * missing
        found = _of_segment(images, blocks, order.block, wanted, image_bytes)
        requests, read = requests + samples * found.requests, read + samples * found.bytes
    return Reading(requests / sum(segments) * missing, read / sum(segments) * missing)


def _segments(window: int, task: int) -> list[int]:
    """Samples of one window that are read together, of task after task until windows and tasks begin together again."""
    found, place = [], 0
    for _ in range(min(_MOST_TASKS, window // math.gcd(window, task))):
        left = task
        while left:
            read = min(left, READ_TOGETHER)
            left -= read
            while read:
                here = min(read, window - place % window)
                found.append(here)
                place, read = place + here, read - here
    return found


def _of_segment(images: int, blocks: int, block: int, wanted: float, image_bytes: float) -> Reading:
    """Of a read that wants each sample of some blocks with this chance: an image's expected part of it.

    A sample begins a request if none of those is wanted that may lie before it in the same request. Blocks that lie
    side by side may share one too.
    """
    size, absent = max(image_bytes, 1.0), 1.0 - wanted
    reach = min(int(LARGEST_GAP // size) + 1, block)
    neighbour = min(1.0, (blocks - 1) / max(1, -(-images // block) - 1))  # the block before is of this read too
    begins = gaps = gap = 0.0
    for before in range(reach):  # a sample with so many before it in its block
        begins += absent**before * (1.0 - neighbour + neighbour * absent ** (reach - before))
        gaps += gap
        gap += before * wanted * absent**before  # the last one wanted lies one further: so many are read in vain
    begins += (block - reach) * absent**reach
    gaps += (block - reach) * gap
    read = 1.0 + gaps / block
    # A run that is longer than a request may be is cut.
    return Reading(max(begins / block, min(1.0, read * size / LARGEST_READ)), read)
