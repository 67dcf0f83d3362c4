"""`load_backbone(place)`: anybody's weights as a frozen network with the preprocessing that it was trained with."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from swav_ray.data.crops.center_crop import center_crop
from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.decode import decode, decode_pil
from swav_ray.model.normalize import MEAN, STD, normalize
from swav_ray.run.about import About
from swav_ray.storage.place import Place
from swav_ray.weights.architecture import Architecture, architecture_of, load_exactly
from swav_ray.weights.layouts import PUBLISHED, SOLO_LEARN, Recognised, in_float32, recognise
from swav_ray.weights.open import open_weights

if TYPE_CHECKING:
    from PIL.Image import Image

_TORCHVISION_STD = (0.229, 0.224, 0.225)
_IMAGE_SIZE, _SMALL_IMAGE_SIZE = 224, 32  # of other people's weights, which do not say theirs


@dataclass(frozen=True)
class Preprocess:
    """An image to a network's input, with the functions that training and evaluation use.

    Attributes:
        image_size: side of the centre crop in pixels. mean, std: of the channels, in units of 255.
        decoding: what an encoded file's deep and transparent pixels become.
    """

    image_size: int
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    decoding: Decoding = field(default_factory=Decoding)

    def __call__(self, image: np.ndarray | bytes | Image) -> Tensor:
        """(3, image_size, image_size) float32 of an image: (H, W, 3) uint8, a PIL image, or an encoded file's bytes.

        Raises:
            UnreadableImage: the bytes are no image. ValueError: the array has another shape or type.
        """
        if isinstance(image, bytes):
            array = decode(image, self.decoding)
        elif isinstance(image, np.ndarray):
            array = image
        else:
            array = decode_pil(image, self.decoding)
        crop = torch.from_numpy(center_crop(array, self.image_size))
        return normalize(crop[None], mean=self.mean, std=self.std)[0].contiguous()


@dataclass(frozen=True)
class Origin:
    """Where weights come from and what became of every name in the file.

    Attributes:
        place: the file that was read. sha256: of it.
        layout: what its names look like, in words.
        about: what the file or its run says of itself (run, step, images seen); empty for other people's.
        parts: the trunk and, if there is one, the head, by published names.
    """

    place: str
    sha256: str
    layout: str
    about: About
    parts: Recognised


class Backbone(nn.Module):
    """A trunk in eval mode: normalised images (N, 3, H, W) to features (N, `feature_dim`).

    Attributes:
        preprocess: makes one image ready: `backbone(backbone.preprocess(image)[None])`.
        architecture: of the trunk. origin: of the weights.
    """

    def __init__(self, trunk: nn.Module, architecture: Architecture, preprocess: Preprocess, origin: Origin) -> None:
        super().__init__()
        self.trunk = trunk
        self.architecture, self.preprocess, self.origin = architecture, preprocess, origin
        self.feature_dim = int(trunk.feature_dim)  # type: ignore[arg-type]  # nn.Module says Tensor | Module

    def forward(self, images: Tensor) -> Tensor:
        return self.trunk(images)

    def describe(self) -> str:
        """Lines for people: what was recognised, what every name became, what was left out and why."""
        parts = self.origin.parts
        width = f", {self.architecture.width:g} times as wide" if self.architecture.width != 1 else ""
        if not parts.trunk:
            return f"{self.origin.layout}: {self.feature_dim} features"
        lines = [
            f"{self.origin.place} (sha256 {self.origin.sha256[:12]}): {self.origin.layout}",
            f"{self.architecture.depth}{width}: {self.feature_dim} features; {len(parts.trunk)} tensors of the trunk, "
            f"{len(parts.head)} of the head",
        ]
        lines += [f"  {source} -> {name}" for name, source in sorted(parts.renamed.items()) if source != name]
        lines += [f"  {key}: left out, {why}" for key, why in sorted(parts.left_out.items())]
        return "\n".join(lines)


def load_backbone(
    where: str | Place,
    *,
    which: str = "newest",
    prefix: str | None = None,
    image_size: int | None = None,
    device: torch.device | str = "cpu",
) -> Backbone:
    """A backbone out of a run directory, one checkpoint of ours, or a file of anybody's weights.

    Recognised are the published SwAV checkpoints, VISSL's, solo-learn's, lightly's, torchvision's, timm's ResNets, and
    plain state dicts, as safetensors or as `torch.save` wrote them; nothing in them is executed.

    Args:
        where: a local path, s3://bucket/key, or hf://organisation/name[/file][@revision] (extra `hub`).
        which: of a run's checkpoints: "newest", or "best" by its kNN accuracy.
        prefix: what the trunk's names begin with, needed only if a file holds several networks (a student, a teacher).
        image_size: side of the centre crop in pixels; None: what the run or the file says, else 224, or 32 for a trunk
            with a 3 x 3 first convolution.
        device: where the parameters go.

    Raises:
        WeightsError: there are no weights, or they do not match a known ResNet completely; each name is told.
        PlaceError: the place is of an unknown kind. StorageUnavailable: it does not answer.
    """
    opened = open_weights(where, which)
    name, about = opened.name, opened.about
    parts = recognise(opened.content.tensors, name, prefix)
    architecture = architecture_of(parts.trunk, name, stem_padding=stem_padding(parts, about))
    trunk = architecture.build()
    load_exactly(trunk, in_float32(parts.trunk), name)
    ours = about.run or parts.layout == PUBLISHED
    usual = _SMALL_IMAGE_SIZE if architecture.small_image_stem else _IMAGE_SIZE
    preprocess = Preprocess(
        image_size or about.image_size or usual,
        _channels(about.preprocessing.get("mean"), MEAN),
        _channels(about.preprocessing.get("std"), STD if ours else _TORCHVISION_STD),
        _decoding(about.preprocessing.get("decoding")),
    )
    layout = f"swav_ray, run {about.run}" if about.run else parts.layout
    origin = Origin(name, opened.content.sha256, layout, about, parts)
    return Backbone(trunk.to(device), architecture, preprocess, origin).eval()


def stem_padding(parts: Recognised, about: About) -> int | None:
    """Pixels that a 3 x 3 first convolution pads by, which no shape tells; None if nothing says it."""
    told = about.architecture.get("stem_padding")
    if isinstance(told, int):
        return told
    return 2 if parts.layout == SOLO_LEARN else None


def _channels(told: object, usual: tuple[float, float, float]) -> tuple[float, float, float]:
    """Three figures of a header; the usual ones if it has none."""
    if isinstance(told, list) and len(told) == 3 and all(isinstance(value, float) for value in told):
        return told[0], told[1], told[2]
    return usual


def _decoding(told: object) -> Decoding:
    """The decoding that a header tells; the usual one if it tells none, or one of a later version."""
    if not isinstance(told, dict) or told.keys() - {item.name for item in fields(Decoding)}:
        return Decoding()
    own: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    return Decoding(**own)
