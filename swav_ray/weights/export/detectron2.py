"""detectron2: its names (`stem.conv1.norm`, `res2.0.shortcut`) in a file of tensors, without a pickle of anything else.

detectron2 is not on PyPI. So a plain network with its names verifies the file (`detectron2_names`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from swav_ray.model.resnet import DEPTHS, BasicBlock
from swav_ray.weights.backbone import Backbone
from swav_ray.weights.export.detectron2_names import Trunk
from swav_ray.weights.export.format import Format, usual_stem, zeros
from swav_ray.weights.export.source import Source


def _refusal(backbone: Backbone) -> str:
    shape = backbone.architecture
    if usual_stem(backbone):
        return usual_stem(backbone)
    if DEPTHS[shape.depth][0] is BasicBlock and shape.width != 1:
        return f"a {shape.depth} {shape.width:g} times as wide"
    return ""


def _renamed(name: str) -> str:
    name = name if name.startswith("layer") else f"stem.{name}"
    name = re.sub(r"layer([1-4])", lambda found: f"res{int(found[1]) + 1}", name)
    name = re.sub(r"\bbn([1-3])\b", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def _write(source: Source, file: Path) -> None:
    state = source.backbone.trunk.state_dict()
    model = {_renamed(name): tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    torch.save({"model": model, "__author__": "swav_ray", "matching_heuristics": True}, file)


def _outputs(source: Source, file: Path) -> Tensor:
    state = torch.load(file, weights_only=True)["model"]
    trunk = Trunk(*DEPTHS[source.backbone.architecture.depth], stem=len(state["stem.conv1.weight"]))
    trunk.load_state_dict(state)
    return trunk.eval()(source.images)


def _settings(source: Source) -> dict[str, Any]:
    """What differs from detectron2's defaults, by dotted name. Pixels are RGB in 0..255 there."""
    shape, prepare = source.backbone.architecture, source.backbone.preprocess
    channels = round(64 * shape.width)
    return {
        "MODEL.PIXEL_MEAN": [round(255 * value, 4) for value in prepare.mean],
        "MODEL.PIXEL_STD": [round(255 * value, 4) for value in prepare.std],
        "MODEL.RESNETS.DEPTH": int(shape.depth.removeprefix("resnet")),
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": channels,
        "MODEL.RESNETS.WIDTH_PER_GROUP": channels,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": channels * DEPTHS[shape.depth][0].expansion,
        "INPUT.FORMAT": "RGB",
    }


def _loader(source: Source) -> str:
    options = [part for name, value in _settings(source).items() for part in (name, value)]
    options += ["MODEL.RESNETS.OUT_FEATURES", ["res5"], "MODEL.DEVICE", "cpu"]
    return (
        "import torch\n"
        "from detectron2.checkpoint import DetectionCheckpointer\n"
        "from detectron2.config import get_cfg\n"
        "from detectron2.modeling import build_backbone\n\n"
        "cfg = get_cfg()\n"
        f"cfg.merge_from_list({options!r})\n"
        "model = build_backbone(cfg).eval()\n"
        "DetectionCheckpointer(model).load(FILE)\n"
        f'features = model({zeros(source)})["res5"].mean((2, 3))\n'
    )


def _usage(source: Source) -> str:
    return (
        "Set `MODEL.WEIGHTS` to this file, and these. **`INPUT.FORMAT` must be RGB**: detectron2's default is BGR.\n\n"
        "```yaml\n" + _as_yaml(_settings(source)) + "```\n\n"
        "Fine-tune with `MODEL.RESNETS.NORM: SyncBN`, as the paper does. detectron2's default, frozen BatchNorm, is "
        "meant for the networks that it ships."
    )


def _as_yaml(settings: dict[str, Any]) -> str:
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        *sections, last = name.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return yaml.safe_dump(nested, sort_keys=False, default_flow_style=None)


FORMAT = Format(
    name="detectron2",
    suffix=".pth",
    reader="a plain network by detectron2's names, not detectron2 itself, which is not on PyPI",
    refusal=_refusal,
    write=_write,
    outputs=_outputs,
    loader=_loader,
    usage=_usage,
)
