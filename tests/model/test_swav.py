"""The network: the published names, torchvision's function, the paper's widths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from swav_ray.model.resnet import ResNet
from swav_ray.model.swav import SwAVModel, Trunk

GOLDEN = Path(__file__).parents[1] / "golden" / "swav_trajectory_seed7.npz"


def test_state_has_the_published_names_in_their_order() -> None:
    with np.load(GOLDEN) as recording:
        published = [str(key) for key in recording["state_keys"]]
    assert list(SwAVModel("resnet50", hidden_dim=64, output_dim=16, prototypes=(30,)).state_dict()) == published


@pytest.mark.parametrize("depth", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_trunk_is_torchvisions(depth: str) -> None:
    theirs = getattr(torchvision.models, depth)()
    theirs.fc = torch.nn.Identity()
    ours = ResNet(depth)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize(("width", "millions"), [(2, 94), (4, 375), (5, 586)])
def test_widened_resnet50_has_the_papers_size(width: int, millions: int) -> None:
    """Paper, table 5: RN50-w2 has 94M parameters, w4 375M, w5 586M."""
    with torch.device("meta"):
        trunk = ResNet("resnet50", width=width)
    assert trunk.feature_dim == 2048 * width
    assert sum(p.numel() for p in trunk.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


def test_small_image_stem_keeps_the_resolution() -> None:
    model = ResNet("resnet18", width=0.25, small_image_stem=True)
    stem = model.maxpool(model.relu(model.bn1(model.conv1(torch.randn(1, 3, 28, 28)))))
    assert stem.shape == (1, 16, 28, 28)


def tiny(**changes: object) -> SwAVModel:
    torch.manual_seed(0)
    return SwAVModel("resnet18", width=0.125, **{"hidden_dim": 16, "output_dim": 8, "prototypes": (6,), **changes})


def test_crops_of_one_resolution_share_a_forward() -> None:
    model, calls = tiny(), []
    model.conv1.register_forward_hook(lambda _, args, __: calls.append(tuple(args[0].shape)))
    model([torch.randn(6, 3, 32, 32), torch.randn(12, 3, 16, 16)])
    assert calls == [(6, 3, 32, 32), (12, 3, 16, 16)]


def test_embeddings_and_prototypes_are_unit_vectors() -> None:
    model = tiny()
    model.normalize_prototypes()
    embeddings, (scores,) = model([torch.randn(4, 3, 32, 32)])
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(model.prototype_weights()[0].norm(dim=1), torch.ones(6))
    assert scores.shape == (4, 6)
    assert scores.abs().max() <= 1 + 1e-5


def test_several_prototype_heads() -> None:
    model = tiny(prototypes=(6, 9))
    _, scores = model([torch.randn(4, 3, 32, 32)])
    assert [tuple(head.shape) for head in scores] == [(4, 6), (4, 9)]
    assert {name for name in model.state_dict() if name.startswith("prototypes")} == {
        "prototypes.prototypes0.weight",
        "prototypes.prototypes1.weight",
    }


def test_linear_head() -> None:
    model = tiny(hidden_dim=0)
    assert isinstance(model.projection_head, torch.nn.Linear)
    assert model([torch.randn(2, 3, 32, 32)])[0].shape == (2, 8)


def test_autocast_leaves_embeddings_and_scores_in_float32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        embeddings, (scores,) = tiny()([torch.randn(4, 3, 32, 32)])
    assert embeddings.dtype == scores.dtype == torch.float32


def test_trunk_gives_the_features_without_head() -> None:
    model = tiny().eval()
    assert Trunk(model)(torch.randn(2, 3, 32, 32)).shape == (2, model.feature_dim)
