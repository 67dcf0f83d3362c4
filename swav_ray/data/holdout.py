"""Which images are trained on, and which are held out of training for evaluation.

Byte-identical images never lie on both sides, as far as the manifest knows them (contents.py): a list that an earlier
version wrote knows none, so a run that began with it keeps its split.
"""

from __future__ import annotations

import numpy as np

from swav_ray.config import ConfigError, DataConfig
from swav_ray.data.contents import first_of_equals
from swav_ray.data.formats.names import TEST, TRAIN
from swav_ray.data.indexing.partitions import Partitions
from swav_ray.data.manifest import Manifest
from swav_ray.data.order.selected_ids import Evenly, HeldOut, Ids, LookedUp, NotHeldOut, SplitIds
from swav_ray.data.twins import compared

_NO_LABELS = "needs labels (class folders); set it to 0"
_LOOKED_AT = 8  # times as many ids as are wanted, to find labelled ones among them


def split_ids(manifest: Manifest, data: DataConfig) -> tuple[Ids, Ids]:
    """Ids to train on and ids held out for kNN, as `split` finds them; looked up if the list is in partitions.

    There byte-identical images are not searched for, and of `data.holdout_fraction` 1/n, one of n neighbours is held
    out. Raises ConfigError.
    """
    if not isinstance(manifest.table, Partitions):
        return split(manifest, data)
    train: LookedUp = SplitIds(manifest.table, TRAIN)
    test: LookedUp = SplitIds(manifest.table, TEST, labelled=True)
    if data.holdout_fraction and not manifest.count(TEST):
        if not manifest.count(TRAIN, labelled=True):
            raise ConfigError("data.holdout_fraction", data.holdout_fraction, _NO_LABELS)
        every = max(2, round(1 / data.holdout_fraction))
        train, test = NotHeldOut(train, every), HeldOut(train, every)
    if data.limit and data.limit < len(train):
        train = Evenly(train, data.limit)
    return train, test


def split(manifest: Manifest, data: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """Ids to train on and ids held out for kNN, both ascending.

    Held out is the data set's own test or validation split, without images that have a byte-identical twin among those
    that are trained on. If it has none, `data.holdout_fraction` of the images is held out, copies with the first of
    them. Both need labels.
    """
    train, test = manifest.train_ids(), manifest.test_ids()
    if data.holdout_fraction and not len(test):
        if not (manifest.labels >= 0).any():
            raise ConfigError("data.holdout_fraction", data.holdout_fraction, _NO_LABELS)
        chosen = np.zeros(len(train), bool)
        order = np.random.default_rng(0).permutation(len(train))
        chosen[order[: round(data.holdout_fraction * len(train))]] = True
        if manifest.contents is not None:
            chosen = chosen[first_of_equals(manifest.contents[train])]
        train, test = train[~chosen], train[chosen]
    train, test = evenly(train, data.limit), _labelled(manifest, test)
    return train, test[~_is_in(manifest, test, train)]


def twins(manifest: Manifest, data: DataConfig) -> int:
    """How many labelled images of the test split are not held out, since a training image is byte-identical."""
    if isinstance(manifest.table, Partitions):
        return 0
    test = _labelled(manifest, manifest.test_ids())
    return int(_is_in(manifest, test, split(manifest, data)[0]).sum())


def with_twins(manifest: Manifest, data: DataConfig) -> tuple[Manifest, str]:
    """The manifest with what its split needs to know of byte-identical images, and a note if that cannot be known."""
    if isinstance(manifest.table, Partitions):
        held = len(manifest.table.in_split) and (manifest.count(TEST, labelled=True) or data.holdout_fraction)
        return manifest, f"byte-identical images among {len(manifest):,} are not searched for" if held else ""
    train, test = manifest.train_ids(), manifest.test_ids()
    if len(test):
        return compared(manifest, train, _labelled(manifest, test))
    return compared(manifest, train, train) if data.holdout_fraction else (manifest, "")


def _labelled(manifest: Manifest, ids: np.ndarray) -> np.ndarray:
    return ids[manifest.labels[ids] >= 0]


def _is_in(manifest: Manifest, ids: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(len(ids),) bool: whether an image is byte-identical to one of others, as far as that is known."""
    contents = manifest.contents
    if contents is None:
        return np.zeros(len(ids), bool)
    own: np.ndarray = contents[ids]
    return (own != 0) & np.isin(own, contents[others])


def check_new(manifest: Manifest, data: DataConfig) -> None:
    """Raises ConfigError if a new run asks for a fraction beside a test split, which `split` would ignore."""
    test = manifest.count(TEST)
    if data.holdout_fraction and test:
        what = f"the images have a test split of their own ({test:,}), which is held out; set it to 0"
        if not manifest.count(TEST, labelled=True):
            what += ", and give its labels by data.labels"
        raise ConfigError("data.holdout_fraction", data.holdout_fraction, what)


def why_none(manifest: Manifest) -> str:
    """Why no image is held out for kNN, and what to do about it."""
    if manifest.count(TEST, labelled=True):
        return "every test image that has a label is a copy of a training image, so there is no kNN"
    if test := manifest.count(TEST):
        return (
            f"none of the {test:,} test images has a label, so there is no kNN; data.labels FILE, a CSV of "
            "name,label, gives them"
        )
    if manifest.count(TRAIN, labelled=True):
        return "no images are held out, so there is no kNN; data.holdout_fraction 0.1 holds out a tenth of them"
    return "the images have no labels, so there is no kNN; data.labels FILE, a CSV of name,label, gives them"


def evenly(ids: Ids, limit: int) -> np.ndarray:
    """At most `limit` (0: all) of the ids, spread evenly over them, so over the classes of a sorted data set."""
    if not limit or len(ids) <= limit:
        return ids if isinstance(ids, np.ndarray) else ids[np.arange(len(ids))]
    return ids[np.arange(limit) * len(ids) // limit]


def labelled(manifest: Manifest, ids: Ids, limit: int) -> np.ndarray:
    """At most `limit` of the ids that have a label, spread evenly over them.

    Of ids that are looked up only some are looked at; if few of them have a label, fewer are found.
    """
    candidates = ids if isinstance(ids, np.ndarray) else evenly(ids, limit * _LOOKED_AT)
    return evenly(candidates[manifest.labels_of(candidates) >= 0], limit)


def has_labels(manifest: Manifest, ids: Ids) -> bool:
    """Whether any of the ids has a label; of ids that are looked up: any of the training samples."""
    if isinstance(ids, np.ndarray):
        return bool((manifest.labels_of(ids) >= 0).any())
    return manifest.count(TRAIN, labelled=True) > 0
