"""Faster R-CNN on C4 (Ren et al., 2015; He et al., 2016): proposals on layer3, and layer4 on each of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from swav_ray.evaluate.detect.levels import fixed_levels, stride_of
from swav_ray.evaluate.detect.settings import Settings

_POOLED = 14  # cells of a side that layer4 gets of each proposal


def faster_rcnn(trunk: Any, classes: int, settings: Settings) -> FasterRCNN:
    """A detector on a trunk, whose parts it takes."""
    anchors = tuple(round(side * settings.scale) for side in (32, 64, 128, 256, 512))
    pool = MultiScaleRoIAlign(["0"], _POOLED, sampling_ratio=0)
    fixed_levels(pool, [stride_of(trunk, 3)])
    return FasterRCNN(
        _ThreeStages(trunk),
        rpn_anchor_generator=AnchorGenerator((anchors,), ((0.5, 1.0, 2.0),)),
        # One level has all the anchors: Detectron2's own numbers for C4.
        rpn_pre_nms_top_n_train=12_000,
        rpn_pre_nms_top_n_test=6_000,
        rpn_batch_size_per_image=settings.anchors,
        box_roi_pool=pool,
        box_head=_LastStage(trunk),
        box_predictor=FastRCNNPredictor(trunk.feature_dim, classes + 1),
        box_batch_size_per_image=settings.rois,
        box_detections_per_img=settings.detections,
    )


class _ThreeStages(nn.Module):
    """Images to the map of layer3, by the trunk's own names."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = trunk.conv1, trunk.bn1, trunk.relu, trunk.maxpool
        self.layer1, self.layer2, self.layer3 = trunk.layer1, trunk.layer2, trunk.layer3
        self.out_channels = trunk.feature_dim // 2

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer3(self.layer2(self.layer1(x)))


class _LastStage(nn.Module):
    """Pooled maps of proposals, (R, C, 14, 14), to their features: layer4, BatchNorm, the mean over cells."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.layer4 = trunk.layer4
        self.norm = nn.BatchNorm2d(trunk.feature_dim)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.norm(self.layer4(pooled)).mean(dim=(2, 3))
