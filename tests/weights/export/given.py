"""Backbones to export: small ones, of real files of weights."""

from __future__ import annotations

from pathlib import Path

import torch

from swav_ray.model.swav import SwAVModel
from swav_ray.weights.backbone import Backbone, load_backbone
from tests.weights import foreign

SIZE = 40  # of images


def backbone(folder: Path, depth: str = "resnet18", width: float = 1.0, *, small: bool = False) -> Backbone:
    """A network with a head, whose BatchNorms have seen some images, as a run writes it."""
    file = folder / f"{depth}-{width:g}-{small}.safetensors"
    torch.manual_seed(0)
    network = SwAVModel(depth, width=width, small_image_stem=small, hidden_dim=6, output_dim=4, prototypes=(5,))
    network([torch.randn(4, 3, 32, 32)])
    file.write_bytes(foreign.saved(network.state_dict()))
    return load_backbone(str(file), image_size=SIZE)
