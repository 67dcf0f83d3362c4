"""What passes between the training workers and the terminal: news one way, wishes the other way."""

from __future__ import annotations

from typing import Any

import ray

_STARTS_WITHOUT_PROGRESS = 4


@ray.remote(num_cpus=0)
class Monitor:
    """A mailbox of one run. Workers wait for it when they start and when they leave, never in between."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._wish = ""
        self._parked = False
        self._waiting = True
        self._given_up = ""
        self._failed: set[str] = set()
        self._why = ""
        self._start, self._starts = -1, 0
        self._deaths = 0
        self._placement_group: Any = None

    def tell(self, message: dict[str, Any]) -> None:
        """Leaves a message for the terminal; the oldest go where nobody reads."""
        self._messages.append(message)
        del self._messages[:-1000]

    def read(self) -> list[dict[str, Any]]:
        """All messages since the last call."""
        messages, self._messages = self._messages, []
        return messages

    def request_stop(self) -> None:
        """Asks the run to stop at its next step, with a checkpoint."""
        self._wish = "stop"

    def request_park(self) -> None:
        """Asks the workers to write a checkpoint and wait to be replaced."""
        self._wish = self._wish or "park"

    def wish(self) -> str:
        """'stop', 'park' or ''."""
        return self._wish

    def note_parked(self) -> None:
        """Says that the workers have saved: they wait, or leave by themselves."""
        self._parked = True

    def parked(self) -> bool:
        """Whether workers may be taken away without loss."""
        return self._parked

    def note_waiting(self, waiting: bool) -> str:
        """Says whether workers are still to be started, as where there is no room for them yet.

        Returns:
            Why not to start any, or ''.
        """
        self._waiting = waiting
        return self._given_up

    def waiting(self) -> bool:
        """Whether there are no workers that a wish could reach."""
        return self._waiting

    def note_starting(self) -> None:
        """Says that other workers are about to start: what those before them were to do is done or too late."""
        self._parked = False
        if self._wish == "park":
            self._wish = ""

    def note_started(self, placement_group: Any) -> None:
        """Says what the workers that start occupy."""
        self._placement_group = placement_group

    def begin(self, step: int) -> str:
        """Notes that workers start from `step`.

        Returns:
            A reason to give up where they keep starting from the same step, else ''.
        """
        self._deaths = 0
        if step == self._start:
            self._starts += 1
        else:
            self._start, self._starts = step, 1
            self._failed.clear()
        if self._starts > _STARTS_WITHOUT_PROGRESS and self._wish != "stop":
            self.give_up(
                f"the workers failed {_STARTS_WITHOUT_PROGRESS} times in a row without a checkpoint past step {step}"
                f"{self._last_seen()}"
            )
        return self._given_up

    def note_failure(self, start: str, why: str) -> None:
        """Notes an error that ended workers; gives up where that keeps happening without a step forward.

        Args:
            start: tells one start of the workers from the next: all workers of one may fail.
            why: the error in one line.
        """
        self._parked = True
        self._why = why
        self._failed.add(start)
        if len(self._failed) > _STARTS_WITHOUT_PROGRESS:
            self.give_up(f"the workers failed {len(self._failed)} times in a row{self._last_seen()}")

    def _last_seen(self) -> str:
        return (f", last with: {self._why}" if self._why else "") + "; --run.ray_logs true shows more"

    def controller_died(self) -> str:
        """Notes that what starts the workers died.

        Returns:
            A reason to give up where that keeps happening before any worker starts, else ''.
        """
        self._deaths += 1
        self._waiting = True
        if self._deaths > _STARTS_WITHOUT_PROGRESS:
            self.give_up(
                f"Ray Train's controller died {self._deaths} times in a row before it had started a worker; "
                "--run.ray_logs true shows why"
            )
        return self._given_up

    def placement_group(self) -> Any:
        """What the workers that started last occupy, or None."""
        return self._placement_group

    def give_up(self, reason: str) -> None:
        """Notes an error that every further try would meet again."""
        self._given_up = self._given_up or reason

    def given_up(self) -> str:
        """Why the run cannot go on, or ''."""
        return self._given_up
