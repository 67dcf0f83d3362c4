"""Data sets of torchvision by name: their files byte for byte if they have files, else PNG, and said so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from swav_ray.data.decoding.decode import decode
from swav_ray.data.manifest import Manifest, build
from swav_ray.data.sources import read_samples
from swav_ray.data.tools.importer import import_shards
from swav_ray.storage.place import PlaceError
from tests.data.images import image, write_files, write_idx


def all_samples(manifest: Manifest) -> list[object]:
    return list(read_samples(manifest, np.arange(len(manifest))))


def test_torchvision_sets_by_name_keep_their_files_and_labels(tmp_path: Path) -> None:
    write_files(tmp_path / "tv", {f"{name}/{i}.jpg": image(i) for name in ("ant", "bee") for i in range(3)})
    import_shards(f"torchvision:ImageFolder:{tmp_path / 'tv'}", str(tmp_path / "out"))
    manifest = build(str(tmp_path / "out"))
    assert manifest.classes == ["ant", "bee"]
    assert manifest.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert all_samples(manifest) == [image(i) for _ in range(2) for i in range(3)]


class _Opened:
    """As CelebA does it: names under an attribute of its own, images as PIL opens them, attributes for a label."""

    def __init__(self, root: str) -> None:
        self.filename = sorted(path.name for path in Path(root).iterdir())
        self._root = Path(root)

    def __len__(self) -> int:
        return len(self.filename)

    def __getitem__(self, i: int) -> tuple[Image.Image, object]:
        return Image.open(self._root / self.filename[i]), torch.tensor([1, 0])


class _Listed(_Opened):
    """As VOC does it: the paths are there, and images come converted."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.images = [str(self._root / name) for name in self.filename]

    def __getitem__(self, i: int) -> tuple[Image.Image, object]:
        return super().__getitem__(i)[0].convert("RGB"), i % 2


class _Converted(_Opened):
    """Names of files that are somewhere, and images that come converted."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.images = self.filename

    def __getitem__(self, i: int) -> tuple[Image.Image, object]:
        return super().__getitem__(i)[0].convert("RGB"), i % 2


@pytest.mark.parametrize("kind", [_Opened, _Listed, _Converted])
def test_torchvision_sets_of_any_kind_keep_their_files_or_say_so(
    kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_files(tmp_path / "tv", {f"{i}.jpg": image(i) for i in range(4)})
    monkeypatch.setattr("torchvision.datasets.Kind", kind, raising=False)
    source = f"torchvision:Kind:{tmp_path / 'tv'}"
    import_shards(source, str(tmp_path / "out"))
    manifest = build(str(tmp_path / "out"))
    assert manifest.labels.tolist() == ([-1] * 4 if kind is _Opened else [0, 1, 0, 1])
    told = [record.getMessage() for record in caplog.records]
    if kind is not _Converted:
        assert (all_samples(manifest), told) == ([image(i) for i in range(4)], [])
        return
    assert told == [f"{source}: gives pixels and not their files: images are stored as PNG"]
    assert all(bytes(sample).startswith(b"\x89PNG") for sample in all_samples(manifest))


def test_torchvision_sets_of_arrays_have_both_splits(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("t10k", 2)):
        write_idx(tmp_path / "MNIST" / "raw" / f"{split}-images-idx3-ubyte", np.full((count, 28, 28), count))
        write_idx(tmp_path / "MNIST" / "raw" / f"{split}-labels-idx1-ubyte", np.arange(count))
    import_shards(f"torchvision:MNIST:{tmp_path}", str(tmp_path / "out"))
    manifest = build(str(tmp_path / "out"))
    assert (len(manifest.train_ids()), len(manifest.test_ids())) == (6, 2)
    assert manifest.classes[3] == "3 - three"
    (sample,) = read_samples(manifest, manifest.train_ids()[:1])
    assert isinstance(sample, bytes)
    assert (decode(sample) == 6).all()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("torchvision:Nonsense:/x", "use torchvision:CLASS:ROOT"),
        ("torchvision:CIFAR10", "names no root"),
        ("torchvision:CIFAR10:/nowhere", "torchvision cannot load it"),
    ],
)
def test_names_that_torchvision_does_not_have_are_refused(source: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=words):
        import_shards(source, str(tmp_path / "out"))
