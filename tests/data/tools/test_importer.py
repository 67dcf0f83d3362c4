"""An import keeps every byte and every label, makes shards of even size, and resumes after it was killed."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swav_ray.data.decoding.decode import decode
from swav_ray.data.manifest import Manifest, build
from swav_ray.data.sources import read_samples
from swav_ray.data.tools import importer
from swav_ray.data.tools.importer import import_shards
from swav_ray.storage.place import PlaceError, place
from tests.data.decoding.test_decode import encoded, photo
from tests.data.images import image, write_files, write_idx, write_parquet, write_photos, write_tar


def hashes(folder: Path | str) -> dict[str, str]:
    root = place(folder)
    return {entry.name: hashlib.sha256((root / entry.name).read_bytes()).hexdigest() for entry in root.list()}


def all_samples(manifest: Manifest) -> list[object]:
    return list(read_samples(manifest, np.arange(len(manifest))))


@pytest.mark.parametrize("on_s3", [False, pytest.param(True, marks=pytest.mark.s3)])
def test_every_byte_label_and_split_survives(tmp_path: Path, on_s3: bool, request: pytest.FixtureRequest) -> None:
    photos = write_photos(tmp_path / "photos")
    out = f"{request.getfixturevalue('s3')}/out" if on_s3 else str(tmp_path / "out")
    assert import_shards(str(photos), out, shard_bytes=8000).images == 36
    before, after = build(str(photos)), build(out)
    assert after.classes == before.classes == ["cat", "dog"]
    for ids_before, ids_after in ((before.train_ids(), after.train_ids()), (before.test_ids(), after.test_ids())):
        assert list(read_samples(after, ids_after)) == list(read_samples(before, ids_before))
        assert after.labels[ids_after].tolist() == before.labels[ids_before].tolist()


def test_shards_are_of_even_size_and_named_as_public_sets_are(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    import_shards(str(photos), str(tmp_path / "out"), shard_bytes=8000)
    files = sorted(path for path in (tmp_path / "out").glob("*.parquet"))
    rows = [pq.read_metadata(path).num_rows for path in files if path.name.startswith("train")]
    assert len(rows) > 2
    assert max(rows) - min(rows) <= 1
    assert files[0].name == f"test-00000-of-{len(files) - len(rows):05d}.parquet"
    table = pq.read_table(files[0])
    assert table.schema.field("image").type.field(0).name == "bytes"
    assert table["image"][0]["path"].as_py() == "val/cat/0.jpeg"


def test_an_import_cut_short_resumes_to_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = write_photos(tmp_path / "photos")
    import_shards(str(photos), str(tmp_path / "whole"), shard_bytes=8000)
    written: list[str] = []
    write = importer.write_shard

    def failing(*args: object, **options: object) -> bytes:
        written.append("shard")
        if len(written) == 3:
            raise OSError("no space left")
        return write(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(importer, "write_shard", failing)
    with pytest.raises(OSError, match="no space"):
        import_shards(str(photos), str(tmp_path / "out"), shard_bytes=8000)
    with pytest.raises(PlaceError, match=r"has \d of the \d shards of an import; run the import again"):
        build(str(tmp_path / "out"))
    (tmp_path / "out" / ".train-00000-of-00005.parquet.1.part").write_bytes(b"half")
    monkeypatch.undo()
    again = import_shards(str(photos), str(tmp_path / "out"), shard_bytes=123)
    assert 0 < again.written < again.shards
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    assert import_shards(str(photos), str(tmp_path / "out")).written == 0


def test_an_import_killed_at_any_moment_resumes_to_the_same_result(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3000, 16, 16), np.uint8)
    write_idx(tmp_path / "idx" / "train-images-idx3-ubyte", pixels)
    import_shards(str(tmp_path / "idx"), str(tmp_path / "whole"), shard_bytes=40_000)
    arguments = f"{str(tmp_path / 'idx')!r}, {str(tmp_path / 'out')!r}, shard_bytes=40_000"
    command = f"from swav_ray.data.tools.importer import import_shards; import_shards({arguments})"
    killed = subprocess.Popen([sys.executable, "-c", command])
    while len(list((tmp_path / "out").glob("*.parquet"))) < 2 and killed.poll() is None:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert import_shards(str(tmp_path / "idx"), str(tmp_path / "out")).written > 0
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    write_files(tmp_path / "other", {"a.txt": b""})
    with pytest.raises(PlaceError, match="holds other files"):
        import_shards(str(photos), str(tmp_path / "other"))
    import_shards(str(photos), str(tmp_path / "out"))
    (photos / "train" / "cat" / "99.png").write_bytes(image(99, "PNG"))
    with pytest.raises(PlaceError, match="was begun from"):
        import_shards(str(photos), str(tmp_path / "out"))


@pytest.mark.filterwarnings("error")
def test_a_source_of_which_nothing_is_there_is_imported_as_nothing(tmp_path: Path) -> None:
    rows = pa.array([{"bytes": None, "path": "a.jpg"}] * 3, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": rows}), tmp_path / "a.parquet", write_statistics=False)  # or it is refused
    done = import_shards(str(tmp_path), str(tmp_path / "out"))
    assert (done.images, done.skipped) == (0, 3)


def test_rows_without_bytes_and_files_that_are_gone_are_skipped_counted_and_listed(tmp_path: Path) -> None:
    rows = [{"bytes": image(i) if i != 2 else None, "path": None} for i in range(6)]
    write_files(tmp_path / "in", {})
    (tmp_path / "in").mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": rows, "label": list(range(6))}), tmp_path / "in" / "a.parquet")
    done = import_shards(str(tmp_path / "in"), str(tmp_path / "out"))
    assert (done.images, done.skipped) == (5, 1)
    manifest = build(str(tmp_path / "out"))
    assert all_samples(manifest) == [image(i) for i in range(6) if i != 2]
    assert manifest.labels.tolist() == [0, 1, 3, 4, 5]
    (listed,) = (tmp_path / "out").glob("_skipped-*.csv")
    assert "a.parquet#row_group=0,row=2" in listed.read_text()
    again = import_shards(str(tmp_path / "in"), str(tmp_path / "out"))
    assert (again.images, again.written, again.skipped) == (5, 0, 1)


def test_a_sample_that_cannot_be_read_stops_it_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = write_photos(tmp_path / "photos")

    def with_a_fault(manifest: Manifest, ids: np.ndarray) -> list[object]:
        return [PermissionError("gone") if i == 3 else sample for i, sample in enumerate(read_samples(manifest, ids))]

    monkeypatch.setattr(importer, "read_samples", with_a_fault)
    with pytest.raises(OSError, match=r"photos/(train|val)/cat/3.gif: cannot be read \(gone\)"):
        import_shards(str(photos), str(tmp_path / "out"))


def test_arrays_become_png_pixel_for_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 9), np.uint8)
    write_idx(tmp_path / "idx" / "train-images-idx3-ubyte.gz", pixels)
    write_idx(tmp_path / "idx" / "train-labels-idx1-ubyte.gz", np.arange(5))
    import_shards(str(tmp_path / "idx"), str(tmp_path / "out"))
    manifest = build(str(tmp_path / "out"))
    assert manifest.labels.tolist() == list(range(5))
    for data, array in zip(all_samples(manifest), pixels, strict=True):
        assert isinstance(data, bytes)
        assert data.startswith(b"\x89PNG")
        assert (decode(data) == array[..., None]).all()


def test_tars_and_foreign_parquet_are_sources_too(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {f"{i}.{s}": b for i in range(4) for s, b in (("jpg", image(i)), ("cls", b"1"))})
    write_parquet(tmp_path / "x.parquet", 4, label=["a", "b", "b", "a"])
    for name, labels in (("x.tar", [1, 1, 1, 1]), ("x.parquet", [0, 1, 1, 0])):
        import_shards(str(tmp_path / name), str(tmp_path / f"out-{name}"))
        manifest = build(str(tmp_path / f"out-{name}"))
        assert all_samples(manifest) == [image(i) for i in range(4)]
        assert manifest.labels.tolist() == labels


def test_an_import_makes_images_smaller_and_leaves_copies_out_if_asked(tmp_path: Path) -> None:
    large = encoded(photo(300, 200), "JPEG")
    files = {"train/a/1.jpg": image(1), "train/a/2.jpg": large, "train/b/3.jpg": large, "val/a/4.jpg": image(1)}
    write_files(tmp_path / "in", files)
    done = import_shards(str(tmp_path / "in"), str(tmp_path / "out"), max_side=60, deduplicate=True)
    assert (done.images, done.duplicates) == (2, 2)
    manifest = build(str(tmp_path / "out"))
    (held_out,) = read_samples(manifest, manifest.test_ids())
    (train,) = read_samples(manifest, manifest.train_ids())
    assert held_out == image(1)
    assert decode(train).shape == (40, 60, 3)
    for other in ({"deduplicate": True}, {"max_side": 60}):
        with pytest.raises(PlaceError, match="was begun"):
            import_shards(str(tmp_path / "in"), str(tmp_path / "out"), **other)


def test_a_shuffled_import_has_the_same_images_in_another_order_always_the_same(tmp_path: Path) -> None:
    files = {
        f"{split}/{name}/{i}.jpg": image(100 * j + i)
        for split in ("train", "val")
        for j, name in enumerate("ab")
        for i in range(20)
    }
    write_files(tmp_path / "in", files)
    for out in ("plain", "first", "second"):
        import_shards(str(tmp_path / "in"), str(tmp_path / out), shard_bytes=9000, shuffle=out != "plain")
    plain, first = (build(str(tmp_path / out)) for out in ("plain", "first"))
    assert hashes(tmp_path / "first") == hashes(tmp_path / "second")
    for before, after in ((plain.train_ids(), first.train_ids()), (plain.test_ids(), first.test_ids())):
        old, new = (list(read_samples(found, ids)) for found, ids in ((plain, before), (first, after)))
        assert new != old
        assert sorted(new) == sorted(old)
        label_of = dict(zip(old, plain.labels[before].tolist(), strict=True))
        assert [label_of[data] for data in new] == first.labels[after].tolist()
    assert (np.diff(first.labels[first.train_ids()]) != 0).sum() > 8
    with pytest.raises(PlaceError, match="was begun with --shuffle; do as then, or give another folder"):
        import_shards(str(tmp_path / "in"), str(tmp_path / "first"), shard_bytes=9000)
