"""Parts are read one ahead, made once, and grouped so that all processes end together."""

from __future__ import annotations

import threading

import pytest
import torch

from swav_ray.features.making import grouped, make_parts

CPU = torch.device("cpu")


class Noted:
    """Parts that note what is done to them; part 3 of a failing one cannot be read."""

    mistake = ValueError

    def __init__(self, made: tuple[int, ...] = (), *, failing: bool = False) -> None:
        self.made, self.failing = list(made), failing
        self.was_read = [threading.Event() for _ in range(6)]

    def images(self, part: int) -> int:
        return 10 + part

    def is_made(self, part: int) -> bool:
        return part in self.made

    def read(self, part: int, threads: int) -> int:  # noqa: ARG002
        if self.failing and part == 3:
            raise OSError("part 3")
        self.was_read[part].set()
        return part

    def write(self, read: int, device: torch.device) -> None:
        assert device == CPU
        if read + 1 < len(self.was_read) and not self.failing:
            assert self.was_read[read + 1].wait(20)  # while this one is written
        self.made.append(read)


def test_the_next_part_is_read_while_one_is_written() -> None:
    work = Noted()
    assert list(make_parts(work, range(6), CPU)) == [10, 11, 12, 13, 14, 15]
    assert work.made == [0, 1, 2, 3, 4, 5]


def test_a_part_that_is_there_is_counted_and_not_made_again() -> None:
    work = Noted(made=(1, 4), failing=True)
    assert list(make_parts(work, [1, 2, 4], CPU)) == [11, 12, 14]
    assert work.made == [1, 4, 2]
    assert not work.was_read[1].is_set()


def test_what_was_made_before_a_failure_is_said() -> None:
    work, said = Noted(failing=True), []
    with pytest.raises(OSError, match="part 3"):
        said.extend(make_parts(work, range(6), CPU))
    assert (said, work.made) == ([10, 11, 12], [0, 1, 2])


@pytest.mark.parametrize(
    ("count", "most", "processes"), [(0, 5, 2), (1, 5, 2), (57, 20, 2), (57, 1, 8), (1953, 12, 64)]
)
def test_groups_hold_each_part_once_in_order_and_the_last_are_small(count: int, most: int, processes: int) -> None:
    groups = grouped(range(count), most, processes)
    assert [part for group in groups for part in group] == list(range(count))
    assert all(1 <= len(group) <= most for group in groups)
    left = count
    for group in groups:
        assert len(group) <= max(1, left // (2 * processes))
        left -= len(group)


def test_groups_are_as_large_as_they_may_be_while_much_is_left() -> None:
    assert [len(group) for group in grouped(range(1000), 12, 2)][:70] == [12] * 70
