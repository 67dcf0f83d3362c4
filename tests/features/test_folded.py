"""A folded trunk gives the features of the one that it is a copy of, and leaves that one as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from swav_ray.features.folded import folded
from swav_ray.model.resnet import ResNet
from swav_ray.run.about import About
from swav_ray.weights.architecture import Architecture
from swav_ray.weights.backbone import Backbone, Origin, Preprocess
from swav_ray.weights.layouts import Recognised


def trained(depth: str, *, small_image_stem: bool) -> Backbone:
    """With statistics and affine parameters that are not those of a new network."""
    torch.manual_seed(0)
    trunk = ResNet(depth, width=0.25, small_image_stem=small_image_stem)
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.3, 2)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    parts = Recognised("x", dict(trunk.state_dict()), {}, {}, {})
    architecture = Architecture(depth, 0.25, small_image_stem, 1)
    return Backbone(trunk, architecture, Preprocess(48), Origin("x", "0" * 64, "x", About(), parts)).eval()


@pytest.mark.parametrize("small_image_stem", [False, True])
@pytest.mark.parametrize("depth", ["resnet18", "resnet50"])
def test_features_are_those_of_the_trunk_to_float32s_rounding(depth: str, small_image_stem: bool) -> None:
    backbone = trained(depth, small_image_stem=small_image_stem)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    images = torch.randn(5, 3, 48, 48)
    with torch.inference_mode():
        expected, found = backbone(images), folded(backbone)(images)
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


def test_nothing_but_convolutions_is_left_to_compute_and_no_second_copy_of_the_file() -> None:
    made = folded(trained("resnet50", small_image_stem=False))
    assert not [module for module in made.modules() if isinstance(module, nn.BatchNorm2d)]
    assert made.origin.parts.trunk == {}
    assert not made.training
