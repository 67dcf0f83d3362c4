"""What is known of weights beside their tensors: it travels in the header of a run's model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

_ENTRY = "swav_ray"  # of the header, with `About` as JSON


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of weights beside their tensors; the defaults mean: not known.

    Attributes:
        run: name of the run. step, epochs, samples_seen: how far it has been trained.
        knn_top1: percent, if it was measured with the checkpoint.
        image_size: side of the images that it is evaluated on, in pixels.
        samples: where the run's list of images lies.
        held_out: where the list of images lies that it did not train on.
        architecture: of trunk and head, by the names of the config's section `model`, with `feature_dim` and the first
            convolution's `stem_padding` in pixels.
        preprocessing: `decoding` (the settings of deep and transparent images), `resize_short_side` and `center_crop`
            in pixels, `interpolation`, `channels`, and `mean` and `std` of images in 0..1.
        config: the run's settings, section by section: the recipe that it was trained by.
        init: `place`, `sha256` and `layout` of the weights that the run started from; empty if they were random.
    """

    run: str = ""
    step: int = 0
    epochs: float = 0.0
    samples_seen: int = 0
    knn_top1: float = 0.0
    image_size: int = 0
    samples: str = ""
    held_out: str = ""
    architecture: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    init: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of_header(metadata: Mapping[str, str]) -> About:
        """Out of a safetensors header. Entries that a later version adds are passed over."""
        try:
            entry = json.loads(metadata.get(_ENTRY, "{}"))
        except json.JSONDecodeError:
            return About()
        if not isinstance(entry, dict):
            return About()
        # Of another type than its default, an entry is no word of this package.
        own = {item.name: entry.get(item.name, item.default) for item in fields(About)}
        return About(**{name: value for name, value in own.items() if type(value) is type(getattr(About(), name))})

    def header(self) -> dict[str, str]:
        """The same as a safetensors header's entries."""
        return {"format": "pt", _ENTRY: json.dumps(asdict(self))}  # some readers refuse a file without a format

    def over(self, other: About) -> About:
        """What this one knows, and what only the other one knows."""
        own = {item.name: getattr(self, item.name) for item in fields(About)}
        return About(**{name: value or getattr(other, name) for name, value in own.items()})
