"""Byte-identical images: links, copies, and the same photo under two names."""

from __future__ import annotations

import numpy as np

from swav_ray.data.contents import DIGEST, content_digest
from swav_ray.data.manifest import Manifest
from swav_ray.data.sources import read_samples

_READ_TOGETHER = 512  # samples


def equal_rows(digests: np.ndarray) -> list[list[int]]:
    """Sets of two or more rows that are equal and not zero, in the order of their first."""
    keys = digests.reshape(-1).view(f"V{DIGEST}")
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
    sets = [rows for rows in np.split(order, bounds) if len(rows) > 1 and digests[rows[0]].any()]
    return sorted(rows.tolist() for rows in sets)


def without_copies(manifest: Manifest) -> np.ndarray:
    """Sample ids, ascending, without those that are equal to another: of equals the first stays, of the test split if
    one is in it. Reads every image. What cannot be read stays.

    Raises:
        StorageUnavailable: the storage does not answer.
    """
    digests = np.zeros((len(manifest), DIGEST), np.uint8)
    for start in range(0, len(manifest), _READ_TOGETHER):
        ids = np.arange(start, min(start + _READ_TOGETHER, len(manifest)))
        for sample_id, sample in zip(ids, read_samples(manifest, ids), strict=True):
            if not isinstance(sample, Exception):
                digests[sample_id] = content_digest(sample)
    test = set(manifest.test_ids().tolist())
    left_out = []
    for equal in equal_rows(digests):
        stays = next((sample for sample in equal if sample in test), equal[0])
        left_out += [sample for sample in equal if sample != stays]
    return np.setdiff1d(np.arange(len(manifest)), left_out)
