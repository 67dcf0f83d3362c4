"""Every format by the name that the command line has for it."""

from __future__ import annotations

import difflib

from swav_ray.weights.backbone import Backbone
from swav_ray.weights.export import (
    detectron2,
    mmdet,
    onnx,
    published,
    safetensors,
    timm,
    torch_export,
    torchvision,
)
from swav_ray.weights.export.format import Format
from swav_ray.weights.read import WeightsError

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (torchvision, timm, safetensors, onnx, torch_export, published, detectron2, mmdet)
}


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        WeightsError: there is none; the nearest is named.
    """
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name.lower(), FORMATS, n=1, cutoff=0.4)
    guess = f"did you mean {near[0]}? " if near else ""
    raise WeightsError(f"--format {name}: no such format; {guess}one of {', '.join(FORMATS)}")


def check(kind: Format, backbone: Backbone) -> None:
    """Raises WeightsError if the format cannot hold the backbone, naming those that can."""
    if why := kind.refusal(backbone):
        able = [name for name, other in FORMATS.items() if not other.refusal(backbone)]
        raise WeightsError(f"--format {kind.name}: cannot hold {why}; {', '.join(able)} can")
