"""A format that cannot hold a network says why and which can; one that does not exist has a nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.weights.export.formats import FORMATS, check, format_named
from swav_ray.weights.read import WeightsError
from tests.weights.export.given import backbone


@pytest.mark.parametrize(
    ("name", "depth", "width", "small", "why"),
    [
        ("torchvision", "resnet50", 2.0, False, "cannot hold a network 2 times as wide"),
        ("timm", "resnet18", 0.25, False, "cannot hold a network 0.25 times as wide"),
        (
            "published",
            "resnet18",
            1.0,
            False,
            r"cannot hold a resnet18 \(the authors' code builds a ResNet-50, 1, 2,",
        ),
        ("published", "resnet50", 0.5, False, r"cannot hold a resnet50, 0.5 times as wide \(the authors'"),
        ("detectron2", "resnet18", 1.0, True, "cannot hold a 3 x 3 first convolution"),
        ("detectron2", "resnet18", 0.5, False, "cannot hold a resnet18 0.5 times as wide"),
        ("mmdet", "resnet18", 1.0, True, "cannot hold a 3 x 3 first convolution"),
    ],
)
def test_what_a_library_cannot_hold_is_refused(
    tmp_path: Path, name: str, depth: str, width: float, small: bool, why: str
) -> None:
    given = backbone(tmp_path, depth, width, small=small)
    with pytest.raises(WeightsError, match=why) as refused:
        check(FORMATS[name], given)
    able = str(refused.value).rpartition("; ")[2].removesuffix(" can").split(", ")
    assert {"safetensors", "onnx", "torch.export"} <= set(able)
    for other in able:
        check(FORMATS[other], given)


@pytest.mark.parametrize(
    ("wrong", "right"), [("torchvison", "torchvision"), ("ONNX", "onnx"), ("torchscript", "torch")]
)
def test_the_nearest_name_is_told(wrong: str, right: str) -> None:
    with pytest.raises(WeightsError, match=f"--format {wrong}: no such format; did you mean {right}"):
        format_named(wrong)
