"""A packed trunk gives a folded one's features; where torch cannot pack, the folded one stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from swav_ray.features.embedding import BF16, batch_of
from swav_ray.features.folded import folded
from swav_ray.features.packed import PackedConv2d, on_device, packed
from tests.features.test_folded import trained

CPU = torch.device("cpu")


@pytest.mark.parametrize("small_image_stem", [False, True])
@pytest.mark.parametrize("depth", ["resnet18", "resnet50"])
def test_features_are_those_of_the_folded_trunk_for_any_number_of_images(depth: str, small_image_stem: bool) -> None:
    backbone = folded(trained(depth, small_image_stem=small_image_stem))
    made = packed(backbone, 64)
    for count in (1, 5, 64):
        images = torch.randn(count, 3, 48, 48).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            expected, found = backbone(images), made(images)
        assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())
    assert not [module for module in backbone.modules() if isinstance(module, PackedConv2d)]


def test_every_convolution_is_packed_on_a_cpu_in_float32_alone() -> None:
    """Fails if a new torch moves the operators: then features take up to half as much time again."""
    backbone = folded(trained("resnet50", small_image_stem=False))
    assert not [module for module in on_device(backbone, CPU).modules() if isinstance(module, nn.Conv2d)]
    assert on_device(backbone, CPU, BF16) is backbone


def test_a_torch_that_packs_otherwise_or_wrongly_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = folded(trained("resnet18", small_image_stem=True))

    def missing(self: PackedConv2d, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("schema")

    def wrong(self: PackedConv2d, x: torch.Tensor) -> torch.Tensor:
        return 1.01 * whole(self, x)

    whole = PackedConv2d.forward
    for forward in (missing, wrong):
        monkeypatch.setattr(PackedConv2d, "forward", forward)
        assert packed(backbone, batch_of(48, CPU)) is backbone
