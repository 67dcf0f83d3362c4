"""Tensors get back the value that they had when they were taken."""

from __future__ import annotations

import torch

from swav_ray.training.saved import Saved


def test_tensors_of_any_type_get_back_their_values_as_often_as_asked() -> None:
    mean, count = torch.ones(3), torch.tensor(1)
    saved = Saved([mean, count])
    for _ in range(2):
        mean.fill_(torch.nan)
        count += 5
        saved.put_back()
        assert mean.tolist() == [1.0, 1.0, 1.0]
        assert count.item() == 1


def test_what_was_taken_last_counts() -> None:
    mean = torch.zeros(2)
    saved = Saved([mean])
    mean.fill_(7.0)
    saved.take()
    mean.fill_(8.0)
    saved.put_back()
    assert mean.tolist() == [7.0, 7.0]
