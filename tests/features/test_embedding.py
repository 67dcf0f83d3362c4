"""Images become crops and features block by block; what cannot be read is told, and whether another try may help."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from swav_ray.data import manifest as manifests
from swav_ray.data.sources import read_samples
from swav_ray.features.embedding import BF16, crops_of, embed
from tests.data.images import image, write_files
from tests.evaluate.protocols.given import backbone

CPU = torch.device("cpu")


def images(folder: Path) -> manifests.Manifest:
    write_files(folder, {f"{i}.jpg": image(i) for i in range(5)} | {"5.jpg": b"no image", "6.jpg": image(6)})
    return manifests.build(str(folder))


def test_features_are_those_of_the_backbones_own_preprocessing(tmp_path: Path) -> None:
    made, network = images(tmp_path), backbone()
    ids = np.arange(5)
    crops, reasons, again = crops_of(made, ids, 16, threads=2)
    assert (reasons, again) == ([None] * 5, False)
    with torch.no_grad():
        expected = network(torch.stack([network.preprocess(data) for data in read_samples(made, ids)]))
    np.testing.assert_allclose(embed(network, crops, CPU), expected, rtol=1e-5, atol=1e-6)


def test_an_image_that_is_none_stays_so_and_one_that_is_gone_may_come_back(tmp_path: Path) -> None:
    made = images(tmp_path)
    crops, reasons, again = crops_of(made, np.array([4, 5, 6]), 16, threads=2)
    assert [reason is None for reason in reasons] == [True, False, True]
    assert not crops[1].any()
    assert not again
    (tmp_path / "6.jpg").unlink()
    _, reasons, again = crops_of(made, np.array([4, 6]), 16, threads=2)
    assert "6.jpg: no such file" in str(reasons[1])
    assert again


def test_bfloat16_moves_features_by_less_than_two_digits_show(tmp_path: Path) -> None:
    crops, _, _ = crops_of(images(tmp_path), np.arange(5), 16, threads=1)
    network = backbone()
    exact, fast = embed(network, crops, CPU), embed(network, crops, CPU, BF16)
    assert fast.dtype == np.float32
    assert not np.array_equal(exact, fast)
    np.testing.assert_allclose(fast, exact, atol=0.03 * np.abs(exact).max())


def test_no_crops_have_no_features() -> None:
    network = backbone()
    assert embed(network, np.empty((0, 16, 16, 3), np.uint8), CPU).shape == (0, network.feature_dim)
