"""Starts Ray on this machine out of reach of the signals that are meant for the run. Read in Ray 2.60.

`timeout`, Slurm, a shell and a terminal send a signal to a process group. Ray starts its processes in the group of the
process that calls `ray.init` and has no setting for another, so a SIGTERM that asks a run for its last checkpoint would
end Ray before that checkpoint is written. And `ray.init` replaces the handler of SIGTERM.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import services

from swav_ray.launch.signals import Interrupted


def start_ray(**options: Any) -> None:
    """`ray.init(**options)` that leaves SIGTERM alone and starts each process of Ray as the leader of a process group.

    Ray's processes still end with the calling thread: the kernel kills its children, and theirs notice.

    Raises:
        Interrupted: SIGTERM arrived meanwhile.
    """
    with _own_process_groups(), keep_sigterm_handler():
        ray.init(**options)


@contextmanager
def _own_process_groups() -> Iterator[None]:
    """Wraps `ray._private.services.ConsolePopen`, through which `start_ray_process` starts the processes of a node."""
    original = services.ConsolePopen

    class _Popen(original):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, process_group=0, **keywords)

    services.ConsolePopen = _Popen  # type: ignore[misc]
    try:
        yield
    finally:
        services.ConsolePopen = original  # type: ignore[misc]


@contextmanager
def keep_sigterm_handler() -> Iterator[None]:
    """While entered, `ray.init` may be called: it sets a handler of SIGTERM, which raises SystemExit.

    Raises:
        Interrupted: SIGTERM arrived meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:
        if error.code == signal.SIGTERM:
            raise Interrupted(signal.SIGTERM) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
