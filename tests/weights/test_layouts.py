"""Every layout of other people's files becomes the published names, tensor for tensor; nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from swav_ray.weights.architecture import Architecture, architecture_of, load_exactly
from swav_ray.weights.layouts import recognise
from swav_ray.weights.read import WeightsError, stored
from tests.weights import foreign


@pytest.mark.parametrize(
    ("layout", "write"),
    [
        ("SwAV as published", lambda state: state),
        ("SwAV as published", foreign.published),
        ("VISSL", foreign.vissl),
        ("solo-learn", foreign.solo_learn),
        ("lightly", foreign.lightly),
    ],
)
@pytest.mark.parametrize("prototypes", [(5,), (5, 3)])
def test_a_layout_holds_the_same_trunk_and_head_by_published_names(
    layout: str, write: Callable[[Any], Any], prototypes: tuple[int, ...]
) -> None:
    if layout == "solo-learn" and len(prototypes) > 1:
        prototypes = (5,)  # it has one head
    network = foreign.model(prototypes=prototypes)
    state = network.state_dict()
    parts = recognise(stored(foreign.saved(write(state)), "x.pth").tensors, "x.pth")
    assert parts.layout == layout
    trunk, head = foreign.split(state)
    assert parts.trunk.keys() == trunk.keys()
    assert all(torch.equal(parts.trunk[name], trunk[name]) for name in trunk)
    if layout == "lightly":
        del head["projection_head.0.bias"]
        head |= {name.replace("weight", "bias"): torch.arange(float(n)) for name, n in biases(head)}
    assert parts.head.keys() == head.keys()
    for name in head:
        torch.testing.assert_close(parts.head[name], head[name])


def biases(head: dict[str, torch.Tensor]) -> list[tuple[str, int]]:
    return [(name, len(value)) for name, value in head.items() if name.startswith("prototypes.")]


def test_what_is_no_part_of_a_backbone_is_named_with_its_reason() -> None:
    state = foreign.model().state_dict()
    parts = recognise(stored(foreign.saved(foreign.solo_learn(state)), "x").tensors, "x")
    assert parts.left_out == {
        "state_dict.classifier.weight": "a classifier, which is no part of a backbone",
        "state_dict.queue": "a queue of embeddings",
    }


def test_two_networks_in_a_file_are_a_choice_for_the_user() -> None:
    trunk, _ = foreign.split(foreign.model().state_dict())
    both = {f"{who}.{name}": tensor for who in ("student", "teacher") for name, tensor in trunk.items()}
    with pytest.raises(WeightsError, match=r"x: holds 2 networks; give prefix= one of 'student\.', 'teacher\.'"):
        recognise(both, "x")
    parts = recognise(both, "x", prefix="teacher.")
    assert parts.renamed["conv1.weight"] == "teacher.conv1.weight"
    with pytest.raises(WeightsError, match=r"no ResNet below 'pupil\.'; give prefix= one of"):
        recognise(both, "x", prefix="pupil.")


def test_a_file_without_a_resnet_says_what_its_names_are() -> None:
    with pytest.raises(WeightsError, match=r"x: holds no ResNet that is known .* begin with blocks\.0\.weight"):
        recognise({"blocks.0.weight": torch.zeros(1)}, "x")


@pytest.mark.parametrize(("width", "small"), [(0.125, True), (0.125, False), (0.25, False)])
def test_width_and_stem_are_told_by_shapes(width: float, small: bool) -> None:
    trunk, _ = foreign.split(foreign.model(width, small=small).state_dict())
    assert architecture_of(trunk, "x") == Architecture("resnet18", width, small, 1 if small else 3)


def test_a_trunk_that_does_not_match_completely_is_refused_with_each_name() -> None:
    trunk, _ = foreign.split(foreign.model().state_dict())
    trunk["layer1.0.conv9.weight"] = trunk.pop("layer1.0.bn1.weight")
    trunk["layer2.0.conv1.weight"] = torch.zeros(3, 3, 3, 3)
    del trunk["bn1.num_batches_tracked"]  # old files have none
    network = architecture_of(trunk, "x").build()
    with pytest.raises(WeightsError) as refused:
        load_exactly(network, trunk, "x")
    assert str(refused.value) == (
        "x: the trunk does not match; missing: layer1.0.bn1.weight; unexpected: layer1.0.conv9.weight; "
        "of another shape: layer2.0.conv1.weight (3, 3, 3, 3) instead of (16, 8, 3, 3)"
    )


def test_stages_of_no_known_resnet_are_refused() -> None:
    trunk, _ = foreign.split(foreign.model().state_dict())
    cut = {name: tensor for name, tensor in trunk.items() if not name.startswith("layer3.1.")}
    with pytest.raises(WeightsError, match=r"x: stages of \(2, 2, 1, 2\) basic blocks are none of resnet18"):
        architecture_of(cut, "x")


@pytest.mark.parametrize("name", ["layer2.0.bn1.running_var", "prototypes.weight"])
def test_values_that_are_not_finite_are_refused_by_name(name: str) -> None:
    trunk, head = foreign.split(foreign.model().state_dict())
    tensors = trunk | head
    tensors[name] = torch.full_like(tensors[name], torch.inf)
    with pytest.raises(WeightsError, match=f"^x: {name} holds values that are not finite; give an earlier checkpoint$"):
        recognise(tensors, "x")


def test_a_first_convolution_without_filters_is_none() -> None:
    trunk, _ = foreign.split(foreign.model().state_dict())
    with pytest.raises(WeightsError, match=r"x: conv1\.weight is \(0, 3, 7, 7\) of torch\.float32, no convolution's"):
        architecture_of(trunk | {"conv1.weight": torch.zeros(0, 3, 7, 7)}, "x")
