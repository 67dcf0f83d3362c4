"""Starts Ray on this machine out of reach of the signals that are meant for the run. Read in Ray 2.60.

`timeout`, Slurm, a shell and a terminal send a signal to a process group. Ray starts its processes in the group of the
process that calls `ray.init` and has no setting for another, so a SIGTERM that asks a run for its last checkpoint would
end Ray before that checkpoint is written. And `ray.init` replaces the handler of SIGTERM.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import services

_ESSENTIAL = ("gcs_server", "raylet")


class LocalRay:
    """The processes of a Ray that `start_ray` started.

    Args:
        processes: by the name of their program.
    """

    def __init__(self, processes: dict[str, subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def ended(self) -> list[str]:
        """Programs that have ended and that Ray cannot do without."""
        return [name for name in _ESSENTIAL if name in self._processes and self._processes[name].poll() is not None]


def start_ray(**options: Any) -> LocalRay:
    """`ray.init(**options)` that leaves SIGTERM alone and starts each process of Ray as the leader of a process group.

    Ray's processes still end with the calling thread: the kernel kills its children, and theirs notice.
    """
    with _own_process_groups() as processes, keep_sigterm_handler():
        ray.init(**options)
    return LocalRay(processes)


@contextmanager
def _own_process_groups() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Wraps `ray._private.services.ConsolePopen`, through which `start_ray_process` starts the processes of a node.

    Yields the processes as they start, by the name of their program.
    """
    original = services.ConsolePopen
    started: dict[str, subprocess.Popen[bytes]] = {}

    class _Popen(original):  # type: ignore[misc, valid-type]
        def __init__(self, command: list[str], **keywords: Any) -> None:
            super().__init__(command, process_group=0, **keywords)
            started[os.path.basename(command[0])] = self

    services.ConsolePopen = _Popen  # type: ignore[misc, assignment]
    try:
        yield started
    finally:
        services.ConsolePopen = original  # type: ignore[misc]


@contextmanager
def keep_sigterm_handler() -> Iterator[None]:
    """Around `ray.init`, which sets a handler of SIGTERM for good: one that raises SystemExit.

    A SIGTERM that arrives meanwhile is raised anew for the handler that was there, if there was one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:
        if error.code == signal.SIGTERM and callable(before):
            signal.signal(signal.SIGTERM, before)
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
