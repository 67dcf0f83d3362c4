"""Searches by an index of faiss: the flat one finds what exact search finds, the other one nearly all of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from swav_ray.embed.errors import EmbedError
from swav_ray.embed.finish import Extras, finish
from swav_ray.embed.neighbours import index
from swav_ray.embed.neighbours.index import FLAT, IVF, KINDS, by_index, write_index
from swav_ray.embed.neighbours.nearest import nearest, search
from swav_ray.embed.output import INDEX, Output
from tests.embed.small import begin, embed, embedded, images, network_and_how, table, vectors_of, weights


def many(tmp_path: Path) -> Output:
    """Images for ten lists."""
    network, how = network_and_how(weights(tmp_path), image_size=8)
    output = begin(tmp_path / "many", how, images(tmp_path / "images", 640))
    embed(output, network)
    return output


def test_a_flat_index_finds_what_exact_search_finds(tmp_path: Path) -> None:
    output, _ = embedded(tmp_path)
    write_index(output, FLAT)
    queries = np.concatenate([vectors_of(output), np.random.default_rng(0).normal(size=(5, output.how.dim))])
    expected, found = nearest(output, queries, 6), by_index(output, queries, 6)
    assert found is not None
    assert np.allclose(found[1], expected[1], atol=1e-5)
    # Images as near as each other may come in any order.
    ties = np.abs(np.diff(expected[1], axis=1)) < 1e-5
    clear = ~(np.pad(ties, ((0, 0), (1, 0))) | np.pad(ties, ((0, 0), (0, 1)), constant_values=True))
    assert clear.mean() > 0.5
    assert (found[0] == expected[0])[clear].all()
    more = by_index(output, queries[:1], 50)
    assert more is not None
    assert ((more[0] >= 0).sum(), np.isneginf(more[1][0, 40:]).all()) == (40, True)


def test_lists_find_nearly_all_and_search_can_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_PROBED", 4)
    output = many(tmp_path)
    write_index(output, IVF)
    queries = vectors_of(output)[::10]
    expected, found = nearest(output, queries, 10), by_index(output, queries, 10)
    assert found is not None
    shared = [len({*a, *b}) for a, b in zip(expected[0].tolist(), found[0].tolist(), strict=True)]
    assert 10 < np.mean(shared) < 11  # of ten neighbours nine are found
    uri = table(output)["uri"][7].as_py()
    for exact in (False, True):
        (near,) = search(output.folder, uri, 1, exact=exact)
        assert near.similarity == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_of_few_images_and_the_command_that_makes_it(tmp_path: Path, kind: str) -> None:
    output, network = embedded(tmp_path)
    lines = list(finish(output, network, Extras(index=kind), 1, lambda _: None))
    assert f"index for searches: {output.folder / INDEX}" in lines
    first = search(output.folder, table(output)["uri"][3].as_py(), 1)[0]
    assert first.sample_id == table(output)["sample_id"][3].as_py()


def test_an_index_goes_when_embeddings_change(tmp_path: Path) -> None:
    output, _ = embedded(tmp_path)
    write_index(output, FLAT)
    output.drop_derived()
    assert by_index(output, vectors_of(output)[:1], 2) is None


def test_what_is_wrong_with_an_index_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, _ = embedded(tmp_path)
    (output.folder / INDEX).write_bytes(b"no index")
    with pytest.raises(EmbedError, match=r"index\.faiss: is no index of faiss; delete it"):
        by_index(output, vectors_of(output)[:1], 2)
    with pytest.raises(EmbedError, match="--index: needs vectors; use --layer pooled"):
        Extras(index=FLAT).check(network_and_how(weights(tmp_path), layer="map")[1], output.folder, output.folder)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert by_index(output, vectors_of(output)[:1], 2) is None  # exact search needs no faiss
    with pytest.raises(EmbedError, match=r"--index flat: needs faiss; pip install 'swav_ray\[faiss\]'"):
        write_index(output, FLAT)
