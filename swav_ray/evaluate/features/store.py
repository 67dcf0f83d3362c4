"""Features of a place's images on disk, extracted once and read by every protocol: Parquet keyed by sample id.

A folder holds `features.json`, which says of what it is, and a part for every `PART_ROWS` samples, whole or absent.
What is missing is the work that is left: an interrupted extraction resumes, and any process may write any part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from swav_ray.evaluate.errors import EvaluationError
from swav_ray.features.parts import Parts, claim
from swav_ray.storage.place import Place
from swav_ray.storage.prefetch import prefetched

ABOUT = "features.json"
PART_ROWS = 512
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class FeaturesOf:
    """Whose features they are. Equal for equal features, so its hash names their folder.

    Attributes:
        weights: sha256 of the file of weights.
        layer: "pooled" (the average-pooled output of the trunk).
        image_size: side of the centre crop in pixels. mean, std: what the images were normalised with.
        root, fingerprint: the place and what it held.
        samples: digest of the sample ids, as `sample_plan.digest`.
        feature_dim: length of a feature.
        precision: of the network, as of `embedding.embed`.
        decoding: how images became 8-bit RGB, field by field of `Decoding`.
    """

    weights: str
    layer: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    root: str
    fingerprint: str
    samples: str
    feature_dim: int
    precision: str
    decoding: Mapping[str, Any]
    format: int = _FORMAT

    def digest(self) -> str:
        """Sixteen hex digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class FeatureStore:
    """The features of some images of a place by one backbone.

    Args:
        folder: of all features of a backbone; this store's own folder in it is named by `of`.
        of: whose features they are.
        sample_ids: of the images, (N,) int64 ascending.

    Raises:
        EvaluationError: the folder there holds something else.
    """

    def __init__(self, folder: Place, of: FeaturesOf, sample_ids: np.ndarray) -> None:
        self.of, self._sample_ids = of, np.asarray(sample_ids)
        self.folder = folder / of.digest()
        self._parts = Parts(self.folder, len(self._sample_ids), PART_ROWS)
        if not claim(self.folder / ABOUT, asdict(of)):
            raise EvaluationError(f"{self.folder}: holds other features; give another --out or delete it")

    @property
    def parts(self) -> int:
        """Number of parts of the whole."""
        return len(self._parts)

    def ids(self, part: int) -> np.ndarray:
        """Sample ids of a part, int64."""
        return self._sample_ids[self._parts.span(part)]

    def missing(self) -> list[int]:
        """Parts that are not there yet, or whose images could not all be read: storage may be back."""
        return self._parts.missing()

    def is_made(self, part: int) -> bool:
        """Whether a part is not among `missing`."""
        return self._parts.has(part)

    def write(self, part: int, features: np.ndarray, reasons: Sequence[str | None], *, again: bool = False) -> None:
        """Writes a part, whole.

        Args:
            features: (rows, feature_dim) float32, in the order of `ids`; rows of unreadable images are not looked at.
            reasons: why an image could not be read, or None for a readable one.
            again: another try may read more of them, so this part is used now and counts as missing later.
        """
        readable = pa.array([reason is None for reason in reasons])
        flat = pa.array(np.ascontiguousarray(features, np.float32).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, self.of.feature_dim, mask=pa.compute.invert(readable))
        table = pa.table(
            {"sample_id": self.ids(part), "feature": column, "reason": pa.array(list(reasons), pa.string())}
        )
        self._parts.write(part, table, again=again)

    def read(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """Features of these samples, and which of them are readable.

        Args:
            wanted: sample ids of this store, ascending.

        Returns:
            (readable, feature_dim) float32; their positions in `wanted`, int64; and why the others are not readable, by
            sample id.

        Raises:
            EvaluationError: a part is missing.
        """
        places = np.searchsorted(self._sample_ids, wanted)
        # Filled in place: a million features of a wide network are gigabytes, and there must not be two of them.
        features = np.empty((len(wanted), self.of.feature_dim), np.float32)
        positions, filled = np.empty(len(wanted), np.int64), 0
        unreadable: dict[int, str] = {}
        parts = np.unique(places // PART_ROWS).tolist()
        answers = map(self._part, parts) if self.folder.is_local else prefetched(self._part, parts)
        for part, (values, readable, reasons) in zip(parts, answers, strict=True):
            inside = np.flatnonzero(places // PART_ROWS == part)
            rows = places[inside] - part * PART_ROWS
            keep = readable[rows]
            end = filled + int(keep.sum())
            features[filled:end], positions[filled:end] = values[rows[keep]], inside[keep]
            filled = end
            unreadable |= {int(wanted[at]): reasons[row] for at, row in zip(inside[~keep], rows[~keep], strict=True)}
        return features[:filled], positions[:filled], unreadable

    def _part(self, part: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """All rows of a part, (rows, feature_dim), which are readable, and why not: the others hold anything."""
        table = self._read(part, ["feature", "reason"])
        column = table["feature"].combine_chunks()
        values = column.values.to_numpy(zero_copy_only=False).reshape(-1, self.of.feature_dim)
        return values, np.asarray(column.is_valid()), table["reason"].to_pylist()

    def _read(self, part: int, columns: list[str]) -> pa.Table:
        try:
            return self._parts.read(part, columns)
        except FileNotFoundError as error:
            raise EvaluationError(f"{error}; run the extraction again") from None
