"""What an export format is: how it is written, and how its own library reads it back."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from swav_ray.weights.backbone import Backbone
from swav_ray.weights.export.source import Source


def _features(source: Source) -> Tensor:
    return source.features


def at_two_batch_sizes(source: Source) -> Tensor:
    """The features of the images in one batch and, below them, of the first image alone."""
    return torch.cat([source.features, source.features[:1]])


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format.

    Attributes:
        name: as on the command line. suffix: of the file.
        reader: what reads the file back to verify it, in words.
        packages: distributions that writing or verifying needs beside those of the core install.
        holds_program: the network itself is exported, and not only its weights; it may then normalise pixels.
        refusal: why the format cannot hold a backbone; empty if it can.
        write: writes the file.
        outputs: what the reader computes from the file on `source.images`.
        expected: what they must be.
        loader: lines of Python that read the file `FILE` into `model`, and then compute `features`.
        usage: Markdown for the model card: what to set in the target library.
    """

    name: str
    suffix: str
    reader: str
    packages: tuple[str, ...] = ()
    holds_program: bool = False
    refusal: Callable[[Backbone], str]
    write: Callable[[Source, Path], None]
    outputs: Callable[[Source, Path], Tensor]
    expected: Callable[[Source], Tensor] = _features
    loader: Callable[[Source], str]
    usage: Callable[[Source], str]

    def verified_by(self) -> str:
        """The reader with the versions that matter."""
        versions = [f"{name} {importlib.metadata.version(name)}" for name in self.packages or ("torch",)]
        return f"{self.reader} ({', '.join(versions)})"


def plain(backbone: Backbone) -> str:
    """Why a library that has the usual ResNets cannot hold a backbone; empty if it can."""
    width = backbone.architecture.width
    return f"a network {width:g} times as wide" if width != 1 else ""


def usual_stem(backbone: Backbone) -> str:
    """Why a library without a stem for small images cannot hold a backbone; empty if it can."""
    return "a 3 x 3 first convolution" if backbone.architecture.small_image_stem else ""


def zeros(source: Source) -> str:
    """Python that makes a batch of one black image."""
    size = source.backbone.preprocess.image_size
    return f"torch.zeros(1, 3, {size}, {size}{', dtype=torch.uint8' if source.pixels else ''})"


def small_stem(source: Source) -> str:
    """Lines of Python that give torchvision's or timm's ResNet a stem for small images; empty if it needs none."""
    shape = source.backbone.architecture
    if not shape.small_image_stem:
        return ""
    return (
        f"model.conv1 = torch.nn.Conv2d(3, 64, 3, padding={shape.stem_padding}, bias=False)\n"
        "model.maxpool = torch.nn.Identity()\n"
    )


def give_small_stem(model: torch.nn.Module, source: Source) -> None:
    """What the lines of `small_stem` do."""
    shape = source.backbone.architecture
    if shape.small_image_stem:
        model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=shape.stem_padding, bias=False)
        model.maxpool = torch.nn.Identity()
