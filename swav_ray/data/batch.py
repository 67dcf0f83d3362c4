"""A batch: the crops of one worker's slice of one step, as flat memory.

Flat, so that it crosses a process boundary without a copy, and so that every crop is a view of it. Training imports
this file, so it needs numpy alone: no torch, no compiled kernels, no image decoder. batches.py makes batches.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from swav_ray.config import CropsConfig
from swav_ray.data.bad_images import BadImage


class BatchFailed(RuntimeError):
    """A batch cannot be made, for a reason that is no image's and no storage's fault, and the run ends with it."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The rows of one worker in one step.

    Attributes:
        step: counted through all epochs.
        sample_ids: (rows,) int64, the planned samples, in order.
        pixels: flat uint8, see `groups`.
        color: flat float32 of (crops, rows, parameters); empty if the crops are coloured already.
        bad: images that were replaced, each with what replaced it.
        seconds: spent reading and cropping.
        bytes_read: from the storage.
        retries: of requests to the storage.
        made_on: names of the machines that made it.
        decode_seconds: of `seconds`, spent decoding; the mean of the threads that made it.
        source_pixels: of its images at their full size, all together.
        changed: images that were written to S3 after the list of images was made.
    """

    step: int
    sample_ids: np.ndarray
    pixels: np.ndarray
    color: np.ndarray
    bad: list[BadImage]
    seconds: float
    bytes_read: int
    retries: int
    made_on: tuple[str, ...] = ()
    decode_seconds: float = 0.0
    source_pixels: int = 0
    changed: int = 0

    def shown_ids(self) -> np.ndarray:
        """(rows,) int64, the samples whose crops these are: a replacement's instead of an unreadable one's."""
        shown = self.sample_ids.copy()
        left = list(self.bad)  # row by row, each row's in the order of its attempts
        for row, planned in enumerate(self.sample_ids.tolist()):
            current = planned
            while left and left[0].sample_id == current:
                stand_in = left.pop(0).replaced_by
                assert stand_in is not None
                current = stand_in
            shown[row] = current
        return shown

    def groups(self, crops: CropsConfig) -> list[np.ndarray]:
        """Views of the crops: for each group (count, rows, size, size, 3) uint8."""
        return crop_views(self.pixels, crops, len(self.sample_ids))

    def colors(self, crops: CropsConfig) -> list[np.ndarray] | None:
        """Views of the colour parameters: for each group (count x rows, parameters); None if the
        crops are coloured already."""
        if not len(self.color):
            return None
        rows = self.color.reshape(crops.total * len(self.sample_ids), -1)
        bounds = np.cumsum(crops.counts)[:-1] * len(self.sample_ids)
        return np.split(rows, bounds)

    def about(self) -> str:
        """Everything but the arrays, as JSON."""
        return json.dumps(
            {
                "step": self.step,
                "seconds": self.seconds,
                "bytes_read": self.bytes_read,
                "retries": self.retries,
                "bad": [vars(bad) for bad in self.bad],
                "made_on": self.made_on,
                "decode_seconds": self.decode_seconds,
                "source_pixels": self.source_pixels,
                "changed": self.changed,
            }
        )

    @staticmethod
    def of(about: str, sample_ids: np.ndarray, pixels: np.ndarray, color: np.ndarray) -> Batch:
        """The inverse of `about` and the arrays."""
        fields = json.loads(about)
        fields["bad"] = [BadImage(**bad) for bad in fields["bad"]]
        fields["made_on"] = tuple(fields["made_on"])
        return Batch(sample_ids=sample_ids, pixels=pixels, color=color, **fields)

    @staticmethod
    def join(parts: list[Batch], crops: CropsConfig) -> Batch:
        """Parts of one step, in order, as one batch; a single part as it is, without a copy."""
        if len(parts) == 1:
            return parts[0]
        if len({part.step for part in parts}) != 1:
            raise ValueError(f"parts of different steps: {[part.step for part in parts]}")
        rows = sum(len(part.sample_ids) for part in parts)
        pixels = np.empty(sum(len(part.pixels) for part in parts), np.uint8)
        of_parts = [part.groups(crops) for part in parts]
        for group, view in enumerate(crop_views(pixels, crops, rows)):
            np.concatenate([groups[group] for groups in of_parts], axis=1, out=view)
        colors = [part.color.reshape(crops.total, len(part.sample_ids), -1) for part in parts if len(part.color)]
        return Batch(
            step=parts[0].step,
            sample_ids=np.concatenate([part.sample_ids for part in parts]),
            pixels=pixels,
            color=np.concatenate(colors, axis=1).reshape(-1) if colors else np.empty(0, np.float32),
            bad=[bad for part in parts for bad in part.bad],
            seconds=sum(part.seconds for part in parts),
            bytes_read=sum(part.bytes_read for part in parts),
            retries=sum(part.retries for part in parts),
            made_on=tuple(dict.fromkeys(name for part in parts for name in part.made_on)),
            decode_seconds=sum(part.decode_seconds for part in parts),
            source_pixels=sum(part.source_pixels for part in parts),
            changed=sum(part.changed for part in parts),
        )


def crop_views(pixels: np.ndarray, crops: CropsConfig, rows: int) -> list[np.ndarray]:
    """Splits flat pixels into (count, rows, size, size, 3) a group, without copying."""
    views, start = [], 0
    for count, size in zip(crops.counts, crops.sizes, strict=True):
        length = count * rows * size * size * 3
        views.append(pixels[start : start + length].reshape(count, rows, size, size, 3))
        start += length
    return views
