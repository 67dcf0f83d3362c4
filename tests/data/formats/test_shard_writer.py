"""A shard that we write is read image by image, and by any other tool."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from swav_ray.data.formats.shard_writer import ShardLayout, StoredImage, imported_layout, write_shard
from swav_ray.data.formats.shards import RANGES_KEY
from swav_ray.data.manifest import build
from swav_ray.data.sources import read_samples
from swav_ray.data.tools.importer import import_shards
from swav_ray.storage.place import stats
from tests.data.images import image, write_files, write_photos

IMAGES = [StoredImage(image(i), f"{i}.jpg", i % 3) for i in range(300)]


def test_the_footer_says_where_each_image_lies() -> None:
    twice = [*IMAGES[:3], IMAGES[0]]  # equal bytes may lie at two places
    for images in (IMAGES, twice):
        shard = write_shard(iter(images), imported_layout(["a", "b", "c"], has_labels=True))
        footer = pq.ParquetFile(io.BytesIO(shard)).metadata.metadata
        ranges = np.frombuffer(base64.b64decode(footer[RANGES_KEY]), "<i8").reshape(-1, 2)
        assert [shard[at : at + length] for at, length in ranges] == [stored.data for stored in images]


@pytest.mark.parametrize("has_labels", [True, False])
def test_columns_come_back_in_order(has_labels: bool) -> None:
    shard = pq.ParquetFile(io.BytesIO(write_shard(iter(IMAGES), imported_layout(["x"], has_labels=has_labels))))
    rows = shard.read().to_pylist()
    assert [row["image"] for row in rows] == [{"bytes": stored.data, "path": stored.path} for stored in IMAGES]
    assert [row.get("label") for row in rows] == [stored.label if has_labels else None for stored in IMAGES]
    assert [shard.metadata.row_group(i).num_rows for i in range(shard.num_row_groups)] == [128, 128, 44]


def test_a_layout_may_have_a_split_and_no_ranges() -> None:
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    layout = ShardLayout(pa.schema([("split", pa.string()), ("image", image_type)]), group_rows=100, ranges=False)
    shard = pq.ParquetFile(io.BytesIO(write_shard(iter(IMAGES), layout, split="test")))
    assert shard.read()["split"].unique().to_pylist() == ["test"]
    assert RANGES_KEY not in (shard.metadata.metadata or {})
    assert shard.num_row_groups == 3


def test_an_imported_shard_gives_single_images_without_reading_the_rest(tmp_path: Path) -> None:
    import_shards(str(write_files(tmp_path / "in", {f"{i}.jpg": image(i) for i in range(10)})), str(tmp_path / "out"))
    manifest = build(str(tmp_path / "out"))
    before = stats()["bytes_read"]
    assert list(read_samples(manifest, np.array([8]))) == [image(8)]
    assert stats()["bytes_read"] - before == len(image(8))


def test_other_tools_read_the_shards(tmp_path: Path) -> None:
    import_shards(str(write_photos(tmp_path / "photos")), str(tmp_path / "out"))
    for row in pq.read_table(tmp_path / "out", columns=["image", "label"]).to_pylist():
        Image.open(io.BytesIO(row["image"]["bytes"])).verify()
