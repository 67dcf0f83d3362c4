"""WebDataset tars, and plain ones: one sample an image member, read later as one byte range.

A member's key is its path up to the first dot of its name; ``KEY.cls`` or ``KEY.json`` anywhere in the tar gives the
label of ``KEY.jpg``, else the member's folder does. Indexing reads every header, on S3 by streaming the tar once.
"""

from __future__ import annotations

import io
import json
import os.path
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from swav_ray.data.formats.classes import Words
from swav_ray.data.formats.listing import Listing
from swav_ray.data.formats.names import IMAGE_SUFFIXES, PHOTO_SUFFIXES, split_files
from swav_ray.data.formats.rows import Rows, RowStream
from swav_ray.data.formats.spooled import WORD, labelled
from swav_ray.data.indexing.temporary import Spool
from swav_ray.storage.place import Place, PlaceError
from swav_ray.storage.prefetch import prefetched
from swav_ray.storage.ranges import RangeFile

_READ_AHEAD = 4 << 20  # bytes of a request to S3; larger members are skipped without reading them
_READ_AHEAD_LOCAL = 8 << 10
_AT_A_TIME = 8  # tars that are read
_FOLDER = "folder"  # a column beside those of a manifest
_NUMBER = re.compile(r"-?[0-9]{1,18}")  # labels that are longer are names
_COMPRESSED = {b"\x1f\x8b": "gzipped", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_IMAGE_WORDS = frozenset(("image", "images", "img", "imgs", "photo", "photos", "rgb", "input", "inputs"))
_MASK_WORDS = frozenset(("mask", "masks", "seg", "segmentation", "label", "labels", "depth", "target", "gt"))
_MASK_STEM = re.compile(rf"(.+)[_-](?:{'|'.join(_MASK_WORDS)})", re.I)  # a_mask beside a
_LABEL_KEYS = ("label", "cls", "class", "class_id", "target")


class _Image(NamedTuple):
    """An image member; a TarInfo has ten times the size."""

    name: str
    offset: int
    size: int


@dataclass
class _Sample:
    """What has been seen of one key, in whatever order its members lie."""

    images: list[_Image] = field(default_factory=list)
    label: str | None = None
    labels: int = 0  # members
    others: int = 0


@dataclass
class _Contents:
    """What one tar holds, a column each."""

    offset: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    label: list[str | None] = field(default_factory=list)
    folder: list[str | None] = field(default_factory=list)
    others: int = 0
    beside: int = 0  # images that lie beside the one of their key


def index_tars(listing: Listing, progress: Callable[[int], None] | None = None) -> RowStream:
    """Rows of a listing of tars, tar after tar, in each in the order of its members."""
    rows, words, folders = Spool(), Words(), Words()
    others = beside = 0

    def scan(file: tuple[str, int, int]) -> tuple[str, int, _Contents]:
        name, size, split = file
        return name, split, _scan(listing.place / name, size)

    for name, split, tar in prefetched(scan, split_files(listing.files), at_a_time=_AT_A_TIME):
        seen = set(tar.label)
        words.add(seen, are_numbers=all(word is None or _NUMBER.fullmatch(word) for word in seen))
        folders.add(tar.folder)
        rows.add(_rows(name, split, tar))
        others, beside = others + tar.others, beside + tar.beside
        if progress is not None:
            progress(rows.num_rows)
    if not rows.num_rows:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise PlaceError(f"{listing.place}: its {listing.files.num_rows:,} tars hold no image ({suffixes})")
    if words.are_none:
        return labelled(rows, folders.as_folders(), _notes(others, beside), column=_FOLDER)
    return labelled(rows, words.as_labels([]), _notes(others, beside))


def _notes(others: int, beside: int) -> tuple[str, ...]:
    notes = []
    if others:
        notes.append(f"left out {others:,} members of the tars that are neither images nor labels")
    if beside:
        notes.append(
            f"left out {beside:,} images that lie beside the image of their key, as masks do: a key has one image"
        )
    return tuple(notes)


def _rows(name: str, split: int, tar: _Contents) -> pa.Table:
    count = len(tar.offset)
    rows = Rows(
        uri=pa.array([name] * count, pa.string()),
        offset=np.array(tar.offset, np.int64),
        length=np.array(tar.length, np.int64),
        split=np.full(count, split, np.int8),
    )
    words = rows.table().append_column(WORD, pa.array(tar.label, pa.string()))
    return words.append_column(_FOLDER, pa.array(tar.folder, pa.string()))


def _scan(path: Place, size: int) -> _Contents:
    samples: dict[str, _Sample] = {}
    with io.BufferedReader(RangeFile(path, size), _READ_AHEAD_LOCAL if path.is_local else _READ_AHEAD) as file:
        try:
            for member in _members(file):
                _add_member(samples.setdefault(_key(member.name)[0], _Sample()), member, file, path)
        except (tarfile.TarError, EOFError) as error:
            start = path.read_range(0, 6)
            if how := next((how for magic, how in _COMPRESSED.items() if start.startswith(magic)), ""):
                raise PlaceError(f"{path}: is a {how} tar, which has no random access; unpack it") from None
            raise PlaceError(f"{path}: is a damaged tar ({error}); copy it anew or delete it") from None
    return _contents(samples)


def _members(file: io.BufferedIOBase) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would hold them all
            if member.isreg() and not os.path.basename(member.name).startswith("."):
                yield member


def _key(name: str) -> tuple[str, str]:
    """WebDataset's key and suffix: ``a/b.seg.png`` -> ``a/b``, ``.seg.png``."""
    folder, _, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return f"{folder}/{stem}", f"{dot}{suffix}".lower()


def _add_member(sample: _Sample, member: tarfile.TarInfo, file: io.BufferedIOBase, path: Place) -> None:
    suffix = _key(member.name)[1]
    if os.path.splitext(member.name)[1].lower() in IMAGE_SUFFIXES:
        sample.images.append(_Image(member.name, member.offset_data, member.size))
    elif suffix in (".cls", ".json"):
        # The tar reader seeks by itself before its next header, so the position need not be restored.
        file.seek(member.offset_data)
        sample.label = _label(suffix, file.read(member.size), f"{path}: member {member.name}") or sample.label
        sample.labels += 1
    else:
        sample.others += 1


def _contents(samples: dict[str, _Sample]) -> _Contents:
    found = _Contents()
    rows = []
    masks = _masks(samples)
    for key, sample in samples.items():
        chosen = [] if key in masks else _chosen(sample.images)
        found.beside += len(sample.images) - len(chosen)
        found.others += sample.others + (0 if chosen else sample.labels)
        rows += [(image, sample.label) for image in chosen]
    for image, label in sorted(rows, key=lambda row: row[0].offset):
        found.offset.append(image.offset)
        found.length.append(image.size)
        found.label.append(label)
        found.folder.append(image.name.removeprefix("./").rpartition("/")[0].rpartition("/")[2] or None)
    return found


def _masks(samples: dict[str, _Sample]) -> set[str]:
    """Keys that are masks of others by their names: a_mask beside a, and masks/a beside images/a."""
    masks = set()
    with_images = [key.rpartition("/")[::2] for key, sample in samples.items() if sample.images]
    parts = [(folder.rpartition("/")[0], folder.rpartition("/")[2].lower(), stem) for folder, stem in with_images]
    pictures = {(above, stem) for above, last, stem in parts if last in _IMAGE_WORDS}
    for (folder, stem), (above, last, _) in zip(with_images, parts, strict=True):
        named = _MASK_STEM.fullmatch(stem)
        beside = samples.get(f"{folder}/{named[1]}") if named else None
        if (beside and beside.images) or (last in _MASK_WORDS and (above, stem) in pictures):
            masks.add(f"{folder}/{stem}")
    return masks


def _chosen(images: list[_Image]) -> list[_Image]:
    """The images of one key that are samples: the photo where masks lie beside it.

    KEY.jpg comes before KEY.png and both before KEY.seg.png. Of names with further dots, as in photo.v2.jpg, those that
    say image or say nothing come before those that say mask.
    """
    plain = {suffix: image for image in images if (suffix := _key(image.name)[1]) in IMAGE_SUFFIXES}
    if plain:
        return [min(plain.items(), key=lambda item: (item[0] not in PHOTO_SUFFIXES, item[0]))[1]]
    words = [set(_key(image.name)[1].split(".")) for image in images]
    for fits in ([bool(word & _IMAGE_WORDS) for word in words], [not word & _MASK_WORDS for word in words]):
        if any(fits):
            return [image for image, fit in zip(images, fits, strict=True) if fit]
    return images


def _label(suffix: str, data: bytes, what: str) -> str | None:
    try:
        if suffix == ".cls":
            return data.decode().strip() or None
        fields = json.loads(data)
    except ValueError:
        raise PlaceError(f"{what}: cannot be read as {'a label' if suffix == '.cls' else 'JSON'}") from None
    if isinstance(fields, dict):
        found = (fields[key] for key in _LABEL_KEYS if isinstance(fields.get(key), int | float | str))
        # A table in which some label was missing has floats for all of them.
        words = (str(int(word)) if isinstance(word, float) and word.is_integer() else str(word) for word in found)
        return next(words, None)
    return None
