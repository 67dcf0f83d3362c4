"""environment.json: what a run was first started with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from swav_ray.run import environment
from swav_ray.storage.place import place


def test_versions_and_the_cluster_are_noted_once(tmp_path: Path) -> None:
    environment.write(place(tmp_path), {"CPU": 8.0, "accelerator_type:H200": 1.0, "node:10.0.0.1": 1.0})
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["numpy"] == np.__version__
    assert found["cluster, CPU"] == 8.0
    assert found["cluster, accelerator_type:H200"] == 1.0
    assert not any("node:" in name for name in found)
    environment.write(place(tmp_path), {"CPU": 2.0})  # the run resumes on another cluster
    assert json.loads((tmp_path / "environment.json").read_text()) == found
