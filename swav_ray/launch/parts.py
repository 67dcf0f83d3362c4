"""Parts of a table by Ray Data: a task a few parts on every CPU, or crops on CPUs and the network on every GPU.

A task writes its parts itself, so nothing large comes back to the driver, and what is written stays written when nodes
or the whole job go. Ray runs the task of a lost node again on another one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import ray
import ray.data
import torch

from swav_ray.one_line import one_line

_THREADS = 2  # that decode in a task, so that reading and decoding overlap
_MOST_TASKS = 2000


class Work(Protocol):
    """What is done to a part. Sent to every task, so what is large in it should be read there.

    OSError is storage's.
    """

    @property
    def mistake(self) -> type[ValueError]:
        """What is raised for what the user can put right."""

    def read(self, part: int, threads: int) -> Any:
        """What the network needs, read on a CPU."""

    def write(self, read: Any, device: torch.device) -> int:
        """Runs the network and writes the part; returns its number of images."""


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
    items: Any = ray.data.from_items(
        [{"part": part} for part in parts], override_num_blocks=min(len(parts), _MOST_TASKS)
    )
    if gpus := int(ray.cluster_resources().get("GPU", 0)):
        rows = items.map(_read, fn_kwargs=shared, num_cpus=1).map(
            _OnGpu, fn_constructor_kwargs=shared, num_gpus=1, concurrency=(1, gpus)
        )
    else:
        rows = items.map(_read_and_write, fn_kwargs=shared, num_cpus=1)
    done = 0
    for row in rows.iter_rows():
        if row["mistake"]:
            raise work.mistake(row["mistake"])
        if row["failure"]:
            raise OSError(row["failure"])
        done += row["images"]
        progress(done)


def _attempt(work: Work, step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A failure is a row like any other: an exception would reach the driver as a traceback."""
    try:
        return {"failure": "", "mistake": "", **step()}
    except work.mistake as error:
        return {"failure": "", "mistake": str(error)}
    except OSError as error:
        return {"failure": one_line(error), "mistake": ""}


def _read(row: dict[str, Any], *, work: Any) -> dict[str, Any]:
    own: Work = ray.get(work)
    return {"read": None, **_attempt(own, lambda: {"read": own.read(int(row["part"]), _THREADS)})}


def _read_and_write(row: dict[str, Any], *, work: Any) -> dict[str, Any]:
    torch.set_num_threads(1)  # the CPU that the task has; and the same sums on any machine of a kind
    own: Work = ray.get(work)

    def step() -> dict[str, Any]:
        return {"images": own.write(own.read(int(row["part"]), _THREADS), torch.device("cpu"))}

    return {"images": 0, **_attempt(own, step)}


class _OnGpu:
    """The network on a GPU, for one part after another."""

    def __init__(self, *, work: Any) -> None:
        self._work: Work = ray.get(work)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["failure"] or row["mistake"]:
            return {"images": 0, "failure": row["failure"], "mistake": row["mistake"]}
        device = torch.device("cuda")
        return {"images": 0, **_attempt(self._work, lambda: {"images": self._work.write(row["read"], device)})}
