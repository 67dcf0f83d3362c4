"""Neighbours are those of brute force over all embeddings, whatever the parts."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import swav_ray.embed
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.neighbours.nearest import nearest, search, write_neighbours
from swav_ray.embed.neighbours.vectors import unit
from tests.embed.small import begin, embed, embedded, images, network_and_how, table, vectors_of, weights


def test_neighbours_are_those_of_brute_force_without_the_image_itself(tmp_path: Path) -> None:
    output, _ = embedded(tmp_path)
    write_neighbours(output, [0, 2], 5)
    write_neighbours(output, [1], 5)
    assert output.neighbours(5).missing() == []
    found = pa.concat_tables(output.neighbours(5).read(part) for part in range(3))
    ids = table(output)["sample_id"].to_numpy()
    cosines = unit(vectors_of(output)) @ unit(vectors_of(output)).T
    np.fill_diagonal(cosines, -2)
    best = np.sort(cosines, axis=1)[:, ::-1][:, :5]
    assert found["sample_id"].to_pylist() == ids.tolist()
    assert np.allclose(np.stack(found["similarities"].to_pylist()), best, atol=1e-5)
    for own, near in zip(ids.tolist(), found["neighbours"].to_pylist(), strict=True):
        assert own not in near


def test_with_fewer_images_than_asked_for_the_rest_is_empty(tmp_path: Path) -> None:
    output, _ = embedded(tmp_path)
    ids, cosines = nearest(output, vectors_of(output)[:1], 50)
    assert (ids[0] >= 0).sum() == 40
    assert np.isneginf(cosines[0, 40:]).all()


@pytest.mark.parametrize("kind", ["path", "bytes", "pil", "array", "embedding"])
def test_an_image_that_was_embedded_is_its_own_nearest_in_every_form(tmp_path: Path, kind: str) -> None:
    output, _ = embedded(tmp_path)
    row = table(output).slice(7, 1)
    uri = row["uri"][0].as_py()
    data = Path(uri).read_bytes()
    pixels = Image.open(io.BytesIO(data))
    image = {
        "path": uri,
        "bytes": data,
        "pil": pixels,
        "array": np.asarray(pixels),
        "embedding": output.vectors(row)[0],
    }[kind]
    first, second = search(output.folder, image, 2)
    assert first.uri == uri
    assert first.similarity == pytest.approx(1, abs=1e-3)
    assert second.similarity <= first.similarity
    assert swav_ray.embed.search is search


def test_a_deep_image_is_searched_with_the_range_that_it_was_embedded_with(tmp_path: Path) -> None:
    deep = {}
    for shift in range(8):
        ramp = np.roll(np.linspace(0, 4095, 32 * 32).reshape(32, 32).astype(np.uint16), 4 * shift, axis=shift % 2)
        stream = io.BytesIO()
        Image.fromarray(ramp).save(stream, "PNG")
        deep[f"train/a/deep{shift}.png"] = stream.getvalue()
    data = images(tmp_path / "images", 8, broken=deep)
    network, how = network_and_how(weights(tmp_path))
    output = begin(tmp_path / "out", how, data)
    assert output.manifest(0).decoding.value_range == (0.0, 4095.0)
    network.backbone.preprocess = replace(network.backbone.preprocess, decoding=output.manifest(0).decoding)
    embed(output, network)
    for name in deep:
        (first,) = search(output.folder, str(data / name), 1)
        assert first.uri == str(data / name)
        assert first.similarity == pytest.approx(1, abs=1e-5)


def test_a_checkpoint_that_has_changed_is_refused(tmp_path: Path) -> None:
    output, _ = embedded(tmp_path)
    weights(tmp_path, (5,)).rename(output.how.checkpoint)
    with pytest.raises(EmbedError, match="has changed since it was used here"):
        search(output.folder, table(output)["uri"][0].as_py())


def test_an_embedding_of_another_length_is_refused(tmp_path: Path) -> None:
    output, _ = embedded(tmp_path)
    with pytest.raises(EmbedError, match=r"\(3,\) cannot be searched among those of \(64,\)"):
        search(output.folder, np.zeros(3))
    with pytest.raises(EmbedError, match="the image: "):
        search(output.folder, b"no image")
