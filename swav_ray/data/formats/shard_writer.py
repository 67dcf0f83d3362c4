"""One Parquet shard as `import` writes it: any tool reads it, and ours reads single images out of it.

Images are stored plain and uncompressed (they are compressed already), so each lies in the file as it is. Where, is
written into the footer: a shuffled epoch then costs one range read a sample, whatever the size of the row groups.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from swav_ray.data.formats.shards import RANGES_KEY

_GROUP_ROWS = 128  # what other readers, which read whole row groups, want


class Sample(NamedTuple):
    """An image to store: encoded bytes, where it came from, and its label (-1: none)."""

    data: bytes
    path: str
    label: int


def write_shard(samples: Iterator[Sample], classes: Sequence[str], *, has_labels: bool) -> bytes:
    """The Parquet file of these samples. Columns: image (struct of bytes and path), and label where there are any.

    The footer also tells Hugging Face's library that these are images and what the labels are called.
    """
    schema = _schema(classes, has_labels)
    sink = io.BytesIO()
    ranges: list[tuple[int, int]] = []
    with pq.ParquetWriter(sink, schema, compression="none", use_dictionary=False, write_statistics=False) as writer:
        while group := [sample for _, sample in zip(range(_GROUP_ROWS), samples, strict=False)]:
            start = sink.tell()
            writer.write_table(_table(group, schema))
            written = bytes(sink.getbuffer()[start:])
            ranges.extend((start + at, length) for at, length in _find(written, [sample.data for sample in group]))
        writer.add_key_value_metadata({RANGES_KEY: base64.b64encode(np.array(ranges, "<i8").tobytes())})
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


def _schema(classes: Sequence[str], has_labels: bool) -> pa.Schema:
    image = pa.struct([pa.field("bytes", pa.binary(), nullable=False), pa.field("path", pa.string())])
    fields = [pa.field("image", image, nullable=False)]
    features: dict[str, object] = {"image": {"_type": "Image"}}
    if has_labels:
        fields.append(pa.field("label", pa.int64(), nullable=False))
        features["label"] = {"names": list(classes), "_type": "ClassLabel"}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _table(group: Sequence[Sample], schema: pa.Schema) -> pa.Table:
    images = pa.array([{"bytes": sample.data, "path": sample.path} for sample in group], schema.field("image").type)
    columns = [images, pa.array([sample.label for sample in group], pa.int64())]
    return pa.Table.from_arrays(columns[: len(schema)], schema=schema)
