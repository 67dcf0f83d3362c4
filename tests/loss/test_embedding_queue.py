"""The queue: newest first, takes part once full."""

from __future__ import annotations

import pytest
import torch

from swav_ray.loss.embedding_queue import EmbeddingQueue


def batch(value: float, rows: int = 2) -> torch.Tensor:
    return torch.full((1, rows, 3), value)


def test_is_full_after_as_many_samples_as_it_is_long() -> None:
    queue = EmbeddingQueue(1, 5, 3)
    fullness = []
    for value in (1.0, 2.0, 3.0):
        queue.push(batch(value))
        fullness.append(queue.full)
    assert fullness == [False, False, True]


def test_keeps_the_newest_rows_in_front() -> None:
    queue = EmbeddingQueue(1, 5, 3)
    for value in (1.0, 2.0, 3.0):
        queue.push(batch(value))
    assert queue.rows[0, :, 0].tolist() == [3.0, 3.0, 2.0, 2.0, 1.0]


def test_comes_back_from_its_state() -> None:
    queue, other = EmbeddingQueue(1, 4, 3), EmbeddingQueue(1, 4, 3)
    queue.push(batch(1.0))
    other.load_state_dict(queue.state_dict())
    assert torch.equal(other.rows, queue.rows)
    assert other.filled == 2


def test_refuses_what_does_not_fit() -> None:
    queue = EmbeddingQueue(1, 4, 3)
    with pytest.raises(ValueError, match="cannot push"):
        queue.push(batch(1.0, rows=5))
    with pytest.raises(ValueError, match="expected"):
        queue.load_state_dict(EmbeddingQueue(1, 6, 3).state_dict())
