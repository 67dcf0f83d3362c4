"""A head computes what the network that it came with computes, with the biases that its library gives it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from swav_ray.weights.head import head_of, heads_of
from swav_ray.weights.layouts import recognise
from swav_ray.weights.read import WeightsError, stored
from tests.weights import foreign


def test_the_head_of_a_file_gives_the_networks_own_scores() -> None:
    network = foreign.model()
    _, tensors = foreign.split(network.state_dict())
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.normalize_prototypes()
        _, (expected,) = network([images])
        scores = head_of(tensors, "x")(network.features(images))
    torch.testing.assert_close(scores, expected)


def test_every_set_of_prototypes_is_a_head_of_one_projection() -> None:
    network = foreign.model(prototypes=(5, 3, 4))
    _, tensors = foreign.split(network.state_dict())
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.normalize_prototypes()
        _, expected = network([images])
        found = [head(network.features(images)) for head in heads_of(tensors, "x")]
    assert [scores.shape[1] for scores in found] == [5, 3, 4]
    torch.testing.assert_close(found, list(expected))


def test_lightlys_head_has_no_first_bias_and_its_prototypes_have_one() -> None:
    network = foreign.model()
    with torch.no_grad():
        network.projection_head[0].bias.zero_()  # type: ignore[index, union-attr, operator]
    file = stored(foreign.saved(foreign.lightly(network.state_dict())), "x")
    head = head_of(recognise(file.tensors, "x").head, "x")
    features = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embeddings = F.normalize(network.projection_head(features), dim=1)
        expected = embeddings @ F.normalize(network.prototype_weights()[0], dim=1).T + torch.arange(5.0)
        torch.testing.assert_close(head(features), expected)


@pytest.mark.parametrize("dropped", ["projection_head.3.weight", "projection_head.1.running_mean"])
def test_a_head_of_another_kind_is_told(dropped: str) -> None:
    _, tensors = foreign.split(foreign.model().state_dict())
    del tensors[dropped]
    with pytest.raises(WeightsError, match="x: its projection head is not SwAV's"):
        head_of(tensors, "x")
    with pytest.raises(WeightsError, match="x: holds no projection head with prototypes, which clusters need"):
        head_of({}, "x")


@pytest.mark.parametrize("prototypes", [torch.ones(5, 3), torch.tensor(1.0)])
def test_a_head_and_prototypes_that_do_not_fit_are_told(prototypes: torch.Tensor) -> None:
    _, tensors = foreign.split(foreign.model().state_dict())
    tensors["prototypes.weight"] = prototypes
    with pytest.raises(WeightsError, match="x: its projection head is not SwAV's"):
        head_of(tensors, "x")
