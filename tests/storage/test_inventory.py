"""A bucket is known from its S3 Inventory as from a listing of it; an inventory that is no good is said in one line."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import time
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swav_ray.data.__main__ import main
from swav_ray.data.manifest import build, load_or_build
from swav_ray.storage.inventory import Inventory, read_inventory
from swav_ray.storage.place import Entry, Place, PlaceError, place
from tests.data.images import image

DAY = 86_400
COLUMNS = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "ETag")


def row(key: str, size: int = 7, *, latest: bool = True, deleted: bool = False, etag: str = "e1") -> dict[str, Any]:
    values = ("photos", key, "v1", latest, deleted, None if deleted else size, None if deleted else etag)
    return dict(zip(COLUMNS, values, strict=True))


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    for one in rows:
        values = one | {"Key": urllib.parse.quote_plus(one["Key"], safe="/")}
        writer.writerow(["" if v is None else str(v).lower() if isinstance(v, bool) else v for v in values.values()])
    return gzip.compress(text.getvalue().encode())


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    names = ("bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "e_tag")
    columns = {name: [one[key] for one in rows] for name, key in zip(names, COLUMNS, strict=True)}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def entries(inventory: Inventory, below: Place) -> list[Entry]:
    return [entry for page in inventory.pages(below) for entry in page]


WRITERS = {"CSV": as_csv, "Parquet": as_parquet}


def write_inventory(
    folder: Path, kind: str, *files: list[dict[str, Any]], days: float = 0, bucket: str = "photos"
) -> str:
    """An inventory whose data files lie beside its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for number, rows in enumerate(files):
        data = WRITERS[kind](rows)
        (folder / f"{number}.data").write_bytes(data)
        key = f"inventories/photos/all/data/{number}.data"
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        listed.append({"key": key, "size": len(data), "MD5checksum": digest})
    about = {
        "sourceBucket": bucket,
        "destinationBucket": "arn:aws:s3:::lists",
        "version": "2016-11-30",
        "creationTimestamp": str(int((time.time() - days * DAY) * 1000)),
        "fileFormat": kind,
        "fileSchema": ", ".join(COLUMNS) if kind == "CSV" else "message s3.inventory { ... }",
        "files": listed,
    }
    (folder / "manifest.json").write_text(json.dumps(about))
    return str(folder / "manifest.json")


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_the_latest_versions_below_a_place_are_its_files(tmp_path: Path, kind: str) -> None:
    first = [
        row("train/b c+d.jpg", 5),
        row("train/b c+d.jpg", 4, latest=False, etag="e0"),
        row("train/gone.jpg", deleted=True),
        row("train/folder/", 0),
        row("training/other.jpg"),
    ]
    second = [row('train/sub/\u00e9,"x".jpg', 9, etag="e2-3")]
    found = read_inventory(write_inventory(tmp_path, kind, first, second, days=3))
    assert entries(found, place("s3://photos/train")) == [
        Entry("b c+d.jpg", 5, '"e1"'),
        Entry('sub/\u00e9,"x".jpg', 9, '"e2-3"'),
    ]
    assert len(entries(found, place("s3://photos"))) == 3
    assert time.time() - found.made == pytest.approx(3 * DAY, abs=600)


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_what_is_no_good_is_one_line(tmp_path: Path, kind: str) -> None:
    file = write_inventory(tmp_path / "a", kind, [row("x.jpg")])
    found = read_inventory(file)
    for elsewhere in ("s3://other/x", str(tmp_path)):
        with pytest.raises(PlaceError, match=r"is an inventory of bucket photos, and .* is not in it$"):
            entries(found, place(elsewhere))
    data = tmp_path / "a" / "0.data"
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    with pytest.raises(PlaceError, match=r"0.data: is damaged or not of .*manifest.json \(its MD5 differs\); take"):
        entries(found, place("s3://photos"))
    wrong = Path(write_inventory(tmp_path / "b", kind, [row("x.jpg")]))
    about = json.loads(wrong.read_text())
    about["files"][0]["MD5checksum"] = hashlib.md5(b"no table", usedforsecurity=False).hexdigest()
    wrong.write_text(json.dumps(about))
    (tmp_path / "b" / "0.data").write_bytes(b"no table")
    with pytest.raises(PlaceError, match=rf"0.data: cannot be read as {kind} of the columns that .*names"):
        entries(read_inventory(str(wrong)), place("s3://photos"))
    data.unlink()
    with pytest.raises(PlaceError, match=r"0.data: is named by .*manifest.json and is not there; take a later"):
        entries(found, place("s3://photos"))


def test_what_is_no_inventory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=r"does not exist; give the manifest.json"):
        read_inventory(str(tmp_path / "manifest.json"))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(PlaceError, match=r"is not the manifest.json of an S3 Inventory"):
        read_inventory(str(tmp_path / "manifest.json"))
    file = Path(write_inventory(tmp_path, "CSV", [row("x.jpg")]))
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"fileFormat": "ORC"}))
    with pytest.raises(PlaceError, match="its files are ORC; an inventory as CSV or Parquet can be read"):
        read_inventory(str(file))
    file.write_text(json.dumps(about | {"fileSchema": "Bucket, Key"}))
    with pytest.raises(PlaceError, match="lacks Size and ETag; add Size and ETag to its optional fields"):
        read_inventory(str(file))


@pytest.mark.s3
@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_a_bucket_is_indexed_from_its_inventory_as_from_its_listing(
    s3: str, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images, bucket = place(f"{s3}/images"), s3.removeprefix("s3://")
    for number in range(9):
        (images / f"class {number % 2}" / f"{number}+.png").write_bytes(image(number, "PNG"))
    listed = [row(f"images/{name}", size, etag=etag.strip('"')) for name, size, etag, _ in images.list()]
    rows = [listed[index] for index in np.random.default_rng(0).permutation(9)]
    file = write_inventory(tmp_path / "list", kind, rows[:4], rows[4:], days=1, bucket=bucket)
    storage = tmp_path / "runs"
    assert main(["index", images.uri, "--storage", str(storage), "--inventory", file]) == 0
    assert "the inventory is 24 hours old; what is newer is not in the list" in capsys.readouterr().err
    whole = build(images.uri)
    found = load_or_build(images.uri, place(str(storage / "_data" / "manifests")))
    assert found.fingerprint == whole.fingerprint
    assert found.table.equals(whole.table)
    assert found.classes == whole.classes == ["class 0", "class 1"]
    other = write_inventory(tmp_path / "other", kind, rows[:1], bucket=bucket)
    assert main(["index", f"{s3}/elsewhere", "--storage", str(storage), "--inventory", other]) == 2
    assert f"the inventory, 0 hours old, has no files below {s3}/elsewhere" in capsys.readouterr().err
