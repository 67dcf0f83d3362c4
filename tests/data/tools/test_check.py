"""A check decodes every image and says of each bad one where it lies, of what kind it is, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.data.manifest import build
from swav_ray.data.tools.check import check
from tests.data.images import image, write_files


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    good = {f"good/{i:03d}.jpg": image(i) for i in range(200)}
    bad = {"bad/a.jpg": b"", "bad/b.jpg": b"no image", "bad/c.jpg": image(1)[:-400], "bad/d.png": b""}
    return write_files(tmp_path / "images", good | bad)


def test_the_bad_images_are_found_by_kind(damaged: Path) -> None:
    manifest = build(str(damaged))
    (damaged / "good" / "007.jpg").unlink()
    seen: list[tuple[int, int]] = []
    report = check(manifest, workers=2, progress=lambda done, total: seen.append((done, total)))
    kinds = {kind: [Path(image.uri).name for image in images] for kind, images in report.by_kind().items()}
    assert kinds["empty"] == ["a.jpg", "d.png"]
    assert kinds["missing"] == ["007.jpg"]
    assert sorted(name for names in kinds.values() for name in names) == ["007.jpg", "a.jpg", "b.jpg", "c.jpg", "d.png"]
    assert report.images == 204
    assert seen[-1] == (204, 204)
    assert report.text().startswith("204 images, 5 unreadable\nempty: 2\n")
