"""What a worker that trains needs of whoever started it, and how it tells them why it ends.

Knows no Ray: launch/worker.py implements `Coordinator` over Ray, and tests do in one process. Pretraining and the
evaluations that train have the same one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import torch

from swav_ray.data.bad_images import TooManyBadImages
from swav_ray.data.batch import Batch, BatchFailed
from swav_ray.one_line import one_line
from swav_ray.run import messages
from swav_ray.run.checkpoint_files import BadCheckpoint
from swav_ray.run.messages import Message
from swav_ray.training.control import Preemption, Request
from swav_ray.training.distributed import World

if TYPE_CHECKING:
    from swav_ray.data.batches import BatchMaker  # it loads the image decoders, which a worker does without

_RESIZE_PATIENCE = 600.0  # seconds until workers that were to be replaced give up waiting for it
# Every further try would end so.
_HOPELESS: tuple[type[Exception], ...] = (FloatingPointError, TooManyBadImages, BatchFailed, BadCheckpoint)


class NodeLeaves(RuntimeError):
    """The workers leave a preempted node, with a checkpoint; they are to be started elsewhere."""


class Restart(RuntimeError):
    """The workers end to be started again, with what they have written to the run directory."""


class Feed(Protocol):
    """This worker's batches, in order."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...

    def ready(self, seconds: float) -> bool:
        """Whether the next batch comes within so many seconds."""

    def usage(self) -> Mapping[str, float]:
        """Figures of the cluster, by name."""

    def close(self) -> None:
        """Stops making batches; may take seconds."""


class Coordinator(Protocol):
    """What a worker needs of whoever started it. Every worker has one; calls are collective only if that is said."""

    @property
    def device(self) -> torch.device:
        """Where this worker trains."""

    def given_up(self) -> str:
        """Why the run cannot continue, or ''."""

    def begin(self, step: int) -> str:
        """Rank 0 is about to train from `step`; a reason to give up instead, or ''."""

    def request(self) -> Request:
        """STOP, RESIZE or NONE, as the run is asked for; asked by rank 0 each step, so it must not wait."""

    def preemption(self) -> Preemption | None:
        """The nodes of these workers that are preempted, if any; a collective."""

    def report(self, message: Message) -> None:
        """Sends a message to the terminal, without waiting."""

    def saved(self) -> None:
        """The workers may be ended without loss. Waits until this and every report before it have arrived."""

    def feed(self, maker: BatchMaker, world: World, start: int, end: int) -> Feed:
        """This worker's batches of the steps from `start` up to `end`; a collective."""

    def wait_to_be_ended(self, seconds: float) -> None:
        """Waits so long for the end of this process."""

    def give_up(self, reason: str) -> None:
        """The run has met an error that every further try would meet again."""

    def note_failure(self, why: str) -> None:
        """This worker has failed, for a reason in one line, and another try may succeed."""


@contextlib.contextmanager
def failures_reported(coordinator: Coordinator, *hopeless: type[Exception]) -> Iterator[None]:
    """Around all that a worker does: the coordinator hears of an error that ends it before it is raised.

    Args:
        hopeless: errors, beside those of every training, that each further try would meet again.
    """
    final = _HOPELESS + hopeless
    try:
        yield
    except (NodeLeaves, Restart):
        raise
    except final as error:
        # Before raising: another try would end the same way, so the next start of the workers returns at once.
        coordinator.give_up(str(error))
        raise
    except Exception as error:
        coordinator.note_failure(f"{type(error).__name__}: {one_line(error, 300)}"[:300])
        raise


def leave(coordinator: Coordinator, world: World, reached: int, request: Request) -> None:
    """Ends a worker before its last step, as requested; its state is saved. On every worker at once.

    Returns for STOP only. Raises NodeLeaves for LEAVE, RuntimeError if workers that were to be replaced are not.
    """
    if world.rank == 0:
        if request & Request.STOP:
            coordinator.report(messages.Stopped(reached))
        else:
            coordinator.report(messages.Resizing(reached) if request & Request.RESIZE else messages.Leaving(reached))
        coordinator.saved()
    if request & Request.STOP:
        return
    if request & Request.RESIZE:
        coordinator.wait_to_be_ended(_RESIZE_PATIENCE)
        raise RuntimeError("the number of workers was to change, and did not")
    world.gather_objects(reached)  # all workers are ended as soon as one leaves
    raise NodeLeaves(f"leaving before step {reached}, with a checkpoint: a node is preempted")
