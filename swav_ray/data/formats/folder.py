"""A folder or prefix of image files: one sample a file, classes and splits from its sub-folders."""

from __future__ import annotations

import pyarrow as pa

from swav_ray.data.formats.listing import Listing
from swav_ray.data.formats.names import chunked, common_folder, encode_labels, split_word, splits_of
from swav_ray.data.formats.rows import Rows

_TEST_FOLDERS = ("val", "valid", "validation", "dev", "eval", "evaluation", "test", "testing")
_SPLIT_FOLDERS = frozenset(("train", "training", *_TEST_FOLDERS))


def index_folder(listing: Listing) -> Rows:
    """Rows of a listing of image files.

    Folders that all images are in say nothing and are skipped. Then ``train/`` beside ``val/``, ``dev/``, ``test/``
    or the like are splits, and the next folder is the class, if images lie in more than one.
    """
    names = listing.files["name"]
    start = len(common_folder(names))
    tops = {name[start:].split("/", 1)[0] for part in chunked(names) for name in part if "/" in name[start:]}
    words = {top: split_word(top) if top.lower() in _SPLIT_FOLDERS else None for top in tops}
    has_splits = "train" in words.values()  # else a folder called test is a class like any other
    split_of_top = dict(zip(words, splits_of(list(words.values())), strict=True))

    splits: list[pa.Array] = []

    def classes_of(part: list[str]) -> list[str | None]:
        folders = [name[start:].split("/")[:-1] for name in part]
        splits.append(pa.array([split_of_top[f[0]] if f else 0 for f in folders], pa.int8()))
        depth = [1 if has_splits and f and words[f[0]] else 0 for f in folders]
        return [f[d] if len(f) > d else None for f, d in zip(folders, depth, strict=True)]

    labels, classes = encode_labels(classes_of(part) for part in chunked(names))
    if len(classes) < 2:
        labels, classes = None, []
    return Rows(
        uri=names,
        length=listing.files["size"],
        label=labels,
        split=pa.chunked_array(splits, pa.int8()),
        classes=classes,
    )
