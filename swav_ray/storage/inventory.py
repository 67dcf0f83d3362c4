"""What a bucket holds by its S3 Inventory, a list that AWS writes every day or week: no request per 1,000 keys.

AWS's guide "Amazon S3 Inventory" has the format: a manifest.json names data files, as Parquet or gzipped CSV, in which
a row is an object or a version of one. Keys are URL-encoded in CSV.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import json
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swav_ray.storage.place import Entry, Place, PlaceError, place

_PARQUET_NAMES = {
    "Key": "key",
    "Size": "size",
    "ETag": "e_tag",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
}
_NEEDED = ("Key", "Size", "ETag")
_ROWS = 1 << 16
_PAGE = 1000  # rows that are given together


@dataclass(frozen=True)
class Inventory:
    """An inventory by its manifest.json.

    Args:
        where: of manifest.json. bucket: that it lists. made: Unix seconds. kind: CSV or Parquet. columns: of CSV.
        files: keys in the bucket of manifest.json, and their MD5 in hexadecimal digits.
    """

    where: Place
    bucket: str
    made: float
    kind: str
    columns: tuple[str, ...]
    files: tuple[tuple[str, str], ...]

    def pages(self, below: Place, state: Any = None) -> InventoryPages:
        """The files below a place, in the order of the inventory: the latest version of each that is not deleted.

        ``state`` is of earlier pages, which these continue.

        Raises:
            PlaceError: the place is in another bucket; or later: a file of the inventory is missing or damaged.
        """
        bucket, _, prefix = below.uri.removeprefix("s3://").partition("/")
        if below.is_local or bucket != self.bucket:
            raise PlaceError(f"{self.where}: is an inventory of bucket {self.bucket}, and {below} is not in it")
        return InventoryPages(self, f"{prefix.rstrip('/')}/" if prefix else "", state or (0, 0))

    def rows(self, file: int) -> Iterator[dict[str, Any]]:
        """The rows of its n-th file. Raises PlaceError: it is missing or damaged."""
        return self._rows(*self.files[file])

    def _rows(self, key: str, md5: str) -> Iterator[dict[str, Any]]:
        if self.where.is_local:  # a copy, with the data files beside their manifest
            file = self.where.parent / key.rpartition("/")[2]
        else:
            file = place(f"s3://{self.where.uri.removeprefix('s3://').partition('/')[0]}/{key}")
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            raise PlaceError(f"{file}: is named by {self.where} and is not there; take a later inventory") from None
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
            raise PlaceError(f"{file}: is damaged or not of {self.where} (its MD5 differs); take a later inventory")
        try:
            yield from self._of_csv(data) if self.kind == "CSV" else self._of_parquet(data)
        except PlaceError:
            raise
        except (OSError, EOFError, ValueError, csv.Error) as error:
            what = f"{self.kind} of the columns that {self.where} names ({error})"
            raise PlaceError(f"{file}: cannot be read as {what}; take a later one") from None

    def _of_csv(self, data: bytes) -> Iterator[dict[str, Any]]:
        with gzip.open(io.BytesIO(data), "rt", encoding="utf-8", newline="") as text:
            for values in csv.reader(text):
                row = dict(zip(self.columns, values, strict=True))
                yield row | {"Key": urllib.parse.unquote_plus(row["Key"]), "Size": int(row["Size"] or 0)}

    def _of_parquet(self, data: bytes) -> Iterator[dict[str, Any]]:
        with pq.ParquetFile(pa.BufferReader(data)) as parquet:
            there = {name: column for name, column in _PARQUET_NAMES.items() if column in parquet.schema_arrow.names}
            _require(self.where, there)
            for batch in parquet.iter_batches(_ROWS, columns=list(there.values()), use_threads=False):
                for found in batch.to_pylist():
                    yield {name: found[column] for name, column in there.items()}


class InventoryPages:
    """Files by an inventory, some at a time, as `storage.pages.Pages` has them."""

    def __init__(self, inventory: Inventory, prefix: str, state: Sequence[int]) -> None:
        self._inventory, self._prefix = inventory, prefix
        self._file, self._row = state  # the row of a file that comes next

    def state(self) -> Any:
        return [self._file, self._row]

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[list[Entry]]:
        while self._file < len(self._inventory.files):
            rows = itertools.islice(self._inventory.rows(self._file), self._row, None)
            while some := list(itertools.islice(rows, _PAGE)):
                self._row += len(some)
                yield [entry for row in some if (entry := self._entry(row))]
            self._file, self._row = self._file + 1, 0

    def _entry(self, row: dict[str, Any]) -> Entry | None:
        name = row["Key"].removeprefix(self._prefix)
        if not row["Key"].startswith(self._prefix) or not name or name.endswith("/"):
            return None
        if not _is(row.get("IsLatest", True)) or _is(row.get("IsDeleteMarker", False)):
            return None
        return Entry(name, row["Size"] or 0, f'"{row["ETag"]}"')


def read_inventory(uri: str) -> Inventory:
    """The inventory of a manifest.json. Raises PlaceError, one line, if it is something else."""
    where = place(uri)
    try:
        about = json.loads(where.read_bytes())
        kind, schema = about["fileFormat"], about["fileSchema"]
        columns = tuple(name.strip() for name in schema.split(",")) if kind == "CSV" else ()
        files = tuple((file["key"], file["MD5checksum"]) for file in about["files"])
        found = Inventory(where, about["sourceBucket"], int(about["creationTimestamp"]) / 1000, kind, columns, files)
    except FileNotFoundError:
        raise PlaceError(f"{where}: does not exist; give the manifest.json of an S3 Inventory") from None
    except (ValueError, KeyError, TypeError):
        raise PlaceError(f"{where}: is not the manifest.json of an S3 Inventory") from None
    if kind not in ("CSV", "Parquet"):
        raise PlaceError(f"{where}: its files are {kind}; an inventory as CSV or Parquet can be read")
    if kind == "CSV":
        _require(where, columns)
    return found


def _require(where: Place, columns: Any) -> None:
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise PlaceError(
            f"{where}: the inventory lacks {' and '.join(missing)}; add Size and ETag to its optional fields"
        )


def _is(value: Any) -> bool:
    """A truth as CSV or Parquet has it."""
    return value if isinstance(value, bool) else str(value).lower() == "true"
