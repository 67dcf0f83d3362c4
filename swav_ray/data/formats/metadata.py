"""Labels from a `metadata.csv`, `.jsonl` or `.parquet` beside images, as Hugging Face's image folders have them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from swav_ray.data.formats.names import LABEL_COLUMNS
from swav_ray.one_line import one_line
from swav_ray.storage.place import Place

NAMES = frozenset(("metadata.csv", "metadata.jsonl", "metadata.parquet"))
_FILE_COLUMNS = ("file_name", "filename", "file", "path", "image", "name")


def read_labels(where: Place, metadata: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The label, as text, of each image that these files name with one, and notes for the user. Held in memory.

    Args:
        metadata: names of metadata files, relative to the place; so are the names of images.
    """
    label_of: dict[str, str] = {}
    notes = []
    for name in metadata:
        try:
            table = _read(name, (where / name).read_bytes())
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            notes.append(f"left out {where / name}: cannot be read ({one_line(error)})")
            continue
        file = next((column for column in _FILE_COLUMNS if column in table.column_names), None)
        label = next((column for column in LABEL_COLUMNS if column in table.column_names), None)
        if file is None or label is None:
            notes.append(f"left out {where / name}: has no columns file_name and label")
            continue
        folder = name[: name.rfind("/") + 1]
        pairs = zip(table[file].to_pylist(), table[label].to_pylist(), strict=True)
        label_of |= {f"{folder}{path}": str(word) for path, word in pairs if word is not None}
    return label_of, tuple(notes)


def _read(name: str, data: bytes) -> pa.Table:
    if name.endswith(".parquet"):
        return pq.read_table(io.BytesIO(data))
    if name.endswith(".jsonl"):
        return pyarrow.json.read_json(io.BytesIO(data))
    return pyarrow.csv.read_csv(io.BytesIO(data))
