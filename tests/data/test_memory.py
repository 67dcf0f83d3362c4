"""Memory is given out again only when nothing refers to what was in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swav_ray.data.memory import ReusedMemory


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_that_nobody_refers_to_is_taken_again() -> None:
    memory = ReusedMemory()
    array = memory.take(1 << 20)
    first = address(array)
    assert (array.dtype, array.shape, array.flags.writeable) == (np.uint8, (1 << 20,), True)
    del array
    for _ in range(3):
        assert address(memory.take(1 << 20)) == first
    two = [memory.take(1 << 20), memory.take(1 << 20)]
    addresses = {address(array) for array in two}
    assert first in addresses
    assert len(addresses) == 2
    two.clear()
    assert {address(array) for array in (memory.take(1 << 20), memory.take(1 << 20))} <= addresses


@pytest.mark.parametrize(
    "hold",
    [
        lambda array: array,
        lambda array: array[10:],
        lambda array: array.reshape(2, -1)[1].view(np.int16)[::2],
        lambda array: pa.py_buffer(array),
        lambda array: pa.table({"pixels": pa.Array.from_buffers(pa.uint8(), len(array), [None, pa.py_buffer(array)])}),
        lambda array: memoryview(array)[5:],
        lambda array: torch.from_numpy(array).view(2, -1)[1],
    ],
    ids=["array", "view", "view of views", "buffer", "table", "memoryview", "tensor"],
)
def test_memory_in_use_is_left_alone(hold: Callable[[np.ndarray], object]) -> None:
    memory = ReusedMemory()
    array = memory.take(4096)
    used, holder = address(array), hold(array)
    del array
    assert address(memory.take(4096)) != used
    del holder
    taken = [memory.take(4096), memory.take(4096)]
    assert used in {address(array) for array in taken}


@given(st.lists(st.tuples(st.sampled_from([1, 100, 4096]), st.integers(0, 3)), max_size=40))
def test_what_is_held_is_never_overwritten(steps: list[tuple[int, int]]) -> None:
    """Each step fills an array with its number and lets those go that were held for their number of steps."""
    memory = ReusedMemory()
    held: list[tuple[int, int, np.ndarray]] = []
    for number, (size, steps_held) in enumerate(steps):
        held = [(until, value, view) for until, value, view in held if until >= number]
        array = memory.take(size)
        array[:] = number
        held.append((number + steps_held, number, array[: max(1, size // 2)]))
        del array
        for _, value, view in held:
            assert (view == value).all()


def test_memory_of_another_size_is_given_back() -> None:
    memory = ReusedMemory()
    for size in (1000, 2000, 3000):
        memory.take(size)
    assert [len(piece) for piece, _ in memory._pieces] == [3000]
    freed_meanwhile = iter([object(), None])
    memory._pieces = [(np.empty(100, np.uint8), lambda: next(freed_meanwhile))]  # type: ignore[list-item]
    assert len(memory.take(200)) == 200
