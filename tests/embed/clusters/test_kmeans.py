"""k-means finds clusters that are there, says how many, and writes one for each image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from swav_ray.embed.clusters import kmeans
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.neighbours.vectors import unit
from tests.embed.small import embedded, table, vectors_of


def clouds(count: int, images: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around so many directions that are far apart, and whose each is."""
    generator = np.random.default_rng(0)
    centers = np.linalg.qr(generator.normal(size=(16, 16)))[0][:count]
    own = np.arange(images) % count
    return unit(centers[own] + 0.05 * generator.normal(size=(images, 16))), own


def test_separate_clouds_are_found_and_counted() -> None:
    vectors, own = clouds(6)
    assert kmeans.suggested(vectors)[0] == 6
    centers = kmeans.centers_of(vectors, 6)
    assert np.allclose(np.linalg.norm(centers, axis=1), 1, atol=1e-5)
    found = (vectors @ centers.T).argmax(axis=1)
    assert len({(a, b) for a, b in zip(own.tolist(), found.tolist(), strict=True)}) == 6


def test_every_image_gets_its_nearest_centre_and_a_lost_part_is_made_again_alike(tmp_path: Path) -> None:
    output, _ = embedded(tmp_path)
    head = kmeans.learn(output, 3)
    kmeans.write_clusters(output, head)
    parts = output.clusters(3)
    found = pa.concat_tables(parts.read(part) for part in range(3))
    expected = (unit(vectors_of(output)) @ head.prototypes.numpy().T).argmax(axis=1)
    assert found["cluster"].to_pylist() == expected.tolist()
    assert found["sample_id"].to_pylist() == table(output)["sample_id"].to_pylist()
    lost = parts.read(1)
    parts.delete(1)
    kmeans.write_clusters(output, kmeans.learn(output, 3))
    assert parts.read(1).equals(lost)


def test_too_few_images_are_said() -> None:
    vectors, _ = clouds(2, 8)
    with pytest.raises(EmbedError, match="--clusters 9: there are 8 images; give at most so many"):
        kmeans.centers_of(vectors, 9)
    with pytest.raises(EmbedError, match="--clusters auto: 8 images are too few; give a number"):
        kmeans.suggested(vectors)
