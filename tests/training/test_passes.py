"""How a global batch is cut into passes: every image once, the same number of passes on every worker."""

from __future__ import annotations

import doctest

import pytest

from swav_ray.training import passes as module
from swav_ray.training.passes import Passes, passes


def of_all_workers(batch: int, workers: int, most: int, parts: int) -> list[Passes]:
    return [passes(batch, world_size=workers, rank=rank, most=most, parts=parts) for rank in range(workers)]


def test_the_worked_examples_are_so() -> None:
    assert doctest.testmod(module) == (0, 2)


@pytest.mark.parametrize(
    ("batch", "workers", "most", "parts"),
    [(8, 3, 1, 1), (64, 5, 4, 1), (64, 4, 9, 8), (4096, 7, 100, 1), (9, 8, 1, 1), (64, 3, 5, 16), (8, 1, 3, 4)],
)
def test_passes_are_as_many_on_every_worker_and_none_is_empty_or_too_large(
    batch: int, workers: int, most: int, parts: int
) -> None:
    found = of_all_workers(batch, workers, most, parts)
    assert len({one.count for one in found}) == 1
    rows = [rows for one in found for rows in one.rows]
    assert [row for one in rows for row in one] == list(range(batch))
    assert min(map(len, rows)) >= 1
    assert max(map(len, rows)) <= max(most, 2)  # of uneven slices a pass may hold two images, since none may be empty


@pytest.mark.parametrize("most", [0, 4, 100])
def test_rows_that_fit_take_one_pass(most: int) -> None:
    assert passes(8, world_size=2, rank=1, most=most, parts=1).rows == (range(4, 8),)


@pytest.mark.parametrize(("workers", "most"), [(1, 2), (1, 5), (2, 2), (4, 3)])
def test_a_pass_ends_with_a_part_of_batchnorm_when_a_part_fits(workers: int, most: int) -> None:
    for one in of_all_workers(16, workers, most, parts=8):
        assert all(rows.start % 2 == rows.stop % 2 == 0 for rows in one.rows)


@pytest.mark.parametrize(
    ("workers", "parts", "communicate"), [(1, 1, False), (2, 1, True), (2, 4, False), (3, 4, True), (4, 4, False)]
)
def test_batchnorm_communicates_only_when_a_part_lies_on_two_workers(
    workers: int, parts: int, communicate: bool
) -> None:
    assert {one.communicate for one in of_all_workers(8, workers, 0, parts)} == {communicate}
