"""What a data set of so many images asks of storage, disks and memory: requests, bytes, a cache, an index, the list.

The order of a run and the layout of its images decide the requests (requests.py), the length of the list where it lies.
Knows no Ray and reads no data set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from swav_ray.config import Config
from swav_ray.data.indexing.partitions import MOST_IN_MEMORY
from swav_ray.plan.estimate import Images, Machine
from swav_ray.plan.requests import Reads, reads_of, times

BLOCKS = (0, 16, 64)  # of `data.shuffle_block`, beside the config's own
KEYS_PER_REQUEST = 1000  # of a listing


@dataclass(frozen=True)
class Memory:
    """MB beyond the libraries that the list of images takes. `node`: its training workers and crop tasks, at most."""

    driver: float
    worker: float
    crop_task: float
    crop_task_by_blocks: float
    node: float


@dataclass(frozen=True)
class Index:
    """Making the list: seconds with a listing and with an inventory, which saves the `listings` and their `dollars`."""

    seconds: float
    seconds_with_inventory: float
    listings: int
    dollars: float | None
    megabytes: float


@dataclass(frozen=True)
class DataSet:
    """The whole answer for one number of images.

    Args:
        in_memory: whether each process holds the whole list.
        reads: by layout and block.
        index: of a folder of image files.
        memory: of a process and a node.
        list_gigabytes, list_seconds: of the list in storage, and to write it.
        crop_terabytes: crops that are made on another node than they train on, in the run.
        out_dollars: of what is read without a cache, if S3 is in another region.
        zone_dollars: of the crops, if the nodes lie in two zones.
        import_dollars: of reading all images once, to write shards.
    """

    images: int
    in_memory: bool
    reads: tuple[Reads, ...]
    index: Index
    memory: Memory
    list_gigabytes: float
    list_seconds: float
    crop_terabytes: float
    out_dollars: float | None
    zone_dollars: float | None
    import_dollars: float | None


def data_set(
    config: Config, images: Images, node: Machine, nodes: int, rates: dict[str, Any], prices: dict[str, Any]
) -> DataSet:
    """What these images ask of a run of this config on equal nodes."""
    kind, count, epochs = rates["list"], images.count, config.train.epochs
    in_memory = count <= MOST_IN_MEMORY
    kinds = [("files", 0), *[("shards", block) for block in sorted({*BLOCKS, config.data.shuffle_block})]]
    workers = max(1, node.gpus * nodes)
    reads = [reads_of(*which, config, images, workers, nodes, rates, prices) for which in kinds]
    crops = count * epochs * 3.0 * config.crops.pixels * (1 - 1 / nodes) / 1e12
    return DataSet(
        images=count,
        in_memory=in_memory,
        reads=tuple(reads),
        index=_index(count, kind, prices),
        memory=_memory(config, count, node, kind),
        list_gigabytes=count * kind["disk_bytes"] / 1e9,
        list_seconds=count / 1e6 * kind["write_seconds_per_million"],
        crop_terabytes=crops,
        out_dollars=times(reads[0].terabytes * 1000, prices.get("out_per_gb")),
        zone_dollars=times(crops * 1000, prices.get("between_zones_per_gb")),
        import_dollars=times(count / 1000, prices.get("get_per_1000")),
    )


def _memory(config: Config, images: int, node: Machine, kind: dict[str, Any]) -> Memory:
    whole = images <= MOST_IN_MEMORY
    worker = images * kind["worker_bytes"] / 1e6 if whole else kind["worker_mb"]
    crop_task = images * kind["crop_task_bytes"] / 1e6 if whole else kind["crop_task_mb"]
    by_blocks = crop_task if whole else kind["crop_task_by_blocks_mb"]
    tasks = max(0.0, node.vcpus - node.gpus * config.scaling.cpus_per_worker - 1)
    a_node = node.gpus * worker + tasks * (by_blocks if config.data.shuffle_block else crop_task)
    return Memory(worker, worker, crop_task, by_blocks, a_node)


def _index(images: int, kind: dict[str, Any], prices: dict[str, Any]) -> Index:
    made = images / 1e6 * kind["index_seconds_per_million"]
    listings = math.ceil(images / KEYS_PER_REQUEST)
    return Index(
        seconds=made + images / kind["keys_per_second"],
        seconds_with_inventory=made,
        listings=listings,
        dollars=times(listings / 1000, prices.get("list_per_1000")),
        megabytes=kind["index_mb"],
    )
