"""Compiled code is read from disk only if nothing that it was compiled from has changed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from swav_ray.data.crops import cache_key, color_vector, kernels, render
from swav_ray.data.crops.cache_key import source_key


def test_the_key_changes_with_the_text_of_any_module(tmp_path: Path) -> None:
    modules = [ModuleType("a"), ModuleType("b")]
    for module in modules:
        module.__file__ = str(tmp_path / module.__name__)
        Path(module.__file__).write_text("x = 1")
    before = source_key(*modules)
    assert before == source_key(*modules)
    (tmp_path / "b").write_text("x = 2")
    assert source_key(*modules) != before
    assert source_key(cache_key) < 2**63  # numba reads it as a signed number


def test_every_kernel_is_part_of_the_key() -> None:
    """A kernel that was forgotten there would be read back from before its change."""
    names = {path.stem for path in Path(kernels.__path__[0]).glob("*.py")} - {"__init__", "reference"}
    assert {module.__name__ for module in render.COMPILED} == {
        color_vector.__name__,
        *(f"{kernels.__name__}.{name}" for name in names),
    }
