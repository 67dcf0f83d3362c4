"""Files with the names and shapes of other people's checkpoints give the features of torchvision's own network.

The network that holds the numbers is torchvision's, so that nothing of this package makes what it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

from swav_ray.model.resnet import ResNet
from swav_ray.storage.place import place
from swav_ray.weights.architecture import Architecture, architecture_of, load_exactly
from swav_ray.weights.backbone import load_backbone
from swav_ray.weights.layouts import recognise
from swav_ray.weights.read import WeightsError
from tests.weights import foreign

PLAIN = "a ResNet as torchvision and timm name it"
State = dict[str, Tensor]
IMAGES = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
LAYERS = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "3.weight", "3.bias")


def network(build: Callable[..., nn.Module] = torchvision.models.resnet18) -> nn.Module:
    """torchvision's network with running statistics that are not those of its start, without a classifier."""
    torch.manual_seed(0)
    made = build(weights=None)
    made.fc = nn.Identity()
    made.train()
    made(torch.randn(4, 3, 48, 48))
    return made.eval()


def head(features: int, prototypes: tuple[int, ...] = (30,), hidden: int = 20, dim: int = 8) -> State:
    """A projection head and prototypes by published names."""
    shapes = {"0": (hidden, features), "1": (hidden,), "3": (dim, hidden)}
    state = {
        f"projection_head.{layer}": torch.rand(
            shapes[layer[0]] if layer.endswith(".weight") else (shapes[layer[0]][0],)
        )
        for layer in LAYERS
    }
    state["projection_head.1.num_batches_tracked"] = torch.tensor(1)
    if len(prototypes) == 1:
        return state | {"prototypes.weight": torch.rand(prototypes[0], dim)}
    return state | {f"prototypes.prototypes{index}.weight": torch.rand(k, dim) for index, k in enumerate(prototypes)}


def bare(state: State) -> Any:
    return state


def inner_state_dict(state: State) -> Any:
    return {"epoch": 3, "state_dict": state}


def vissl_trunk_alone(state: State) -> Any:
    trunk, _ = foreign.split(state)
    return {"model_state_dict": {f"_feature_blocks.{name}": value for name, value in trunk.items()}}


def lightly_before_heads(state: State) -> Any:
    """lightly's names before 1.2: one head, whose layer has no bias."""
    content = foreign.lightly(state)["state_dict"]
    renamed = {name.replace("prototypes.heads.0.", "prototypes.layers."): value for name, value in content.items()}
    return {"state_dict": {name: value for name, value in renamed.items() if name != "prototypes.layers.bias"}}


def solo_learn_encoder(state: State) -> Any:
    """solo-learn's names before it called the encoder a backbone."""
    content = foreign.solo_learn(state)["state_dict"]
    return {"state_dict": {name.replace("backbone.", "encoder."): value for name, value in content.items()}}


def openmmlab(state: State) -> Any:
    trunk, _ = foreign.split(state)
    head = {"head.fc.weight": torch.zeros(3, 512), "head.fc.bias": torch.zeros(3)}
    return {"meta": {"epoch": 1}, "state_dict": {f"backbone.{name}": value for name, value in trunk.items()} | head}


def with_classifier(state: State) -> Any:
    trunk, _ = foreign.split(state)
    return trunk | {"fc.weight": torch.zeros(3, 512), "fc.bias": torch.zeros(3)}


LAYOUTS = {
    "published": (foreign.published, "SwAV as published"),
    "state_dict without module": (inner_state_dict, "SwAV as published"),
    "bare": (bare, "SwAV as published"),
    "VISSL": (foreign.vissl, "VISSL"),
    "VISSL's trunk": (vissl_trunk_alone, "VISSL"),
    "solo-learn": (foreign.solo_learn, "solo-learn"),
    "solo-learn, encoder": (solo_learn_encoder, "solo-learn"),
    "lightly": (foreign.lightly, "lightly"),
    "lightly before 1.2": (lightly_before_heads, "lightly"),
    "OpenMMLab": (openmmlab, PLAIN),
    "torchvision": (with_classifier, PLAIN),
}


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return network()


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_torchvisions_features(tmp_path: Path, resnet18: nn.Module, name: str) -> None:
    write, layout = LAYOUTS[name]
    (tmp_path / "x.pth").write_bytes(foreign.saved(write(dict(resnet18.state_dict()) | head(512))))
    backbone = load_backbone(str(tmp_path / "x.pth"))
    assert backbone.origin.layout == layout
    with torch.no_grad():
        assert torch.equal(backbone(IMAGES), resnet18(IMAGES))
    if layout != PLAIN and "trunk" not in name:
        assert {"projection_head.3.weight", "prototypes.weight"} <= backbone.origin.parts.head.keys()


