"""safetensors: the trunk by torchvision's names, with everything that is known of it in the header."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import safetensors.torch
from torch import Tensor

from swav_ray.data.crops.short_side import short_side
from swav_ray.run.about import About
from swav_ray.weights.backbone import load_backbone
from swav_ray.weights.export.format import Format, zeros
from swav_ray.weights.export.source import Source
from swav_ray.weights.read import WeightsError


def _write(source: Source, file: Path) -> None:
    safetensors.torch.save_file(source.backbone.trunk.state_dict(), file, metadata=_about(source).header())


def _about(source: Source) -> About:
    """What is known of the backbone, its preprocessing and its first convolution included, whoever trained it."""
    backbone = source.backbone
    about, prepare, shape = backbone.origin.about, backbone.preprocess, backbone.architecture
    size = prepare.image_size
    preprocessing = {
        "channels": "RGB",
        "resize_short_side": short_side(size),
        "center_crop": size,
        "mean": prepare.mean,
        "std": prepare.std,
    }
    architecture = {
        "backbone": shape.depth,
        "width": shape.width,
        "small_image_stem": shape.small_image_stem,
        "stem_padding": shape.stem_padding,
        "feature_dim": backbone.feature_dim,
    }
    return replace(
        about,
        image_size=size,
        architecture={**about.architecture, **architecture},
        preprocessing={**about.preprocessing, **preprocessing},
    )


def _outputs(source: Source, file: Path) -> Tensor:
    loaded = load_backbone(str(file))
    if loaded.preprocess != source.backbone.preprocess:
        raise WeightsError(f"safetensors: the file says {loaded.preprocess} instead of {source.backbone.preprocess}")
    return loaded(source.images)


def _loader(source: Source) -> str:
    return (
        "import torch\nfrom swav_ray import load_backbone\n\n"
        "model = load_backbone(FILE)  # model.preprocess prepares an image\n"
        f"features = model({zeros(source)})\n"
    )


def _usage(source: Source) -> str:
    shape = source.backbone.architecture
    return (
        "Without swav_ray: `safetensors.torch.load_file` gives the tensors by torchvision's names. The network is a "
        f"{shape.depth}, {shape.width:g} times as wide, with a {3 if shape.small_image_stem else 7} x "
        f"{3 if shape.small_image_stem else 7} first convolution{' and no max-pool' * shape.small_image_stem}."
    )


FORMAT = Format(
    name="safetensors",
    suffix=".safetensors",
    reader="swav_ray.load_backbone",
    packages=("safetensors",),
    refusal=lambda _: "",
    write=_write,
    outputs=_outputs,
    loader=_loader,
    usage=_usage,
)
