"""What is known of weights beside their tensors: it travels in the header of a run's model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

_ENTRY = "swav_ray"  # of the header, with `About` as JSON


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of weights beside their tensors; the defaults mean: not known.

    Attributes:
        recipe: name that the run's recipe gave it. step, samples_seen: how far it has been trained.
        image_size: side of the images that it is evaluated on, in pixels.
        samples: where the run's list of images lies, which says what was held out of training.
    """

    recipe: str = ""
    step: int = 0
    samples_seen: int = 0
    image_size: int = 0
    samples: str = ""

    @staticmethod
    def of_header(metadata: Mapping[str, str]) -> About:
        """Out of a safetensors header. Entries that a later version adds are passed over."""
        try:
            entry: dict[str, Any] = json.loads(metadata.get(_ENTRY, "{}"))
        except json.JSONDecodeError:
            return About()
        return About(**{item.name: entry[item.name] for item in fields(About) if item.name in entry})

    def header(self) -> dict[str, str]:
        """The same as a safetensors header's entries."""
        return {_ENTRY: json.dumps(asdict(self))}
