"""A folder or prefix of image files: one sample a file, classes and splits from its sub-folders."""

from __future__ import annotations

import pyarrow as pa

from swav_ray.data.formats.listing import Listing
from swav_ray.data.formats.metadata import labels_of
from swav_ray.data.formats.names import chunked, common_folder, encode_labels, split_word, splits_of
from swav_ray.data.formats.rows import Rows

_TEST_FOLDERS = ("val", "valid", "validation", "dev", "eval", "evaluation", "test", "testing")
_UNLABELLED = ("unlabeled", "unlabelled")  # folders of images without a class, as STL-10 has one
_SPLIT_FOLDERS = frozenset(("train", "training", *_TEST_FOLDERS))


def index_folder(listing: Listing) -> Rows:
    """Rows of a listing of image files.

    Folders that all images are in say nothing and are skipped. Then ``train/`` beside ``val/``, ``dev/``, ``test/``
    or the like are splits, and the next folder is the class, if images lie in more than one. If folders name no
    classes, a metadata file beside the images may.
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
        if not has_splits:
            return [f[0] if f and f[0].lower() not in _UNLABELLED else None for f in folders]
        return [_class_in(f, words) for f in folders]

    labels, classes = encode_labels(classes_of(part) for part in chunked(names))
    notes: tuple[str, ...] = ()
    if len(classes) < 2:
        labels, classes = None, []
        if listing.metadata:
            named, notes = labels_of(listing.place, listing.metadata, names.to_pylist())
            if named is not None:
                numbers = all(word is None or word.isdecimal() for word in named)
                labels, classes = encode_labels([named], int if numbers else None)
    return Rows(
        uri=names,
        length=listing.files["size"],
        label=labels,
        split=pa.chunked_array(splits, pa.int8()),
        content=listing.files["content"],
        classes=classes,
        notes=notes,
    )


def _class_in(folders: list[str], words: dict[str, str | None]) -> str | None:
    """The class of an image in these folders, of which the first may be a split."""
    if not folders or folders[0].lower() in _UNLABELLED:
        return None
    inside = folders[1:] if words[folders[0]] else folders
    return inside[0] if inside and inside[0].lower() not in _UNLABELLED else None
