"""A folder or prefix of image files: one sample a file, classes and splits from its sub-folders."""

from __future__ import annotations

import pyarrow as pa

from swav_ray.data.listing import Listing, chunked, common_folder, encode_labels, split_word, splits_of
from swav_ray.data.rows import Rows

_TRAIN_WORDS = ("train", "training")


def index_folder(listing: Listing) -> Rows:
    """Rows of a listing of image files.

    Folders that all images share say nothing and are skipped. Then ``train/`` beside ``val/``, ``validation/`` or
    ``test/`` are splits, and the next folder is the class, where images lie in more than one.
    """
    names = listing.files["name"].combine_chunks() if listing.files.num_rows else listing.files["name"]
    names = pa.chunked_array([names]) if isinstance(names, pa.Array) else names
    start = len(common_folder(names))
    tops = {name[start:].split("/", 1)[0] for part in chunked(names) for name in part if "/" in name[start:]}
    words = {top: split_word(top) if _is_split(top) else None for top in tops}
    has_splits = "train" in words.values()
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


def _is_split(folder: str) -> bool:
    """Whether a folder's whole name is a split's; a class may be called ``train_station``."""
    lower = folder.lower()
    return lower in (*_TRAIN_WORDS, "val", "valid", "validation", "test", "testing")
