"""Small images, and places made of them in every format, for the tests of the data plane."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def image(seed: int, kind: str = "JPEG") -> bytes:
    """An encoded image of its own size and pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (20 + seed % 7, 24 + seed % 5, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind)
    return sink.getvalue()


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_photos(root: Path) -> Path:
    """36 images: splits train and val, classes cat and dog, four formats."""
    kinds = ("JPEG", "PNG", "WEBP", "GIF")
    files = {
        f"{split}/{name}/{i}.{kinds[i % 4].lower()}": image(10 * j + i, kinds[i % 4])
        for split in ("train", "val")
        for j, name in enumerate(("cat", "dog"))
        for i in range(9)
    }
    return write_files(root, files)


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, count: int, *, struct_column: bool = True, rows: int = 4, label: object = None) -> Path:
    """A shard of `image(0..count)`, as pyarrow's defaults write it; ``label`` is a column or None."""
    images = [image(i) for i in range(count)]
    column = pa.array([{"bytes": data, "path": None} for data in images]) if struct_column else pa.array(images)
    table = pa.table({"image": column} | ({} if label is None else {"label": label}))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)
    return path


def with_class_names(path: Path, names: list[str]) -> Path:
    """Adds the class names as Hugging Face's library stores them."""
    table = pq.read_table(path)
    about = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), path, row_group_size=4)
    return path


def write_idx(path: Path, array: np.ndarray) -> Path:
    """An IDX file of unsigned bytes, gzipped if the name says so."""
    data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
