"""Each image has one row, in the embeddings or in the list of unreadable ones, at whatever moment work is cut off."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swav_ray.data.manifest import build
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.output import Output
from swav_ray.embed.part import uris
from swav_ray.embed.work import EmbedPart
from swav_ray.features.parts import Parts
from swav_ray.weights.backbone import load_backbone
from swav_ray.weights.head import heads_of
from tests.embed.small import CPU, begin, embed, embedded, images, network_and_how, table, vectors_of, weights


def ids_of(output: Output) -> list[int]:
    """Sample ids of both tables, of every file that is there."""
    found: list[int] = []
    for parts in (output.embeddings, output.unreadable):
        for part in set(range(len(parts))) - set(parts.missing()) | set(parts.to_try_again()):
            found += parts.read(part)["sample_id"].to_pylist()
    return sorted(found)


def test_rows_are_the_networks_own_outputs_in_eval_mode(tmp_path: Path) -> None:
    output, _ = embedded(tmp_path)
    found = table(output)
    backbone = load_backbone(str(weights(tmp_path)), image_size=16)
    (head,) = heads_of(backbone.origin.parts.head, "x")
    with torch.no_grad():
        pixels = torch.stack([backbone.preprocess(Path(uri).read_bytes()) for uri in found["uri"].to_pylist()])
        features = backbone(pixels)
        scores = head(features)
    assert np.allclose(vectors_of(output), features.numpy(), atol=1e-4)
    assert found["cluster"].to_pylist() == scores.argmax(dim=1).tolist()
    best = scores.max(dim=1).values
    assert np.allclose(found["distance"], 1 - best.numpy(), atol=1e-5)
    assert np.allclose(found["probability"], (scores / 0.1).softmax(dim=1).max(dim=1).values.numpy(), atol=1e-4)
    assert set(found["label"].to_pylist()) == {"a", "b"}
    assert found["label"].to_pylist() == [Path(uri).parent.name for uri in found["uri"].to_pylist()]


def test_every_image_is_in_one_of_the_two_tables(tmp_path: Path) -> None:
    output, _ = embedded(tmp_path)
    assert ids_of(output) == list(range(41))
    (bad,) = [part for part in range(3) if part not in output.unreadable.missing()]
    (row,) = output.unreadable.read(bad).to_pylist()
    assert row["uri"].endswith("train/a/broken.jpg")
    assert "0 bytes" in row["reason"] or "empty" in row["reason"]


@pytest.mark.parametrize("layer", ["pooled", "projection", "map"])
def test_layers_have_their_shapes_and_a_fixed_size(tmp_path: Path, layer: str) -> None:
    output, _ = embedded(tmp_path, layer=layer, dtype="float16")
    assert output.how.shape == {"pooled": (64,), "projection": (4,), "map": (64, 1, 1)}[layer]
    kind = table(output)["embedding"].type
    assert (kind.list_size, str(kind.value_type)) == (output.how.dim, "halffloat")
    if layer == "projection":
        assert np.allclose(np.linalg.norm(vectors_of(output), axis=1), 1, atol=1e-2)


def test_every_head_and_the_three_best_clusters(tmp_path: Path) -> None:
    network, how = network_and_how(weights(tmp_path, (6, 4)), every=True, soft=True)
    output = begin(tmp_path / "out", how, images(tmp_path / "images"))
    embed(output, network)
    found = table(output)
    assert max(found["cluster_2"].to_pylist()) < 4
    top = np.stack(found["top_clusters_2"].to_pylist())
    assert top[:, 0].tolist() == found["cluster_2"].to_pylist()
    likely = np.stack(found["top_probabilities_2"].to_pylist())
    assert (np.diff(likely, axis=1) <= 0).all()


def test_weights_without_a_head_have_no_cluster_columns(tmp_path: Path) -> None:
    network, how = network_and_how(weights(tmp_path, head=False))
    output = begin(tmp_path / "out", how, images(tmp_path / "images"))
    embed(output, network)
    assert table(output).column_names == ["sample_id", "uri", "split", "label", "embedding"]
    with pytest.raises(EmbedError, match=r"--layer projection: .* holds no projection head; use --layer pooled"):
        network_and_how(weights(tmp_path, head=False), layer="projection")


class Cut(Exception):
    pass


def cut_after(steps: int, method: Any, counted: list[None]) -> Any:
    """The method, which raises Cut after this step of all that are counted."""

    def run(*arguments: Any, **keywords: Any) -> None:
        method(*arguments, **keywords)
        counted.append(None)
        if len(counted) == steps:
            raise Cut

    return run


@pytest.mark.parametrize("cut", range(1, 13))
def test_an_image_is_lost_or_doubled_at_no_write_that_may_be_the_last(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is missing at first, and a broken one. Work is cut off after one write or removal of a file."""
    data = images(tmp_path / "images", 20, {"train/a/broken.jpg": b"no image"})
    network, how = network_and_how(weights(tmp_path))
    output = begin(tmp_path / "out", how, data)
    gone = data / "train/a/000.jpg"
    content = gone.read_bytes()
    gone.unlink()
    counted: list[None] = []
    for name in ("write", "delete"):
        monkeypatch.setattr(Parts, name, cut_after(cut, getattr(Parts, name), counted))
    for _ in range(3):
        with contextlib.suppress(Cut):
            embed(output, network)
        whole = set(range(2)) - set(output.missing())
        expected = [i for part in whole for i in range(21)[output.embeddings.span(part)]]
        assert sorted(set(expected) & set(ids_of(output))) == expected
        gone.write_bytes(content)
    assert (output.missing(), ids_of(output)) == ([], list(range(21)))


def test_images_that_vanish_as_a_whole_are_said_and_what_is_there_stays(tmp_path: Path) -> None:
    data = images(tmp_path / "images")
    network, how = network_and_how(weights(tmp_path))
    output = begin(tmp_path / "out", how, data)
    work = EmbedPart(output, network)
    work.write(work.read(0, 1), CPU)
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(EmbedError, match=r"have vanished; .* stays in .*/out, and the same command resumes once"):
        work.read(1, 1)
    assert output.missing() == [1, 2]


def test_values_beyond_float16_are_refused(tmp_path: Path) -> None:
    network, how = network_and_how(weights(tmp_path), dtype="float16")
    output = begin(tmp_path / "out", how, images(tmp_path / "images", 4))
    with torch.no_grad():
        network.backbone.trunk.layer4[1].bn2.bias.fill_(1e6)  # type: ignore[union-attr, index]
    with pytest.raises(EmbedError, match=r"--dtype float16: an embedding has a value of 1e\+06; use --dtype float32"):
        embed(output, network)


def test_uris_are_those_of_the_manifest(tmp_path: Path) -> None:
    manifest = build(str(images(tmp_path / "images", 5)))
    assert uris(manifest) == [manifest.uri_of(i) for i in range(5)]
