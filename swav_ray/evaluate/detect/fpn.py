"""Mask R-CNN on a feature pyramid (Lin et al., 2017; He et al., 2017): all four stages, boxes and perhaps masks."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from swav_ray.evaluate.detect.levels import fixed_levels, stride_of
from swav_ray.evaluate.detect.settings import Settings

_CHANNELS, _BOX_FEATURES = 256, 1024  # of the usual pyramid and box head
_USUAL_BOX = 224.0  # pixels of a side in an image of 800: boxes like this are pooled from layer3's level
_STAGES = (1, 2, 3, 4)


def mask_rcnn(trunk: Any, classes: int, settings: Settings, *, masks: bool) -> FasterRCNN:
    """A detector on a trunk, whose parts it takes; without `masks` it is Faster R-CNN."""
    # A narrow trunk gets narrow heads: at the usual width they alone would be a hundred times its size.
    channels = min(_CHANNELS, trunk.feature_dim // 2)
    features = min(_BOX_FEATURES, 2 * trunk.feature_dim)
    pyramid = BackboneWithFPN(
        trunk,
        return_layers={f"layer{stage}": str(stage - 1) for stage in _STAGES},
        in_channels_list=[trunk.feature_dim // 2 ** (4 - stage) for stage in _STAGES],
        out_channels=channels,
        norm_layer=nn.BatchNorm2d,
    )
    strides = [stride_of(trunk, stage) for stage in _STAGES]
    sizes = tuple((round(side * settings.scale),) for side in (32, 64, 128, 256, 512))
    pool = _pool(7, strides, settings)
    parts: dict[str, Any] = {
        "rpn_anchor_generator": AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        "rpn_batch_size_per_image": settings.anchors,
        "box_roi_pool": pool,
        "box_head": TwoMLPHead(channels * 7 * 7, features),
        "box_predictor": FastRCNNPredictor(features, classes + 1),
        "box_batch_size_per_image": settings.rois,
        "box_detections_per_img": settings.detections,
    }
    if not masks:
        return FasterRCNN(pyramid, **parts)
    return MaskRCNN(
        pyramid,
        mask_roi_pool=_pool(14, strides, settings),
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, classes + 1),
        **parts,
    )


def _pool(cells: int, strides: list[int], settings: Settings) -> MultiScaleRoIAlign:
    pool = MultiScaleRoIAlign([str(stage - 1) for stage in _STAGES], cells, sampling_ratio=0)
    fixed_levels(pool, strides, usual_box=_USUAL_BOX * settings.scale)
    return pool
