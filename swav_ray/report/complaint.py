"""How a command ends on an error: one line on standard error, and an exit status."""

from __future__ import annotations

import sys

from swav_ray.one_line import one_line
from swav_ray.storage.errors import CredentialsError

_MISTAKES = (ValueError, CredentialsError)  # ConfigError, UnknownSetting and PlaceError are ValueErrors
_SYSTEM_MISTAKES = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)


def complain(error: Exception) -> int:
    """Prints an error in one line; returns the exit status: 2 if the user gave something wrong, 1 for all else."""
    sys.stderr.write(f"swav_ray: {one_line(error, most=2000)}\n")
    # Not their subclasses: those arise while training too, and then say nothing about what was given.
    return 2 if isinstance(error, _MISTAKES) or type(error) in _SYSTEM_MISTAKES else 1
