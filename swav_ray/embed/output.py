"""The folder of embeddings: what it is of, and its tables in parts.

OUT/
  embed.json                 whose embeddings, of which images, and how they were made
  manifest.parquet           the list of images; a row group is what a part is made of
  embeddings/part-*.parquet  a row for each image that can be read
  unreadable/part-*.parquet  the others, with reasons; unreadable.csv has them all when the work is done
  neighbours-K/, clusters-K/ what --neighbours K and --clusters K add, a row for each row of embeddings
  prototypes.parquet         the clusters: sizes, centres, duplicates
  clusters.html              a contact sheet of each cluster
  index.faiss                what --index adds
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from swav_ray.data import manifest as manifests
from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.manifest import Manifest
from swav_ray.embed.errors import EmbedError
from swav_ray.features.parts import Parts, claim
from swav_ray.run import layout
from swav_ray.storage.place import Place

ABOUT = "embed.json"
EMBEDDINGS = "embeddings"
UNREADABLE = "unreadable"
PAGE = "clusters.html"
PROTOTYPES = "prototypes.parquet"
INDEX = "index.faiss"
LAYERS = ("pooled", "projection", "map")
DTYPES = ("float16", "float32")
_NEIGHBOURS, _CLUSTERS = "neighbours-", "clusters-"
_FORMAT = 1
_PART_ROWS = 512
_PART_BYTES = 32 << 20  # of embeddings, at most


@dataclass(frozen=True, kw_only=True)
class How:
    """How embeddings are made. Equal for equal ones.

    Attributes:
        checkpoint: the file of weights. weights: sha256 of it. prefix: as for `load_backbone`.
        layer: one of LAYERS. shape: of an embedding before it is flattened. dtype: one of DTYPES.
        image_size: side of the centre crop in pixels. mean, std: what images are normalised with.
        prototypes: of each head that is written; empty without a head.
        temperature: of the softmax that gives probabilities. soft: whether the three best clusters are written.
    """

    checkpoint: str
    weights: str
    prefix: str
    layer: str
    shape: tuple[int, ...]
    dtype: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    prototypes: tuple[int, ...]
    temperature: float
    soft: bool
    format: int = _FORMAT

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(np.prod(self.shape))

    @property
    def part_rows(self) -> int:
        """Images of a part: fewer if embeddings are long."""
        return max(16, min(_PART_ROWS, _PART_BYTES // (self.dim * np.dtype(self.dtype).itemsize)))


@dataclass(frozen=True)
class Output:
    """Embeddings on disk.

    Attributes:
        folder: where they are. how: they are made.
        root, fingerprint: the place of the images and what it held. images: how many.
    """

    folder: Place
    how: How
    root: str
    fingerprint: str
    images: int

    @property
    def embeddings(self) -> Parts:
        return self.parts(EMBEDDINGS)

    @property
    def unreadable(self) -> Parts:
        return self.parts(UNREADABLE)

    def parts(self, name: str) -> Parts:
        """A table beside the embeddings, in parts of the same images."""
        return Parts(self.folder / name, self.images, self.how.part_rows)

    def neighbours(self, count: int) -> Parts:
        return self.parts(f"{_NEIGHBOURS}{count}")

    def clusters(self, count: int) -> Parts:
        return self.parts(f"{_CLUSTERS}{count}")

    def missing(self) -> list[int]:
        """Parts that are left to make: absent, or with images that storage could not deliver."""
        return sorted({*self.embeddings.missing(), *self.unreadable.to_try_again()})

    def is_made(self, part: int) -> bool:
        """Whether a part is not among `missing`."""
        return self.embeddings.has(part) and not self.unreadable.has(part, again=True)

    def manifest(self, part: int) -> Manifest:
        """The list of a part's images, numbered from 0."""
        return manifests.load_group(self.folder / layout.MANIFEST, part)

    def blocks(self, columns: Sequence[str], parts: Sequence[int] | None = None) -> Iterator[pa.Table]:
        """Columns of the embeddings, part by part; raises EmbedError if one is missing."""
        for part in range(len(self.embeddings)) if parts is None else parts:
            try:
                yield self.embeddings.read(part, columns)
            except FileNotFoundError as error:
                raise EmbedError(f"{error}; run the command that makes {self.folder} again") from None

    def vectors(self, table: pa.Table) -> np.ndarray:
        """(rows, dim) float32 of a table's embeddings."""
        column = table["embedding"].combine_chunks()
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(-1, self.how.dim).astype(np.float32)

    def drop_derived(self) -> None:
        """Removes what was made of the embeddings: they are about to change."""
        for name in {entry.name.partition("/")[0] for entry in self.folder.list()}:
            if name.startswith((_NEIGHBOURS, _CLUSTERS)):
                (self.folder / name).delete_tree()
        (self.folder / INDEX).delete()


