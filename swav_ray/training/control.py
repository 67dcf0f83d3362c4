"""What workers are asked to do between steps, and how all of them agree on it: one small collective a step.

Rank 0 knows what the run is asked for. The others learn it from the sum over workers that every step makes anyway.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from swav_ray.data.batch import Batch
from swav_ray.data.sample_plan import digest
from swav_ray.training.distributed import World

_POLL_SECONDS = 2.0  # between polls for a preempted node
_NOTICE_SECONDS = 120.0  # that a preempted node has if its cloud names no time
_MARGIN_SECONDS = 4.0  # before a node goes, beyond the time that a checkpoint takes


class Request(enum.IntFlag):
    """What all workers are to do after a step."""

    NONE = 0
    POLL = 1  # ask, in a collective, whether a node is preempted
    SAVE = 2  # write a checkpoint at once and continue
    STOP = 4  # write a checkpoint and end: a person asked for it
    RESIZE = 8  # the same, since the number of workers is about to change
    LEAVE = 16  # the same, since a node is preempted
    FAIL = 32  # the same, since the run has collapsed and is to stop then
    REMEDY = 64  # the same, since it has collapsed and is to resume from before with other settings

    @property
    def ends(self) -> bool:
        """Whether the workers end."""
        return bool(self & ~(Request.POLL | Request.SAVE))


@dataclass(frozen=True)
class Preemption:
    """Nodes that are about to be lost, by id, and the first time of their loss in Unix seconds, if it is known."""

    nodes: tuple[str, ...]
    deadline: float | None = None


class Requests:
    """What rank 0 asks of all workers after each step: what the run is asked for, and what a preempted node needs.

    A preempted node needs two checkpoints: one at once, and one shortly before it is lost. With that the workers leave.

    Args:
        requested: STOP, RESIZE or NONE, as a person or the number of workers wants it; must not wait.
        preemption: the nodes of these workers that are preempted, if any; a collective.
        report: is called for each newly preempted node, with all of them and the seconds until the first is lost.
        clock, now: monotonic and Unix seconds.
    """

    def __init__(
        self,
        requested: Callable[[], Request],
        preemption: Callable[[], Preemption | None],
        report: Callable[[tuple[str, ...], float], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._requested, self._preemption, self._report = requested, preemption, report
        self._clock, self._now = clock, now
        self._polled = clock()
        self._nodes: frozenset[str] = frozenset()
        self._save_now = False
        self._leave_at: float | None = None
        self.save_seconds = 0.0  # that a checkpoint takes

    def next(self) -> Request:
        """What to do now; called once a step."""
        request = self._requested()
        if self._clock() - self._polled > _POLL_SECONDS:
            self._polled = self._clock()
            request |= Request.POLL
        if self._save_now:
            self._save_now = False
            request |= Request.SAVE
        if self._leave_at is not None and self._now() > self._leave_at - _MARGIN_SECONDS - 2 * self.save_seconds:
            request |= Request.LEAVE
        return request

    def poll(self) -> None:
        """Carries out POLL; a collective."""
        found = self._preemption()
        if found is None or not set(found.nodes) - self._nodes:
            return
        self._nodes = frozenset(found.nodes)
        self._save_now = True
        deadline = found.deadline or self._now() + _NOTICE_SECONDS
        self._leave_at = min(deadline, self._leave_at or deadline)
        self._report(found.nodes, self._leave_at - self._now())


@dataclass(frozen=True, kw_only=True)
class Tally:
    """A step over all workers.

    Attributes:
        ids: digest of the step's sample ids.
        wait: mean seconds that workers waited for the batch.
        late: whether any worker has yet to wait for its next batch.
        request: what any worker asks of all.
        bad, bytes_read, retries, changed: of reading the batch.
    """

    ids: str
    wait: float
    late: bool
    request: Request
    bad: int
    bytes_read: int
    retries: int
    changed: int


def tally(world: World, device: torch.device, batch: Batch, wait: float, ready: bool, request: Request) -> Tally:
    """Sums a step over all workers; a collective.

    Args:
        batch: this worker's. wait: seconds that it waited for it.
        ready: whether its next batch is there.
        request: what this worker asks of all.
    """
    own = int(digest(batch.sample_ids), 16)
    signed = own - 2**64 if own >= 2**63 else own  # int64 sums wrap as the digest's do
    values = [signed, round(wait * 1e6), int(not ready), len(batch.bad), batch.bytes_read, batch.retries, batch.changed]
    total = totals(world, device, values, request)
    ids, waited, late, bad, bytes_read, retries, changed = total.sums
    return Tally(
        ids=f"{ids % 2**64:016x}",
        wait=waited / 1e6 / world.size,
        late=late > 0,
        request=total.request,
        bad=bad,
        bytes_read=bytes_read,
        retries=retries,
        changed=changed,
    )


def agree(world: World, device: torch.device, ready: bool, request: Request) -> tuple[bool, Request]:
    """Whether the next batch is there on every worker, and what any of them asks of all; a collective."""
    total = totals(world, device, [int(ready)], request)
    return total.sums[0] == world.size, total.request


@dataclass(frozen=True)
class Totals:
    """Sums of whole numbers over all workers, and what any of them asks of all."""

    sums: tuple[int, ...]
    request: Request


def totals(world: World, device: torch.device, values: Sequence[int], request: Request) -> Totals:
    """Sums whole numbers (int64, wrapping) over all workers and unites their requests; a collective."""
    own = [*values, *(int(flag in request) for flag in Request)]
    summed: list[int] = world.sum(torch.tensor(own, dtype=torch.int64, device=device)).tolist()
    flags = zip(Request, summed[len(values) :], strict=True)
    return Totals(tuple(summed[: len(values)]), Request(sum(flag for flag, count in flags if count)))
