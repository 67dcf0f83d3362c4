"""published: trunk, projection head and prototypes as the SwAV authors' scripts read them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from swav_ray.model.swav import SwAVModel
from swav_ray.weights.backbone import Backbone
from swav_ray.weights.export.format import Format, zeros
from swav_ray.weights.export.source import Source
from swav_ray.weights.head import head_of
from swav_ray.weights.layouts import in_float32
from swav_ray.weights.read import WeightsError

_WIDTHS = (1, 2, 4, 5)  # the authors' resnet50, resnet50w2, resnet50w4 and resnet50w5


def _refusal(backbone: Backbone) -> str:
    shape = backbone.architecture
    if shape.depth != "resnet50" or shape.width not in _WIDTHS or shape.small_image_stem:
        stem = ", 3 x 3 stem" if shape.small_image_stem else ""
        width = f", {shape.width:g} times as wide" if shape.width != 1 else ""
        return f"a {shape.depth}{width}{stem} (the authors' code builds a ResNet-50, 1, 2, 4 or 5 times as wide)"
    return ""


def _head(source: Source) -> dict[str, Tensor]:
    """The head by published names.

    Raises:
        WeightsError: there is none, or it has parts that the published code has not.
    """
    origin = source.backbone.origin
    head = in_float32(origin.parts.head)
    if not any(name.startswith("prototypes.") for name in head) or not any(
        name.startswith("projection_head.") for name in head
    ):
        raise WeightsError(
            f"{origin.place}: holds no projection head with prototypes, which the format published needs; "
            "torchvision, timm and safetensors hold a trunk alone"
        )
    if any(name.startswith("prototypes.") and name.endswith("bias") and head[name].any() for name in head):
        raise WeightsError(f"{origin.place}: its prototypes have a bias, which the published code has not")
    head = {name: value for name, value in head.items() if not name.startswith("prototypes.") or "weight" in name}
    if "projection_head.0.weight" in head:  # some libraries leave it out before BatchNorm: a bias of 0 is the same
        head.setdefault("projection_head.0.bias", torch.zeros(len(head["projection_head.0.weight"])))
    return head


def _write(source: Source, file: Path) -> None:
    network = source.backbone.trunk.state_dict() | _head(source)
    torch.save({f"module.{name}": tensor for name, tensor in network.items()}, file)


def _expected(source: Source) -> Tensor:
    """(5, feature_dim + K): features, and scores of the first head's prototypes."""
    head = head_of(_head(source), source.backbone.origin.place)
    return torch.cat([source.features, head(source.features)], dim=1)


def _outputs(source: Source, file: Path) -> Tensor:
    state = {name.removeprefix("module."): tensor for name, tensor in torch.load(file, weights_only=True).items()}
    last = max(name for name in state if name.startswith("projection_head.") and name.endswith(".weight"))
    prototypes = [len(state[name]) for name in sorted(state) if name.startswith("prototypes.")]
    shape = source.backbone.architecture
    with torch.device("meta"):
        model = SwAVModel(
            shape.depth,
            width=shape.width,
            hidden_dim=len(state["projection_head.0.weight"]) if last != "projection_head.weight" else 0,
            output_dim=len(state[last]),
            prototypes=prototypes,
        )
    model.load_state_dict(state, assign=True)
    features = model.eval().features(source.images)
    model.normalize_prototypes()
    embeddings = torch.nn.functional.normalize(model.projection_head(features), dim=1)
    return torch.cat([features, embeddings @ model.prototype_weights()[0].T], dim=1)


def _loader(source: Source) -> str:
    return (
        "import torch\nfrom swav_ray import load_backbone\n\n"
        "model = load_backbone(FILE)  # the SwAV authors' scripts take the same file\n"
        f"features = model({zeros(source)})\n"
    )


def _usage(source: Source) -> str:
    width = source.backbone.architecture.width
    arch = "resnet50" if width == 1 else f"resnet50w{width:g}"
    return (
        "The SwAV authors' scripts take the file as it is: `python eval_linear.py --pretrained FILE --arch "
        f"{arch}`, `python eval_semisup.py --pretrained FILE --arch {arch}`. It holds the projection head and "
        "the prototypes, too."
    )


FORMAT = Format(
    name="published",
    suffix=".pth.tar",
    reader="a plain network by the published names, trunk and head, which loads strictly",
    refusal=_refusal,
    write=_write,
    outputs=_outputs,
    expected=_expected,
    loader=_loader,
    usage=_usage,
)
