"""What is known of weights beside their tensors: it travels in the header of a run's model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

_ENTRY = "swav_ray"  # of the header, with `About` as JSON


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of weights beside their tensors; the defaults mean: not known.

    Attributes:
        run: name of the run. step, samples_seen: how far it has been trained.
        image_size: side of the images that it is evaluated on, in pixels.
        samples: where the run's list of images lies, which says what was held out of training.
    """

    run: str = ""
    step: int = 0
    samples_seen: int = 0
    image_size: int = 0
    samples: str = ""

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
        return {_ENTRY: json.dumps(asdict(self))}
