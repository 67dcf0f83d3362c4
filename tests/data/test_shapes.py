"""The built-in data set: the same for the same arguments, balanced, quick, whole or not there."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg

from swav_ray.data import shapes


class Folder:
    """A local folder with the four methods of a place; it can fail at the n-th write."""

    def __init__(self, path: Path, fail_at: int = -1) -> None:
        self.path, self.budget = path, [fail_at]

    def __truediv__(self, name: str) -> "Folder":
        child = Folder(self.path / name)
        child.budget = self.budget
        return child

    def exists(self) -> bool:
        return self.path.exists()

    def read_bytes(self) -> bytes:
        return self.path.read_bytes()

    def write_bytes(self, data: bytes) -> None:
        self.budget[0] -= 1
        if self.budget[0] == -1:
            raise OSError("disk full")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(data)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def write(path: Path, fail_at: int = -1, **changes: int) -> None:
    arguments = {"train": 150, "test": 30, "size": 32, "seed": 1, "rows_per_shard": 64} | changes
    shapes.write_shapes(Folder(path, fail_at), **arguments)


def test_shards_hold_real_jpegs_with_labels_and_splits_in_small_row_groups(tmp_path):
    write(tmp_path, train=200, rows_per_shard=160)
    names = [file.name for file in sorted(tmp_path.glob("*.parquet"))]
    assert names == ["test-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    shard = pq.ParquetFile(io.BytesIO((tmp_path / names[1]).read_bytes()))
    assert [shard.metadata.row_group(i).num_rows for i in range(3)] == [64, 64, 32]
    assert shard.metadata.row_group(0).column(0).compression == "UNCOMPRESSED"
    row = shard.read().to_pylist()[7]
    image, label = shapes.draw_image(7, split="train", size=32, seed=1)
    assert (row["label"], row["split"], row["image"]["path"]) == (label, "train", "train/000007.jpg")
    decoded = simplejpeg.decode_jpeg(row["image"]["bytes"], colorspace="RGB")
    assert decoded.shape == (32, 32, 3)
    assert np.abs(decoded.astype(int) - image).mean() < 8


def test_a_sample_depends_on_seed_split_and_index_alone(tmp_path):
    write(tmp_path / "few", train=70)
    write(tmp_path / "more", train=300, rows_per_shard=100)

    def rows(name):
        return pq.read_table(tmp_path / name, filters=[("split", "=", "train")]).to_pylist()

    assert rows("few") == rows("more")[:70]
    others = ((0, "train", 1), (0, "test", 1), (0, "train", 2), (1, "train", 1))
    images = [shapes.draw_image(index, split=split, size=32, seed=seed)[0] for index, split, seed in others]
    assert all((a != b).mean() > 0.5 for i, a in enumerate(images) for b in images[:i])


def test_pixels_are_the_same_on_any_machine():
    """Figures of the machine that wrote this test: a change here needs a new version of the data set."""
    drawn = [shapes.draw_image(i, split="train", size=48, seed=0) for i in range(8)]
    assert [label for _, label in drawn[:8]] == [0, 8, 8, 4, 4, 5, 5, 5]
    assert [int(image.sum(dtype=np.int64)) for image, _ in drawn[:4]] == [914218, 975546, 779662, 817472]


def test_classes_are_ten_and_about_equally_frequent():
    names = shapes.class_names()
    assert len(set(names)) == 10
    assert {"striped square", "dotted disc"} <= set(names)
    labels = [shapes.draw_image(i, split="train", size=16, seed=0)[1] for i in range(1000)]
    assert np.bincount(labels, minlength=10).min() > 70


def test_a_second_call_writes_nothing_and_an_interrupted_one_is_redone(tmp_path):
    write(tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    write(tmp_path / "whole", fail_at=0)  # would raise at the first write
    for fail_at in range(len(whole) + 1):  # the marker is written twice
        with pytest.raises(OSError, match="disk full"):
            write(tmp_path / str(fail_at), fail_at)
        marker = tmp_path / str(fail_at) / shapes.MARKER
        assert not marker.exists() or not json.loads(marker.read_bytes())["complete"]
        write(tmp_path / str(fail_at))
        assert contents(tmp_path / str(fail_at)) == whole


def test_another_data_set_in_the_same_place_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match="of another data set"):
        write(tmp_path, seed=2)


@pytest.mark.parametrize("bad", [{"train": 0}, {"test": -1}, {"size": 8}, {"seed": -1}, {"rows_per_shard": 0}])
def test_arguments_out_of_range_are_named(tmp_path, bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}={next(iter(bad.values()))}"):
        write(tmp_path, **bad)
    assert not (tmp_path / shapes.MARKER).exists()


def test_pixel_distance_is_not_enough():
    import torch

    from swav_ray.evaluate.features.extract import pixels
    from swav_ray.evaluate.knn import knn_top1

    images, labels = zip(*[shapes.draw_image(i, split="train", size=32, seed=0) for i in range(1500)], strict=True)
    features, labels = pixels(torch.from_numpy(np.stack(images))), torch.tensor(labels)
    top1 = knn_top1(features[:1200], labels[:1200], features[1200:], labels[1200:])
    assert top1 < 0.7