def test_safetensors_give_the_same(tmp_path: Path, resnet18: nn.Module) -> None:
    safetensors.torch.save_file(resnet18.state_dict(), tmp_path / "x.safetensors")
    with torch.no_grad():
        assert torch.equal(load_backbone(str(tmp_path / "x.safetensors"))(IMAGES), resnet18(IMAGES))


def test_the_published_resnet50_with_its_head_and_several_prototype_heads(tmp_path: Path) -> None:
    resnet50 = network(torchvision.models.resnet50)
    state = dict(resnet50.state_dict()) | head(2048, prototypes=(30, 20, 10), hidden=2048, dim=128)
    (tmp_path / "x.pth.tar").write_bytes(foreign.saved(foreign.published(state)))
    backbone = load_backbone(str(tmp_path / "x.pth.tar"))
    with torch.no_grad():
        assert torch.equal(backbone(IMAGES), resnet50(IMAGES))
    assert backbone.feature_dim == 2048
    assert backbone.preprocess.std == (0.228, 0.224, 0.225)
    heads = {name for name in backbone.origin.parts.head if name.startswith("prototypes.")}
    assert heads == {f"prototypes.prototypes{index}.weight" for index in range(3)}


@pytest.mark.parametrize("name", ["resnet18", "resnet26", "resnet18d"])
def test_timms_resnets(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, num_classes=5).eval()
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    if name == "resnet18":
        with torch.no_grad():
            expected = theirs.forward_head(theirs.forward_features(IMAGES), pre_logits=True)
            assert torch.equal(load_backbone(str(tmp_path / "x.pth"))(IMAGES), expected)
    else:
        told = {"resnet26": r"stages of \(2, 2, 2, 2\) bottleneck blocks are none of", "resnet18d": "in its stem"}
        with pytest.raises(WeightsError, match=told[name]):
            load_backbone(str(tmp_path / "x.pth"))


@pytest.mark.parametrize("width", [1, 2, 4, 5])
@pytest.mark.parametrize("depth", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_depth_and_the_published_widths_are_told_by_shapes(depth: str, width: int) -> None:
    with torch.device("meta"):
        state = ResNet(depth, width=width).state_dict()
    assert architecture_of(recognise(state, "x").trunk, "x") == Architecture(depth, width, False, 3)


def test_torchvisions_wide_resnet_is_no_wide_swav_and_each_tensor_is_named() -> None:
    """It widens the inner layer of each block alone."""
    with torch.device("meta"):
        state = torchvision.models.wide_resnet50_2().state_dict()
    parts = recognise(state, "x")
    made = architecture_of(parts.trunk, "x")
    with pytest.raises(WeightsError, match=r"of another shape: layer1\.0\.bn1\.bias \(128,\) instead of \(64,\), "):
        load_exactly(made.build(), parts.trunk, "x")


@pytest.mark.parametrize("build", [torchvision.models.vit_b_16, lambda: timm.create_model("vit_tiny_patch16_224")])
def test_a_transformer_is_told(build: Callable[[], nn.Module]) -> None:
    with torch.device("meta"):
        state = build().state_dict()
    with pytest.raises(WeightsError, match="x: holds a transformer; this package knows ResNets alone"):
        recognise(state, "x")


def test_no_classifier_is_made_up(tmp_path: Path, resnet18: nn.Module) -> None:
    (tmp_path / "x.pth").write_bytes(foreign.saved(with_classifier(dict(resnet18.state_dict()))))
    backbone = load_backbone(str(tmp_path / "x.pth"))
    assert [module for module in backbone.modules() if isinstance(module, nn.Linear)] == []
    assert backbone(IMAGES).shape == (2, 512)


@pytest.mark.s3
def test_a_file_on_s3(s3: str, resnet18: nn.Module) -> None:
    (place(s3) / "weights" / "x.pth").write_bytes(foreign.saved(dict(resnet18.state_dict())))
    backbone = load_backbone(f"{s3}/weights/x.pth")
    assert backbone.origin.place == f"{s3}/weights/x.pth"
    with torch.no_grad():
        assert torch.equal(backbone(IMAGES), resnet18(IMAGES))
    with pytest.raises(WeightsError, match="holds no weights"):
        load_backbone(f"{s3}/weights/y.pth")
