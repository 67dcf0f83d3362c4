"""Which images are trained on, and which are held out of training for evaluation."""

from __future__ import annotations

import numpy as np

from swav_ray.config import ConfigError, DataConfig
from swav_ray.data.manifest import Manifest


def split(manifest: Manifest, data: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """Ids to train on and ids held out for kNN, both ascending.

    Held out is the data set's own test or validation split; if it has none, `data.holdout_fraction` of the images.
    Both need labels.
    """
    train, test = manifest.train_ids(), manifest.test_ids()
    if data.holdout_fraction and not len(test):
        if not (manifest.labels >= 0).any():
            raise ConfigError(
                "data.holdout_fraction", data.holdout_fraction, "needs labels (class folders); set it to 0"
            )
        order = np.random.default_rng(0).permutation(len(train))
        held = round(data.holdout_fraction * len(train))
        train, test = np.sort(train[order[held:]]), np.sort(train[order[:held]])
    labelled = test[manifest.labels[test] >= 0]
    return evenly(train, data.limit), labelled


def check_new(manifest: Manifest, data: DataConfig) -> None:
    """Raises ConfigError if a new run asks for a fraction beside a test split, which `split` would ignore."""
    test = manifest.test_ids()
    if data.holdout_fraction and len(test):
        what = f"the images have a test split of their own ({len(test):,}), which is held out; set it to 0"
        if not (manifest.labels[test] >= 0).any():
            what += ", and give its labels by data.labels"
        raise ConfigError("data.holdout_fraction", data.holdout_fraction, what)


def why_none(manifest: Manifest) -> str:
    """Why no image is held out for kNN, and what to do about it."""
    test = manifest.test_ids()
    if len(test):
        return (
            f"none of the {len(test):,} test images has a label, so there is no kNN; data.labels FILE, a CSV of "
            "name,label, gives them"
        )
    if (manifest.labels >= 0).any():
        return "no images are held out, so there is no kNN; data.holdout_fraction 0.1 holds out a tenth of them"
    return "the images have no labels, so there is no kNN; data.labels FILE, a CSV of name,label, gives them"


def evenly(ids: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` (0: all) of the ids, spread evenly over them, so over the classes of a sorted data set."""
    if not limit or len(ids) <= limit:
        return ids
    return ids[np.arange(limit) * len(ids) // limit]