def begin(
    folder: Place,
    how: How,
    uri: str,
    cache: Place,
    progress: Callable[[int], None] | None = None,
    decoding: Decoding | None = None,
) -> tuple[Output, tuple[str, ...]]:
    """Lists the images, and makes the folder theirs or finds that it is.

    Args:
        folder: of the output. uri: place of the images. cache: folder of cached manifests.
        decoding: of the images that the network was trained on; None: what suits the place.

    Returns:
        The output, and notes for the user.

    Raises:
        EmbedError: the folder holds something else. PlaceError: there are no images.
    """
    found = manifests.load_or_build(uri, cache, progress=progress).in_memory()
    if decoding is not None:
        found = found.decoded_as(decoding)
    output = Output(folder, how, found.root, found.fingerprint, len(found))
    about = folder / ABOUT
    if not about.exists() and any(True for _ in folder.list()):
        raise EmbedError(f"{folder}: holds other files; give an empty folder for the embeddings")
    if not claim(about, _document(output)):
        raise EmbedError(f"{folder}: {_difference(read(folder), output)}")
    if not (folder / layout.MANIFEST).exists():
        manifests.save(found, folder / layout.MANIFEST, group_rows=how.part_rows)
    return output, found.notes


def read(folder: Place) -> Output:
    """What a folder holds; EmbedError if it holds no embeddings of this version."""
    try:
        document = json.loads((folder / ABOUT).read_bytes())
        how: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document["how"].items()
        }
        if how["format"] != _FORMAT:
            raise EmbedError(f"{folder}: its format is {how['format']}, this version has {_FORMAT}; embed again")
        return Output(folder, How(**how), document["root"], document["fingerprint"], document["images"])
    except FileNotFoundError:
        raise EmbedError(f"{folder}: holds no embeddings; make some with python -m swav_ray.embed") from None
    except (KeyError, TypeError, json.JSONDecodeError):
        raise EmbedError(f"{folder / ABOUT}: is not of python -m swav_ray.embed; embed again") from None


def _document(output: Output) -> dict[str, Any]:
    return {
        "how": dataclasses.asdict(output.how),
        "root": output.root,
        "fingerprint": output.fingerprint,
        "images": output.images,
    }


def _difference(there: Output, wanted: Output) -> str:
    """What differs first, in words, and what would be right."""
    remedy = "; give another folder or delete this one"
    if there.how.weights != wanted.how.weights:
        return f"holds embeddings of another checkpoint, {there.how.checkpoint}{remedy}"
    if there.root != wanted.root:
        return f"holds embeddings of other images, {there.root}{remedy}"
    if there.fingerprint != wanted.fingerprint:
        return (
            f"{there.root} has changed since it was embedded ({there.images:,} images, now {wanted.images:,}); give "
            "another folder, or bring back the images as they were to resume"
        )
    differs = [
        f"{item.name} {getattr(there.how, item.name)}, not {getattr(wanted.how, item.name)}"
        for item in dataclasses.fields(How)
        if getattr(there.how, item.name) != getattr(wanted.how, item.name)
    ]
    return f"holds embeddings made in another way: {'; '.join(differs)}{remedy}"
