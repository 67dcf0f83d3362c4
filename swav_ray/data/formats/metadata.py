"""Labels from a `metadata.csv`, `.jsonl` or `.parquet` beside images, as Hugging Face's image folders have them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from swav_ray.data.formats.names import LABEL_COLUMNS, without_negative
from swav_ray.one_line import one_line
from swav_ray.storage.place import Place

NAMES = frozenset(("metadata.csv", "metadata.jsonl", "metadata.parquet"))
_FILE_COLUMNS = ("file_name", "filename", "file", "path", "image", "name")


def labels_of(
    where: Place, metadata: Sequence[str], images: Sequence[str]
) -> tuple[list[str | None] | None, tuple[str, ...]]:
    """The label of each image as text, None for one without; None for all if no file has any, and notes for the user.

    Args:
        metadata: names of metadata files, relative to the place. images: names of images, too.
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
    labels = without_negative(label_of.get(image) for image in images)
    if not label_of:
        return None, tuple(notes)
    if not any(word is not None for word in labels):
        return None, (*notes, f"left out {metadata[0]}: names no image that is here")
    return labels, tuple(notes)


def _read(name: str, data: bytes) -> pa.Table:
    if name.endswith(".parquet"):
        return pq.read_table(io.BytesIO(data))
    if name.endswith(".jsonl"):
        return pyarrow.json.read_json(io.BytesIO(data))
    return pyarrow.csv.read_csv(io.BytesIO(data))
