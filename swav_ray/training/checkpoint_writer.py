"""Writes checkpoints beside training: a step waits for a copy of the state in memory, and for no disk or upload."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Set

from swav_ray.storage.place import Place, StorageUnavailable
from swav_ray.training import checkpoint

_RETRY_SECONDS = 5.0  # between attempts to write a checkpoint that could not be


class CheckpointWriter:
    """Writes snapshots in the background, one at a time, and tries again if storage fails.

    Args:
        run_dir: as for `write`.
        keep: as for `checkpoint.prune`.
        before_commit: as for `write`.
        report: is called with a line about what could not be written; training continues meanwhile.
        last: the step whose sound checkpoint the run resumes from, if any.
        held: as for `checkpoint.prune`.
        awaited: as for `checkpoint.prune`. A snapshot of such a step is written even if a newer one waits.
    """

    def __init__(
        self,
        run_dir: Place,
        keep: checkpoint.Retention,
        before_commit: Callable[[], None],
        report: Callable[[str], None],
        last: int | None = None,
        awaited: Set[int] = frozenset(),
        held: Set[int] = frozenset(),
    ) -> None:
        self._run_dir, self._keep, self._before_commit, self._report = run_dir, keep, before_commit, report
        self._awaited, self._held = awaited, held
        self._written: list[int] = []  # steps, by this writer
        self._last = last  # step submitted
        if last is not None:
            # An earlier start may have been killed before it did. A newer checkpoint, which could not be used, stays
            # until the next one is written.
            self._prune(last, newer=True)
        self._condition = threading.Condition()
        self._waiting: deque[checkpoint.Snapshot] = deque()
        self._busy = False
        self._failed: BaseException | None = None
        self.seconds = 0.0  # that the last write took
        threading.Thread(target=self._run, name="checkpoints", daemon=True).start()

    def submit(self, state: checkpoint.Snapshot) -> None:
        """Has a snapshot written; if one still waits for its turn, the newer takes its place unless it is awaited.

        A step's second snapshot is the same as its first and is not written: a write that does not come to its end
        would lose the sound checkpoint that it replaces.
        """
        with self._condition:
            self._raise_failure()
            if state.step == self._last:
                return
            self._last = state.step
            if self._busy:
                self._report(
                    f"storage is slow or unavailable: at step {state.step} an earlier checkpoint is still being written"
                )
            if self._waiting and self._waiting[-1].step not in self._awaited:
                self._waiting.pop()
            self._waiting.append(state)
            self._condition.notify_all()

    def wait(self, seconds: float) -> bool:
        """Waits until everything submitted is written; whether it is."""
        with self._condition:
            done = self._condition.wait_for(lambda: self._failed or not (self._busy or self._waiting), seconds)
            self._raise_failure()
            return bool(done)

    def written(self, step: int) -> bool | None:
        """Whether a submitted snapshot is written: None while it is to come, False if a newer one took its place."""
        with self._condition:
            if step in self._written:
                return True
            return False if self._written and self._written[-1] > step else None

    def prune(self) -> None:
        """Drops old checkpoints once more, when all is written: what was to be measured may have been since."""
        if self._last is not None:
            self._prune(self._last)

    def _raise_failure(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            while True:
                with self._condition:
                    self._busy = False
                    self._condition.notify_all()
                    self._condition.wait_for(lambda: self._waiting)
                    state, self._busy = self._waiting.popleft(), True
                self._write(state)
        except BaseException as error:
            with self._condition:
                self._failed = error
                self._condition.notify_all()

    def _write(self, state: checkpoint.Snapshot) -> None:
        reported = False
        while True:
            began = time.monotonic()
            try:
                checkpoint.write(self._run_dir, state, self._before_commit)
            except (OSError, StorageUnavailable) as error:
                if not reported:
                    self._report(
                        f"the checkpoint of step {state.step} cannot be written yet, training continues: {error}"
                    )
                reported = True
            else:
                self.seconds = time.monotonic() - began
                with self._condition:
                    self._written.append(state.step)
                if reported:
                    self._report(f"the checkpoint of step {state.step} is written")
                self._prune(state.step)
                return
            with self._condition:
                if self._condition.wait_for(lambda: self._needless(state), _RETRY_SECONDS):
                    return

    def _needless(self, state: checkpoint.Snapshot) -> bool:
        """Whether a newer one waits, and nobody for this one."""
        return bool(self._waiting) and state.step not in self._awaited

    def _prune(self, newest: int, *, newer: bool = False) -> None:
        try:
            checkpoint.prune(
                self._run_dir, newest, self._keep, newer=newer, awaited=self._awaited, held=frozenset(self._held)
            )
        except (OSError, StorageUnavailable) as error:
            self._report(f"old checkpoints cannot be removed, which the next one tries again: {error}")
