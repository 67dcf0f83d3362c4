"""Parts of a table by Ray Data: a task several parts on every CPU, or crops on CPUs and the network on every GPU.

A task writes its parts itself, so nothing large comes back to the driver, and what is written stays written when nodes
or the whole job go. Ray runs the task of a lost node again on another one, which makes those that are missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import ray.data
import torch

from swav_ray.features.making import Work, grouped, make_parts, read_missing
from swav_ray.one_line import one_line

_TASK_SECONDS = 5.0  # of a task: Ray's own share of it is small, and little is left when a node goes
_MOST_TASKS = 2000
_THREADS = 2  # that decode in a task without the network, so that reading and decoding overlap


def make(work: Work, parts: Sequence[int], progress: Callable[[int], None]) -> None:
    """Makes these parts.

    Args:
        progress: is told how many images are done.

    Raises:
        OSError: storage is unavailable, or a part cannot be written. work.mistake: as the work raises it. What is
            written stays.
    """
    if not parts:
        return
    shared = {"work": ray.put(work)}
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own progress says what matters
    ray.data.DataContext.get_current().enable_progress_bars = False
    done = 0
    for row in _on_gpus(parts, shared) if ray.cluster_resources().get("GPU", 0) else _on_cpus(parts, shared):
        if row["mistake"]:
            raise work.mistake(row["mistake"])
        if row["failure"]:
            raise OSError(row["failure"])
        done += row["images"]
        progress(done)


def _on_gpus(parts: Sequence[int], shared: dict[str, Any]) -> Iterator[dict[str, Any]]:
    gpus = int(ray.cluster_resources()["GPU"])
    rows = _rows([[part] for part in parts]).map(_read, fn_kwargs=shared, num_cpus=1)
    yield from _told(rows.map(_OnGpu, fn_constructor_kwargs=shared, num_gpus=1, concurrency=(1, gpus)))


def _on_cpus(parts: Sequence[int], shared: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The first part of each CPU tells how many a task should have."""
    cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
    slowest = 0.0
    for row in _told(_rows([[part] for part in parts[:cpus]]).flat_map(_make, fn_kwargs=shared, num_cpus=1)):
        slowest = max(slowest, row["seconds"])
        yield row
    groups = grouped(parts[cpus:], max(1, int(_TASK_SECONDS / max(slowest, 1e-3))), cpus)
    if groups:
        yield from _told(_rows(groups).flat_map(_make, fn_kwargs=shared, num_cpus=1))


def _rows(groups: Sequence[Sequence[int]]) -> Any:
    """A block, and so a task, for each group."""
    rows = [{"parts": list(group)} for group in groups]
    return ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_TASKS))


def _told(rows: Any) -> Iterator[dict[str, Any]]:
    """The rows of each task as soon as it ends; `iter_rows` would wait for the next task, too."""
    for batch in rows.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
        yield from batch.to_pylist()


def _make(row: dict[str, Any], *, work: Any) -> Iterator[dict[str, Any]]:
    """A row for each part. A failure is a row like any other: an exception would reach the driver as a traceback."""
    torch.set_num_threads(1)  # the CPU that the task has; and the same sums on any machine of a kind
    own: Work = ray.get(work)
    began = time.monotonic()
    try:
        for images in make_parts(own, [int(part) for part in row["parts"]], torch.device("cpu")):
            yield {"images": images, "seconds": time.monotonic() - began, "failure": "", "mistake": ""}
            began = time.monotonic()
    except (OSError, own.mistake) as error:
        yield {"images": 0, "seconds": 0.0, **_failed(own, error)}


def _failed(work: Work, error: Exception) -> dict[str, str]:
    if isinstance(error, work.mistake):
        return {"failure": "", "mistake": str(error)}
    return {"failure": one_line(error), "mistake": ""}


def _read(row: dict[str, Any], *, work: Any) -> dict[str, Any]:
    own: Work = ray.get(work)
    (part,) = (int(part) for part in row["parts"])
    try:
        return {"part": part, "read": read_missing(own, part, _THREADS), "failure": "", "mistake": ""}
    except (OSError, own.mistake) as error:
        return {"part": part, "read": None, **_failed(own, error)}


class _OnGpu:
    """The network on a GPU, for one part after another."""

    def __init__(self, *, work: Any) -> None:
        self._work: Work = ray.get(work)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        told = {"images": 0, "failure": row["failure"], "mistake": row["mistake"]}
        if row["failure"] or row["mistake"]:
            return told
        try:
            if row["read"] is not None:
                self._work.write(row["read"], torch.device("cuda"))
            return told | {"images": self._work.images(int(row["part"]))}
        except (OSError, self._work.mistake) as error:
            return told | _failed(self._work, error)
