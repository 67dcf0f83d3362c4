"""A folder or prefix of image files: one sample a file, classes and splits from its sub-folders.

Sees every name twice, since what a folder says depends on all others; neither time are they held.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from swav_ray.data.formats.classes import Classes, Words, mapped
from swav_ray.data.formats.listing import Listing
from swav_ray.data.formats.metadata import read_labels
from swav_ray.data.formats.names import TEST, TRAIN, common_folder, split_word
from swav_ray.data.formats.rows import Rows, RowStream

_TEST_FOLDERS = ("val", "valid", "validation", "dev", "eval", "evaluation", "test", "testing")
_UNLABELLED = ("unlabeled", "unlabelled")  # folders of images without a class, as STL-10 has one
_SPLIT_FOLDERS = frozenset(("train", "training", *_TEST_FOLDERS))


def index_folder(listing: Listing) -> RowStream:
    """Rows of a listing of image files.

    Folders that all images are in say nothing and are skipped. Then ``train/`` beside ``val/``, ``dev/``, ``test/``
    or the like are splits, and the next folder is the class, if images lie in more than one. If folders name no
    classes, a metadata file beside the images may.
    """
    start = len(common_folder(listing.files.first, listing.files.last))
    beside, inside, has_splits = Words(), Words(), False  # classes if there are no splits, and if there are
    for table in listing.files.tables():
        folders = [name.split("/")[:-1] for name in _folders(table, start).unique().to_pylist()]
        has_splits |= any(f and _split_of(f[0]) == "train" for f in folders)
        beside.add(_class_beside(f) for f in folders)
        inside.add(_class_inside(f) for f in folders)
    found = (inside if has_splits else beside).as_folders()  # else a folder called test is a class like any other
    class_of = _class_inside if has_splits else _class_beside

    def label_of(folders: str) -> int:
        word = class_of(folders.split("/")[:-1])
        return -1 if word is None else found.label_of(word)

    of_images, notes = None, found.notes
    if not found.names and listing.metadata:
        of_images, said = _metadata(listing)
        notes += said

    def tables() -> Iterator[pa.Table]:
        for table in listing.files.tables():
            folders = _folders(table, start)
            named = of_images.encode(table["name"]) if of_images else None
            yield Rows(
                uri=table["name"],
                length=table["size"],
                label=named if of_images else mapped(folders, label_of, pa.int32(), -1),
                split=mapped(folders, lambda f: _is_test(f, has_splits), pa.int8(), TRAIN),
                content=table["content"],
            ).table()

    return RowStream(listing.files.num_rows, tables, (of_images or found).names, notes)


def _folders(table: pa.Table, start: int) -> pa.ChunkedArray:
    """The first two folders of each name, each with its slash: all that may say something."""
    names = pc.utf8_slice_codeunits(table["name"], start) if start else table["name"]
    return pc.struct_field(pc.extract_regex(names, r"^(?P<folders>(?:[^/]*/){0,2})"), "folders")


def _split_of(folder: str) -> str | None:
    return split_word(folder) if folder.lower() in _SPLIT_FOLDERS else None


def _is_test(folders: str, has_splits: bool) -> int:
    top, slash, _ = folders.partition("/")
    return TEST if slash and has_splits and _split_of(top) == "test" else TRAIN


def _class_beside(folders: list[str]) -> str | None:
    """The class of an image in these folders if no folder is a split."""
    return folders[0] if folders and folders[0].lower() not in _UNLABELLED else None


def _class_inside(folders: list[str]) -> str | None:
    """The class of an image in these folders, of which the first may be a split."""
    if not folders or folders[0].lower() in _UNLABELLED:
        return None
    inside = folders[1:] if _split_of(folders[0]) else folders
    return inside[0] if inside and inside[0].lower() not in _UNLABELLED else None


def _metadata(listing: Listing) -> tuple[Classes | None, tuple[str, ...]]:
    """Labels of images by their names, from metadata files; None if these have none."""
    word_of, notes = read_labels(listing.place, listing.metadata)
    if not word_of:
        return None, notes
    words = Words()
    for table in listing.files.tables():
        words.add({word_of.get(image) for image in table["name"].to_pylist()})
    if words.are_none:
        return None, (*notes, f"left out {listing.metadata[0]}: names no image that is here")
    found = words.as_names(sort_numbers=True)

    def label_of(image: str) -> int:
        word = word_of.get(image)
        return -1 if word is None else found.label_of(word)

    return Classes(found.names, label_of), (*notes, *found.notes)
