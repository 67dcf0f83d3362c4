"""Connects a run to the Ray cluster of RAY_ADDRESS, or starts Ray on this machine."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

import ray

from swav_ray.config import ConfigError
from swav_ray.launch.ray_internals.local_ray import LocalRay, keep_sigterm_handler, start_ray
from swav_ray.launch.ray_internals.temp_dir import check_temp_dir
from swav_ray.one_line import last_line

_FIRST_CONTACT = 10.0  # seconds after which an address that never answered is taken for a wrong one
_ADDRESS_HELP = "must be the address of a cluster that is up, or unset to start Ray here"
# Of a Ray that is started here.
_SETTINGS = {
    # 15 in Ray, at which any other program on the machine takes the CPU from training.
    "RAY_worker_niceness": "0",
    # 60 in Ray, for a control store that another machine may start again: here it never comes back.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}


def connect(logs: bool) -> LocalRay | None:
    """Connects to the cluster of RAY_ADDRESS, or starts Ray on this machine.

    Ray that is started here ends with this process, and no signal to this process's group reaches it.

    Args:
        logs: show Ray's own messages and the workers' output.

    Returns:
        The Ray that was started here, which `ray.shutdown()` ends, or None.

    Raises:
        ConfigError: no cluster answers at RAY_ADDRESS, or TMPDIR is too long for Ray's sockets.
        OSError: Ray does not come up on this machine in the time that it gives itself.
    """
    if ray.is_initialized():
        return None
    level = logging.INFO if logs else logging.ERROR
    # Ray's warnings about a machine's set-up and its progress bars would bury the one line that matters.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "0" if logs else "1")
    options: dict[str, Any] = {"log_to_driver": logs, "logging_level": level}
    if address := os.environ.get("RAY_ADDRESS"):
        _reach(address)
        try:
            with keep_sigterm_handler():
                ray.init(**options)
        except (ConnectionError, ValueError) as error:
            raise ConfigError("RAY_ADDRESS", address, f"{_ADDRESS_HELP}: {last_line(error)}") from error
        return None
    check_temp_dir()
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # "local", since another run's private cluster on this machine would end with that run. One CPU for the training
    # worker and one for crops is the least that moves.
    try:
        return start_ray(address="local", num_cpus=max(2, os.cpu_count() or 1), include_dashboard=False, **options)
    except Exception as error:
        if type(error) is not Exception:  # which Ray raises if its processes are late
            raise
        raise OSError(f"Ray did not start: {last_line(error)} Free the machine's CPUs and start again") from error


def _reach(address: str) -> None:
    """Raises ConfigError if nothing answers at host:port: Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_FIRST_CONTACT).close()
    except (OSError, OverflowError) as error:
        raise ConfigError("RAY_ADDRESS", address, f"{_ADDRESS_HELP}: {error}") from None
