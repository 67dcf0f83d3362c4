"""mmdet: what MMDetection, MMPretrain and MMSegmentation load into their `ResNet` (style pytorch).

mmdet needs an mmcv that is compiled for one version of torch. So a plain network by its names, which are torchvision's,
verifies the file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from swav_ray.model.resnet import ResNet
from swav_ray.weights.export.format import Format, usual_stem, zeros
from swav_ray.weights.export.source import Source


def _write(source: Source, file: Path) -> None:
    torch.save({"state_dict": source.backbone.trunk.state_dict(), "meta": {}}, file)


def _outputs(source: Source, file: Path) -> Tensor:
    shape = source.backbone.architecture
    model = ResNet(shape.depth, width=shape.width)
    model.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
    return model.eval()(source.images)


def _arguments(source: Source) -> str:
    shape = source.backbone.architecture
    channels = round(64 * shape.width)
    widened = f"stem_channels={channels}, base_channels={channels}, " if shape.width != 1 else ""
    return f'depth={int(shape.depth.removeprefix("resnet"))}, {widened}style="pytorch"'


def _loader(source: Source) -> str:
    return (
        "import torch\nfrom mmdet.models.backbones import ResNet\n\n"
        f'model = ResNet({_arguments(source)}, init_cfg=dict(type="Pretrained", checkpoint=FILE))\n'
        "model.init_weights()\n"
        "model.eval()  # returns nothing in mmdet\n"
        f"features = model({zeros(source)})[-1].mean((2, 3))\n"
    )


def _usage(source: Source) -> str:
    prepare = source.backbone.preprocess
    mean, std = ([round(255 * value, 4) for value in values] for values in (prepare.mean, prepare.std))
    return (
        "In a config, with the path of this file. Pixels are RGB in 0..255 there.\n\n```python\n"
        "model = dict(\n"
        f'    data_preprocessor=dict(type="DetDataPreprocessor", mean={mean}, std={std}, bgr_to_rgb=True),\n'
        f'    backbone=dict(type="ResNet", {_arguments(source)}, frozen_stages=-1,\n'
        '                  norm_cfg=dict(type="SyncBN", requires_grad=True), norm_eval=False,\n'
        '                  init_cfg=dict(type="Pretrained", checkpoint="FILE")),\n'
        ")\n```"
    )


FORMAT = Format(
    name="mmdet",
    suffix=".pth",
    reader="a plain network by mmdet's names, not mmdet itself",
    refusal=usual_stem,
    write=_write,
    outputs=_outputs,
    loader=_loader,
    usage=_usage,
)
