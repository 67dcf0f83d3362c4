"""The files of a checkpoint are read whole and verified, or named as damaged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from swav_ray.run import layout
from swav_ray.run.checkpoint_files import BadCheckpoint, read, steps
from swav_ray.storage.place import Place, place

FILES = {layout.MODEL: b"model", layout.TRAINING: b"training", layout.META: b"{}"}


def write(folder: Place, files: dict[str, bytes]) -> None:
    sums = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / layout.CHECKPOINT_MANIFEST).write_bytes(json.dumps(sums).encode())


def test_only_complete_checkpoints_count_and_are_read_as_written(tmp_path: Path) -> None:
    run_dir = place(tmp_path)
    for step in (20, 3):
        write(layout.checkpoint_folder(run_dir, step), FILES)
    (layout.checkpoint_folder(run_dir, 30) / layout.MODEL).write_bytes(b"killed")
    assert steps(run_dir) == [3, 20]
    assert read(layout.checkpoint_folder(run_dir, 3)) == FILES


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        (layout.MODEL, b"modem", r"model\.safetensors: differs from the size or checksum in manifest\.json"),
        (layout.CHECKPOINT_MANIFEST, b"[1]", r"AttributeError"),
        (layout.CHECKPOINT_MANIFEST, b"{", r"JSONDecodeError"),
        (layout.CHECKPOINT_MANIFEST, b"{}", r"does not name meta\.json, model\.safetensors, training\.safetensors"),
    ],
)
def test_damage_is_named(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    folder = place(tmp_path)
    write(folder, FILES)
    (folder / name).write_bytes(data)
    with pytest.raises(BadCheckpoint, match=told):
        read(folder)
