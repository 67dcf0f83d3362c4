"""How far weights moved is told a stage at a time, by the norm of the difference over the norm at the start."""

from __future__ import annotations

import math

import pytest
import torch

from swav_ray.weights.movement import moved
from tests.weights import foreign


def test_a_stage_that_doubled_moved_by_its_own_norm_and_the_others_stood_still() -> None:
    before = foreign.model().state_dict()
    after = {name: 2 * value if name.startswith("layer2.") else value for name, value in before.items()}
    found = moved(before, after)
    assert list(found) == ["stem", "layer1", "layer2", "layer3", "layer4", "projection_head", "prototypes"]
    assert found.pop("layer2") == pytest.approx(1.0)
    assert set(found.values()) == {0.0}


def test_it_is_the_norm_over_a_stages_tensors_together() -> None:
    before = {"layer1.0.conv1.weight": torch.tensor([3.0]), "layer1.0.bn1.bias": torch.tensor([4.0])}
    after = {"layer1.0.conv1.weight": torch.tensor([3.0]), "layer1.0.bn1.bias": torch.tensor([6.0])}
    assert moved(before, after) == {"layer1": pytest.approx(2 / 5)}


def test_prototypes_count_by_direction() -> None:
    before = {"prototypes.weight": torch.tensor([[1.0, 0.0], [0.0, 5.0]])}
    assert moved(before, {"prototypes.weight": 7 * before["prototypes.weight"]}) == {"prototypes": 0.0}
    turned = {"prototypes.weight": torch.tensor([[-1.0, 0.0], [0.0, 5.0]])}
    assert moved(before, turned) == {"prototypes": pytest.approx(math.sqrt(2))}


def test_running_statistics_and_what_has_no_counterpart_are_left_out() -> None:
    before = {"bn1.running_mean": torch.ones(2), "conv1.weight": torch.ones(2), "prototypes.weight": torch.ones(3, 2)}
    after = {"bn1.running_mean": torch.zeros(2), "conv1.weight": torch.ones(2), "prototypes.weight": torch.ones(4, 2)}
    assert moved(before, after) == {"stem": 0.0}


def test_a_stage_that_began_at_zero_has_no_relative_movement() -> None:
    found = moved({"projection_head.bias": torch.zeros(2)}, {"projection_head.bias": torch.ones(2)})
    assert math.isnan(found["projection_head"])
