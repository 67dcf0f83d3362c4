"""What passes between the training workers and the terminal: messages one way, requests the other way."""

from __future__ import annotations

import contextlib
from typing import Any

import ray

from swav_ray.launch.ray_metrics import RayMetrics
from swav_ray.run.messages import Message, Remedied

_STARTS_WITHOUT_PROGRESS = 4


@ray.remote(num_cpus=0)
class Monitor:
    """A mailbox of one run. Workers wait for it when they start and when they leave, never in between.

    Args:
        more: the option of the command that shows more of what went wrong.
        run: name of the run, under which its figures are Ray metrics; '' if they are none. ln_k: see `RayMetrics`.
    """

    def __init__(self, more: str = "--run.ray_logs true", run: str = "", ln_k: float = 0.0) -> None:
        self._more = more
        self._metrics: RayMetrics | None = None
        with contextlib.suppress(Exception):  # they are not worth the run
            self._metrics = RayMetrics(run, ln_k) if run else None
        self._messages: list[Message] = []
        self._request = "NONE"
        self._saved = False
        self._waiting = True
        self._given_up = ""
        self._failed: set[str] = set()
        self._why = ""
        self._start, self._starts = -1, 0
        self._deaths = 0
        self._placement_group: Any = None

    def report(self, message: Message) -> None:
        """Takes a message for the terminal; while nobody reads, the oldest are dropped."""
        if isinstance(message, Remedied):
            self._start = -1  # to start from the same step once more is no failure
        self._messages.append(message)
        del self._messages[:-1000]
        if self._metrics is not None:
            with contextlib.suppress(Exception):
                self._metrics.take(message)

    def read(self) -> list[Message]:
        """All messages since the last call."""
        messages, self._messages = self._messages, []
        return messages

    def request_stop(self) -> None:
        """Asks the run to stop at its next step, with a checkpoint."""
        self._request = "STOP"

    def request_resize(self) -> None:
        """Asks the workers to write a checkpoint and wait to be replaced, unless they are to stop."""
        if self._request == "NONE":
            self._request = "RESIZE"

    def request(self) -> str:
        """What the workers are asked to do, by the name of a Request: STOP, RESIZE or NONE."""
        return self._request

    def note_saved(self) -> None:
        """Notes that the workers have saved: they wait, or leave by themselves."""
        self._saved = True

    def saved(self) -> bool:
        """Whether the workers may be ended without loss."""
        return self._saved

    def note_waiting(self, waiting: bool) -> str:
        """Notes whether workers are still to be started, for example until there is room for them.

        Returns:
            Why not to start any, or ''.
        """
        self._waiting = waiting
        return self._given_up

    def waiting(self) -> bool:
        """Whether there are no workers that a request could reach."""
        return self._waiting

    def note_starting(self) -> None:
        """Notes that other workers are about to start: what those before them were to do is done or too late."""
        self._saved = False
        if self._request == "RESIZE":
            self._request = "NONE"

    def note_started(self, placement_group: Any) -> None:
        """Notes what the workers that start occupy."""
        self._placement_group = placement_group

    def begin(self, step: int) -> str:
        """Notes that workers start from `step`.

        Returns:
            A reason to give up if they keep starting from the same step, else ''.
        """
        self._deaths = 0
        if step == self._start:
            self._starts += 1
        else:
            self._start, self._starts = step, 1
            self._failed.clear()
        if self._starts > _STARTS_WITHOUT_PROGRESS and self._request != "STOP":
            self.give_up(
                f"the workers failed {_STARTS_WITHOUT_PROGRESS} times in a row without a checkpoint past step {step}"
                f"{self._last_seen()}"
            )
        return self._given_up

    def note_failure(self, start: str, why: str) -> None:
        """Notes an error that ended workers; gives up if that keeps happening without a step forward.

        Args:
            start: tells one start of the workers from the next: all workers of one may fail.
            why: the error in one line.
        """
        self._saved = True
        self._why = why
        self._failed.add(start)
        if len(self._failed) > _STARTS_WITHOUT_PROGRESS:
            self.give_up(f"the workers failed {len(self._failed)} times in a row{self._last_seen()}")

    def _last_seen(self) -> str:
        return (f", last with: {self._why}" if self._why else "") + f"; {self._more} shows more"

    def controller_died(self) -> str:
        """Notes that what starts the workers died.

        Returns:
            A reason to give up if that keeps happening before any worker starts, else ''.
        """
        self._deaths += 1
        self._waiting = True
        if self._deaths > _STARTS_WITHOUT_PROGRESS:
            self.give_up(
                f"Ray Train's controller died {self._deaths} times in a row before it had started a worker; "
                f"{self._more} shows why"
            )
        return self._given_up

    def placement_group(self) -> Any:
        """What the workers that started last occupy, or None."""
        return self._placement_group

    def give_up(self, reason: str) -> None:
        """Notes an error that every further try would meet again."""
        self._given_up = self._given_up or reason

    def given_up(self) -> str:
        """Why the run cannot continue, or ''."""
        return self._given_up
