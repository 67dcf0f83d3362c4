"""Whether this Ray is one whose insides were tested: the contract tests passed for the range in pyproject.toml."""

from __future__ import annotations

import importlib.metadata

import ray
from packaging.requirements import Requirement


def untested_ray() -> list[str]:
    """A warning in one line if Ray's version is outside of the range that this package declares, else nothing.

    pip keeps to the range; a cluster's image or an install without dependencies may not.
    """
    try:
        declared = importlib.metadata.requires("swav_ray") or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder that was never installed
        return []
    required = [Requirement(line) for line in declared]
    (tested,) = (found.specifier for found in required if found.name == "ray" and found.marker is None)
    if tested.contains(ray.__version__, prereleases=True):
        return []
    return [f"Ray {ray.__version__} is untested: use Ray {tested}, or runs may not resize and recover as they should"]
