"""The order of training: every sample once an epoch, the same at any world size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swav_ray.config import ConfigError
from swav_ray.data.sample_plan import DRAWS, SamplePlan, digest, even_slice


class LookedUp:
    """The ids 0, 3, 6 ..., as if there were too many to hold."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        assert positions.max() < self._size
        return positions * 3


plans = st.builds(
    lambda n, held, seed, batch, block: SamplePlan(
        np.arange(n) * 3 if held else LookedUp(n), seed, min(batch, n), block, 4 * block
    ),
    st.integers(1, 300),
    st.booleans(),
    st.integers(0, 2**62),
    st.integers(1, 64),
    st.sampled_from([0, 1, 8]),
)


@given(plan=plans, epoch=st.integers(0, 5))
def test_an_epoch_has_every_sample_at_most_once_and_leaves_out_only_the_tail(plan: SamplePlan, epoch: int) -> None:
    steps = plan.steps_per_epoch
    batches = plan.batches(epoch * steps, (epoch + 1) * steps)
    seen = np.concatenate(batches)
    assert all(len(batch) == plan.global_batch_size for batch in batches)
    assert len(set(seen)) == len(seen) == len(plan.ids) - plan.dropped_per_epoch
    assert set(seen) <= set(plan.ids[np.arange(len(plan.ids))])


@given(plan=plans, start=st.integers(0, 40), length=st.integers(1, 40), cut=st.integers(0, 40))
def test_a_batch_does_not_depend_on_where_one_started(plan: SamplePlan, start: int, length: int, cut: int) -> None:
    whole = plan.batches(start, start + length)
    middle = start + min(cut, length)
    again = plan.batches(start, middle) + plan.batches(middle, start + length)
    assert len(whole) == length
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))


@given(rows=st.integers(1, 5000), size=st.integers(1, 64))
def test_slices_cover_a_batch_in_order_and_differ_by_at_most_one(rows: int, size: int) -> None:
    parts = [even_slice(rows, size, rank) for rank in range(size)]
    assert [i for part in parts for i in range(rows)[part]] == list(range(rows))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1


@given(plan=plans, data=st.data())
def test_any_sequence_of_world_sizes_trains_on_what_the_plan_says(plan: SamplePlan, data: st.DataObject) -> None:
    """A run that is resized at any step, forwards from the step that it had reached, back if steps were lost."""
    end = 2 * plan.steps_per_epoch
    committed: dict[int, np.ndarray] = {}
    step = 0
    while step < end:
        workers = data.draw(st.integers(1, plan.global_batch_size))
        stop = data.draw(st.integers(step + 1, end))
        for at, batch in enumerate(plan.batches(step, stop), step):
            slices = [batch[even_slice(len(batch), workers, rank)] for rank in range(workers)]
            committed[at] = np.concatenate(slices)
        step = stop if stop == end else data.draw(st.integers(step + 1, stop))  # a crash loses the steps past this
    for epoch in range(2):
        first = epoch * plan.steps_per_epoch
        seen = np.concatenate([committed[at] for at in range(first, first + plan.steps_per_epoch)])
        assert len(set(seen)) == len(seen) == len(plan.ids) - plan.dropped_per_epoch
    assert all(np.array_equal(batch, committed[at]) for at, batch in enumerate(plan.batches(0, end)))


@given(ids=st.lists(st.integers(0, 2**40), unique=True, min_size=1, max_size=60), cuts=st.integers(1, 7))
def test_digests_add_up_whatever_the_order_and_the_slices(ids: list[int], cuts: int) -> None:
    rows = np.array(ids)
    total = int(digest(rows), 16)
    assert digest(rows[::-1]) == digest(rows)
    parts = [rows[even_slice(len(rows), cuts, rank)] for rank in range(cuts)]
    assert sum(int(digest(part), 16) for part in parts) % 2**64 == total


def test_a_digest_shows_a_lost_or_repeated_sample() -> None:
    assert digest(np.array([1, 2, 3])) != digest(np.array([1, 2]))
    assert digest(np.array([1, 2, 3])) != digest(np.array([1, 2, 3, 3]))
    assert digest(np.array([1, 2, 3])) != digest(np.array([1, 2, 4]))


def test_epochs_and_seeds_differ() -> None:
    for ids, block in ((np.arange(100), 0), (LookedUp(100), 0), (np.arange(100), 5)):
        plan, other = SamplePlan(ids, 0, 10, block, 20), SamplePlan(ids, 1, 10, block, 20)
        first, second = plan.batches(0, 10), plan.batches(10, 20)
        assert not np.array_equal(first, second)
        assert not np.array_equal(first, other.batches(0, 10))


def test_ids_in_memory_keep_the_order_that_runs_began_with() -> None:
    """numpy's: runs that began before there was another order resume with it."""
    order = np.random.default_rng([5, 0x6F72646572, 3]).permutation(23)
    assert np.concatenate(SamplePlan(np.arange(23) * 3, 5, 4).batches(15, 20)).tolist() == (order[:20] * 3).tolist()


def test_a_step_far_out_in_a_billion_samples_is_planned_alone() -> None:
    plan = SamplePlan(LookedUp(10**9), 0, 4096)
    (ids,) = plan.batches(7 * plan.steps_per_epoch - 1, 7 * plan.steps_per_epoch)
    assert len(set(ids.tolist())) == 4096
    assert plan.replacement(3, 123, 0) % 3 == 0


def test_a_batch_by_blocks_has_few_neighbourhoods() -> None:
    plan = SamplePlan(np.arange(4096), 0, 256, block=16, window=256)
    assert all(len(np.unique(ids // 16)) == 16 for ids in plan.batches(0, 16))


def test_the_tail_is_not_always_the_same() -> None:
    plan = SamplePlan(np.arange(25), 0, 10)
    tails = [set(plan.ids) - set(np.concatenate(plan.batches(2 * e, 2 * e + 2))) for e in range(4)]
    assert all(len(tail) == 5 for tail in tails)
    assert len({frozenset(tail) for tail in tails}) > 1


def test_a_stand_in_is_always_the_same() -> None:
    plan = SamplePlan(np.arange(100), 0, 10)
    assert plan.replacement(2, 17, 0) == plan.replacement(2, 17, 0)
    assert len({plan.replacement(2, 17, attempt) for attempt in range(10)}) > 1


def test_stand_ins_leave_nobody_out() -> None:
    plan = SamplePlan(np.arange(100) * 3, 0, 10)
    assert {plan.replacement(2, 17, DRAWS - 1 + attempt) for attempt in range(100)} == set(plan.ids)


def test_a_batch_beyond_the_data_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than the 5 training images"):
        SamplePlan(np.arange(5), 0, 6)
