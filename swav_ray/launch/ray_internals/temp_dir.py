"""Where Ray puts the sockets of a machine, whose paths the system limits. Read in Ray 2.60."""

from __future__ import annotations

import os

from ray._common.utils import get_default_ray_temp_dir

from swav_ray.config import ConfigError

_LONGEST = 107  # bytes of a path of a Unix socket, without its last zero
_SOCKET = "/session_2026-11-28_12-40-07_497076_4194304/sockets/plasma_store"  # below it, with the largest process id


def check_temp_dir() -> None:
    """Raises ConfigError if Ray's folder for temporary files has too long a path for its sockets.

    Wraps `ray._common.utils.get_default_ray_temp_dir`.
    """
    folder = get_default_ray_temp_dir()
    excess = len(os.fsencode(folder + _SOCKET)) - _LONGEST
    if excess > 0:
        name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
        right = f"is {excess} bytes too long for Ray's sockets below it; set RAY_TMPDIR to a shorter one, such as /tmp"
        raise ConfigError(name, os.environ.get(name, folder), right)
