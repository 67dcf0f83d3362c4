"""One Parquet shard, as `import` and the built-in data set write it. Any tool reads it.

Images are stored plain and uncompressed (they are compressed already), so each lies in the file as it is. The footer of
an imported shard says at which bytes. A shuffled epoch then costs one range read a sample, whatever the row groups.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from swav_ray.data.contents import content_of
from swav_ray.data.formats.shards import CONTENTS_KEY, RANGES_KEY


class StoredImage(NamedTuple):
    """An image to store: encoded bytes, where it came from, and its label (-1: none)."""

    data: bytes
    path: str
    label: int


@dataclass(frozen=True)
class ShardLayout:
    """How shards of a data set are laid out. A new layout is new bytes: what has been written is not equal any more.

    Attributes:
        schema: columns among image (struct of bytes and path), label and split.
        group_rows: rows of a row group, which is what readers without ranges read at a time.
        dictionary: columns with few different values.
        ranges: whether the footer says where each image lies, and its content; statistics, which nobody asks of images,
            are left out.
    """

    schema: pa.Schema
    group_rows: int
    dictionary: tuple[str, ...] = ()
    ranges: bool = True


def imported_layout(classes: Sequence[str], *, has_labels: bool) -> ShardLayout:
    """Columns image, and label if there are labels. Metadata say so to Hugging Face's library."""
    image = pa.struct([pa.field("bytes", pa.binary(), nullable=False), pa.field("path", pa.string())])
    fields = [pa.field("image", image, nullable=False)]
    features: dict[str, object] = {"image": {"_type": "Image"}}
    if has_labels:
        fields.append(pa.field("label", pa.int64(), nullable=False))
        features["label"] = {"names": list(classes), "_type": "ClassLabel"}
    schema = pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    return ShardLayout(schema, group_rows=128)


def write_shard(images: Iterator[StoredImage], layout: ShardLayout, *, split: str = "") -> bytes:
    """The Parquet file of these images; ``split`` fills the column of that name, if the layout has one."""
    sink = io.BytesIO()
    ranges: list[tuple[int, int]] = []
    contents: list[int] = []
    with pq.ParquetWriter(
        sink,
        layout.schema,
        compression="none",
        use_dictionary=list(layout.dictionary) or False,
        write_statistics=not layout.ranges,
    ) as writer:
        while group := [image for _, image in zip(range(layout.group_rows), images, strict=False)]:
            start = sink.tell()
            writer.write_table(_table(group, layout.schema, split))
            if layout.ranges:
                written = bytes(sink.getbuffer()[start:])
                ranges.extend((start + at, length) for at, length in _find(written, [image.data for image in group]))
                contents.extend(content_of(image.data) for image in group)
        if layout.ranges:
            columns = {RANGES_KEY: np.array(ranges, "<i8"), CONTENTS_KEY: np.array(contents, "<u8")}
            writer.add_key_value_metadata({key: base64.b64encode(column.tobytes()) for key, column in columns.items()})
    return sink.getvalue()


def _find(written: bytes, images: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Where the images, in this order, lie in a row group: each behind its length, little-endian, in four bytes."""
    position = 0
    for image in images:
        stored = len(image).to_bytes(4, "little") + image
        # What is found is the image byte for byte, even if it should be another copy of it.
        position = written.find(stored, position)
        if position < 0:
            raise AssertionError("Parquet did not store an image as it is")
        yield position + 4, len(image)
        position += len(stored)


def _table(group: Sequence[StoredImage], schema: pa.Schema, split: str) -> pa.Table:
    columns = {
        "image": [{"bytes": image.data, "path": image.path} for image in group],
        "label": [image.label for image in group],
        "split": [split] * len(group),
    }
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)
