"""Batches on their device: each one once and in order, and one ahead of the step if the loop asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks.parts.small import small_config
from swav_ray.config import replace
from swav_ray.data.batch import Batch
from swav_ray.training.device_batches import DeviceBatches, to_device
from swav_ray.training.learner import Learner
from tests.training.test_loop import PLAN, batches

CPU = torch.device("cpu")


class Source:
    """A feed whose next batch may be late, and what was taken from it."""

    def __init__(self, count: int) -> None:
        self._batches = batches(small_config(), count)
        self.taken: list[int] = []
        self.late = False

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = next(self._batches)
        self.taken.append(batch.step)
        return batch

    def ready(self, seconds: float) -> bool:  # noqa: ARG002
        return not self.late


def on_device(source: Source, count: int) -> DeviceBatches:
    return DeviceBatches(source, source.ready, small_config(), CPU, count=count)


def test_takes_a_batch_when_it_is_asked_for_one() -> None:
    source = Source(3)
    found = on_device(source, 3)
    assert found.next().batch.step == 0
    assert source.taken == [0]


def test_sends_one_batch_ahead_and_never_more_than_there_are() -> None:
    source = Source(3)
    found = on_device(source, 2)
    found.next()
    found.send_next()
    found.send_next()
    assert source.taken == [0, 1]
    assert found.next().batch.step == 1
    found.send_next()
    assert source.taken == [0, 1]


def test_waits_for_no_batch_that_is_late() -> None:
    source = Source(3)
    found = on_device(source, 3)
    found.next()
    source.late = True
    found.send_next()
    assert source.taken == [0]
    assert not found.ready(0.0)


def test_a_batch_that_was_sent_is_ready_though_the_one_after_it_is_late() -> None:
    source = Source(3)
    found = on_device(source, 3)
    found.next()
    found.send_next()
    source.late = True
    assert found.ready(0.0)
    assert found.next().batch.step == 1
    assert not found.ready(0.0)


def test_training_with_the_next_batch_sent_ahead_is_bit_for_bit_the_same() -> None:
    config = small_config()
    ahead, plain = Learner(config, PLAN.steps_per_epoch), Learner(config, PLAN.steps_per_epoch)
    source = Source(6)
    found = on_device(source, 6)
    ahead.meanwhile = found.send_next
    losses, taken = [], []
    for step in range(6):
        losses.append(ahead.step(found.next().crops(config), step).loss)
        taken.append(len(source.taken))
    assert taken == [2, 3, 4, 5, 6, 6]
    assert losses == [plain.step(to_device(batch, config, CPU), batch.step).loss for batch in batches(config, 6)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_a_stream_of_its_own_copies_is_what_the_step_reads() -> None:
    config = replace(small_config(), train={"global_batch_size": 8})
    cuda = torch.device("cuda")
    source = Source(6)
    found = DeviceBatches(source, source.ready, config, cuda, count=6)
    for batch in batches(config, 6):
        sent = found.next()
        found.send_next()
        for got, expected in zip(sent.crops(config), to_device(batch, config, CPU), strict=True):
            torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-6)
