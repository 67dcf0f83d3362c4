"""What names say: a file's kind, its split, its class. Folders, shards, tars and IDX files all say it in one way."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator, Sequence

from swav_ray.data.indexing.external_sort import SortedRows

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".heic", ".heif", ".jp2", ".j2k")
IMAGE_SUFFIXES = frozenset((*PHOTO_SUFFIXES, ".png", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"))
LABEL_COLUMNS = ("label", "labels", "cls", "class", "class_id", "target", "fine_label", "category")
KINDS = {"image": "image files", "parquet": "Parquet shards", "tar": "tars", "idx": "IDX files"}
TRAIN, TEST = 0, 1
SPLITS = ("train", "test")
MOST_CLASSES = 1 << 20  # a larger number is an id and no class: a name for each one below it would be gigabytes

_IDX_NAME = re.compile(r"(images|labels)[-.]idx\d-ubyte(\.gz)?$")
_SPLIT_WORD = re.compile(
    r"(?:^|[-_./])(train|training|val|valid|validation|dev|eval|evaluation|test|testing|t10k)(?=$|[-_./0-9])", re.I
)
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def kind_of(name: str) -> str | None:
    """The kind of a file by its name, None if it is of no use."""
    lower = name.lower()
    suffix = os.path.splitext(lower)[1]
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in (".parquet", ".pq"):
        return "parquet"
    if suffix == ".tar":
        return "tar"
    return "idx" if _IDX_NAME.search(lower) else None


def split_word(name: str) -> str | None:
    """train or test if a name says so: ``train/...``, ``val``, ``test-00000-of-00004.parquet``, ``t10k-images``."""
    found = _SPLIT_WORD.search(name)
    if found is None:
        return None
    return "train" if found[1].lower().startswith("train") else "test"


def splits_of(words: Sequence[str | None]) -> list[int]:
    """TRAIN or TEST of each name from what `split_word` found in it. Without a train among them all are TRAIN."""
    if "train" not in words:
        return [TRAIN] * len(words)
    return [TEST if word == "test" else TRAIN for word in words]


def split_files(files: SortedRows) -> Iterator[tuple[str, int, int]]:
    """Name, size, and TRAIN or TEST by its name, of each of a listing's files; folders that all share say nothing."""
    start = len(common_folder(files.first, files.last))
    has_train = any(
        split_word(name[start:]) == "train" for table in files.tables() for name in table["name"].to_pylist()
    )
    for table in files.tables():
        for name, size in zip(table["name"].to_pylist(), table["size"].to_pylist(), strict=True):
            yield name, size, TEST if has_train and split_word(name[start:]) == "test" else TRAIN


def common_folder(first: str, last: str) -> str:
    """The folder, with its slash, that all of sorted names are in, from the first and the last; empty if none."""
    # By character: commonpath would drop the // and the . that keys may hold.
    shared = os.path.commonprefix([first, last])  # noqa: RUF071
    return shared[: shared.rfind("/") + 1]


def without_negative(words: Iterable[str | None]) -> list[str | None]:
    """The same words. If all of them are whole numbers, those below 0 are no labels, as in most data sets."""
    found = list(words)
    if not all(word is None or _NUMBER.fullmatch(word) for word in found):
        return found
    return [None if word is None or word.startswith("-") else word for word in found]
