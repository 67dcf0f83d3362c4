"""What SIGINT and SIGTERM do to a run: the first one asks for a checkpoint, the second one ends it at once."""

from __future__ import annotations

import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# GNU `timeout` sends one SIGTERM to its child and one to the child's process group: both are one request.
_SAME_REQUEST_SECONDS = 1.0


class Interrupted(KeyboardInterrupt):
    """A signal ends what the main thread is doing. A KeyboardInterrupt, so that no handler of errors catches it.

    Args:
        number: of the signal.
        again: it is the second signal: what the last checkpoint does not hold is lost.
    """

    def __init__(self, number: int, *, again: bool = False) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.again = number, again


class StopSignals:
    """While entered, SIGINT and SIGTERM stop the run.

    A signal raises Interrupted in the main thread. Inside `noted()`, the first one only sets `asked`: whoever entered
    it ends in its own time. Outside the main thread signals are left alone.

    Attributes:
        asked: the first signal, or None.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.asked: signal.Signals | None = None
        self._clock = clock
        self._asked_at = 0.0
        self._noted = False
        self._before: dict[int, Any] = {}
        self._unraisable_before = sys.unraisablehook

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
            self._unraisable_before, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            sys.unraisablehook = self._unraisable_before

    def _unraisable(self, found: Any) -> None:
        # Python prints what it ignores, with a traceback; this one is not lost (`raise_if_asked`).
        if not isinstance(found.exc_value, Interrupted):
            self._unraisable_before(found)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """While entered, the first signal raises nothing."""
        self._noted = True
        try:
            yield
        finally:
            self._noted = False

    def raise_if_asked(self) -> None:
        """Raises Interrupted if a signal has come: Python ignores an exception in a finalizer or a hook of a fork."""
        if self.asked is not None:
            raise Interrupted(self.asked)

    def _handle(self, number: int, _: types.FrameType | None) -> None:
        # It prints nothing and calls nothing of Ray: it may interrupt a print or a call of Ray.
        first = self.asked is None
        if first:
            self.asked, self._asked_at = signal.Signals(number), self._clock()
            if self._noted:
                return
        elif self._clock() - self._asked_at < _SAME_REQUEST_SECONDS:
            return
        raise Interrupted(number, again=not first)
