"""The names that a run directory has on disk: older runs have them, and other people's tools read them."""

from __future__ import annotations

import pytest

from swav_ray.run import layout
from swav_ray.storage.place import place


def test_a_checkpoint_is_named_by_its_step_so_that_names_sort_as_steps_do() -> None:
    run_dir = place("/storage/run")
    assert layout.checkpoint_folder(run_dir, 123).uri == "/storage/run/checkpoints/step-000000123"
    names = [layout.checkpoint_folder(run_dir, step).uri for step in (2, 10, 300, 10**8)]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step-000000123/manifest.json", 123),
        ("step-1234567890/manifest.json", 1234567890),
        ("step-000000123/model.safetensors", None),
        ("step-000000123/manifestxjson", None),
        ("step-/manifest.json", None),
        (".step-000000123.part/manifest.json", None),
    ],
)
def test_only_a_manifest_makes_a_folder_a_checkpoint(name: str, step: int | None) -> None:
    assert layout.checkpoint_step(name) == step


def test_what_all_runs_of_a_storage_share_is_told_by_its_name() -> None:
    storage = place("/storage")
    for folder in (layout.manifest_cache(storage), layout.shapes_folder(storage)):
        assert layout.IN_STORAGE_CACHE.search(f"{folder.uri}/0123.parquet")
    assert layout.IN_STORAGE_CACHE.search("_data/manifests/0123.parquet")
    assert layout.IN_STORAGE_CACHE.search("_data/shapes/train-00000-of-00006.parquet")  # of 0.1.0
    assert not layout.IN_STORAGE_CACHE.search("my_data/shapes/train-0.parquet")


def test_half_a_checkpoint_is_known_by_its_files_and_nobody_elses_files_are() -> None:
    assert layout.step_of_file("step-000000123/model.safetensors") == 123
    assert layout.step_of_file("notes/step-000000123.txt") is None
    assert layout.step_of_file("step-000000123") is None
