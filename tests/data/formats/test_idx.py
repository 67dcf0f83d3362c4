"""IDX files give pixels, labels and splits, gzipped or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swav_ray.data.manifest import PlaceError, build
from swav_ray.data.sources import read_samples
from tests.data.images import write_idx


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_give_pixels_labels_and_splits(tmp_path: Path, suffix: str) -> None:
    train, test = (np.random.default_rng(n).integers(0, 256, (n, 6, 5), np.uint8) for n in (7, 3))
    write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", train)
    write_idx(tmp_path / f"train-labels-idx1-ubyte{suffix}", np.arange(7))
    write_idx(tmp_path / f"t10k-images-idx3-ubyte{suffix}", test)
    write_idx(tmp_path / f"t10k-labels-idx1-ubyte{suffix}", np.arange(3))
    manifest = build(str(tmp_path))
    assert manifest.classes == [str(i) for i in range(7)]
    assert manifest.labels.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6]
    assert manifest.test_ids().tolist() == [0, 1, 2]
    for sample, source in zip(read_samples(manifest, np.array([9, 1])), (train[6], test[1]), strict=True):
        assert isinstance(sample, np.ndarray)
        assert (sample.shape, sample.dtype) == ((6, 5, 3), np.uint8)
        assert (sample == source[..., None]).all()


def test_idx_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "a" / "train-images-idx3-ubyte", np.zeros((4, 2, 2)))
    write_idx(tmp_path / "a" / "train-labels-idx1-ubyte", np.zeros(3))
    with pytest.raises(PlaceError, match="has 3 labels for the 4 images of train-images-idx3-ubyte"):
        build(str(tmp_path / "a"))
    path = write_idx(tmp_path / "b" / "train-images-idx3-ubyte", np.zeros((4, 2, 2)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PlaceError, match="is cut short: 15 bytes of 16"):
        build(str(tmp_path / "b"))


def test_debians_fashion_mnist_is_a_place() -> None:
    where = Path("/usr/share/datasets/fashion-mnist")
    if not where.exists():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    manifest = build(str(where))
    assert (len(manifest.train_ids()), len(manifest.test_ids()), len(manifest.classes)) == (60_000, 10_000, 10)
    assert np.bincount(manifest.labels).tolist() == [7000] * 10
