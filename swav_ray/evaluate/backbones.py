"""What can be judged: anybody's weights, the same network untrained, and raw pixels to stand beside them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swav_ray.model.resnet import ResNet
from swav_ray.weights.backbone import Backbone, load_backbone
from swav_ray.weights.layouts import Recognised

UNTRAINED, PIXELS = "untrained:", "pixels:"
_SIDE = 16  # of the raw pixels that are compared


def backbone_of(word: str, **chosen: Any) -> Backbone:
    """The backbone of a word of the command line.

    Args:
        word: a place of weights; `untrained:PLACE`, the network of that place with fresh weights; or `pixels:PLACE`,
            the pixels of the images that this network would be given, averaged down to 16 x 16.
        chosen: further arguments of `load_backbone`.

    Raises:
        WeightsError: as `load_backbone`.
    """
    for prefix, make in ((UNTRAINED, _untrained), (PIXELS, _pixels)):
        if word.startswith(prefix):
            return make(load_backbone(word.removeprefix(prefix), **chosen))
    return load_backbone(word, **chosen)


def _untrained(trained: Backbone) -> Backbone:
    """The same network, its weights drawn from seed 0."""
    shape = trained.architecture
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = ResNet(shape.depth, width=shape.width, small_image_stem=shape.small_image_stem).eval()
    trunk.conv1.padding = (shape.stem_padding, shape.stem_padding)
    name = f"untrained {shape.depth}, width {shape.width:g}, {'small' if shape.small_image_stem else 'usual'} stem"
    return _like(trained, trunk, name)


class _Pixels(nn.Module):
    feature_dim = 3 * _SIDE * _SIDE

    def forward(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, _SIDE).flatten(1)


def _pixels(trained: Backbone) -> Backbone:
    return _like(trained, _Pixels(), f"pixels of {_SIDE} x {_SIDE}")


def _like(trained: Backbone, trunk: nn.Module, what: str) -> Backbone:
    """A trunk with the preprocessing of another one and without its head; its digest stands for what it is."""
    parts = Recognised(what, {}, {}, {}, {})
    digest = hashlib.sha256(what.encode()).hexdigest()
    origin = replace(trained.origin, place=what, sha256=digest, layout=what, parts=parts)
    return Backbone(trunk, trained.architecture, trained.preprocess, origin).eval()
