"""What SIGINT and SIGTERM do to a run: the first one asks for a checkpoint, the second one ends it."""

from __future__ import annotations

import signal
import threading
import types
from typing import Any

from swav_ray.report.terminal import Terminal


class stop_on_signal:
    """While entered, the first SIGINT or SIGTERM asks for a checkpoint and a stop; the second one stops at once."""

    def __init__(self, monitor: Any, terminal: Terminal) -> None:
        self.asked = False
        self._monitor, self._terminal = monitor, terminal
        self._before: dict[int, Any] = {}

    def __enter__(self) -> stop_on_signal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, _: types.FrameType | None) -> None:
        signal.signal(number, self._before[number])
        self._monitor.request_stop.remote()
        self.asked = True
        self._terminal.line(
            f"{signal.Signals(number).name}: stopping after this step, with a checkpoint; again: at once"
        )

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
