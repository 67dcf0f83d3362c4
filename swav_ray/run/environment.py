"""environment.json: what a run was first started with: versions, the machine of its command, the cluster."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from swav_ray.run.layout import ENVIRONMENT
from swav_ray.storage.place import Place

_LIBRARIES = ("swav_ray", "torch", "torchvision", "ray", "numpy", "pyarrow", "numba", "opencv-python-headless")
_OF_THE_CLUSTER = ("CPU", "GPU", "memory", "accelerator_type:")  # Ray has other resources, of its own use


def write(run_dir: Place, resources: Mapping[str, float]) -> None:
    """Writes the file, unless the run has one: a resumed run began with the first.

    Args:
        resources: of the whole cluster, by Ray's names.
    """
    if not (run_dir / ENVIRONMENT).exists():
        (run_dir / ENVIRONMENT).write_bytes(json.dumps(_environment(resources), indent=1).encode())


def _environment(resources: Mapping[str, float]) -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}}
    found |= {"system": platform.platform(), "processors of the command's machine": os.cpu_count()}
    of_cluster = {name: value for name, value in sorted(resources.items()) if name.startswith(_OF_THE_CLUSTER)}
    return found | {f"cluster, {name}": _shown(name, value) for name, value in of_cluster.items()}


def _shown(name: str, value: float) -> float | str:
    return f"{value / 2**30:.1f} GiB" if name == "memory" else value


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
