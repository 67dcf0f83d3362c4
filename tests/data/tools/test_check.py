"""A check decodes every image and says of each bad one where it lies, of what kind it is, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from swav_ray.data.manifest import build
from swav_ray.data.tools.check import check
from tests.data.decoding.test_decode import encoded
from tests.data.decoding.test_levels import clip_art
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
    assert "classes with the largest unreadable part: bad (4 of 4), good (1 of 200)" in report.text()


def test_what_is_remarkable_is_counted_and_copies_are_named(tmp_path: Path) -> None:
    drawing = Image.new("RGBA", (32, 32))  # black on hidden black
    drawing.putalpha(clip_art("RGBA").getchannel("A"))
    files = {
        "train/a/0.jpg": image(0),
        "train/a/1.jpg": image(1)[:-2],
        "train/b/copy.jpg": image(0),
        "train/b/2.png": encoded(clip_art("RGBA"), "PNG"),
        "train/b/3.png": encoded(Image.new("L", (9, 9), 7), "PNG"),
        "val/a/twin.jpg": image(0),
        "val/b/4.jpg": image(4),
        "val/b/5.jpg": b"",
        "val/a/6.jpg": b"",
        "train/b/7.png": encoded(drawing, "PNG"),
    }
    report = check(build(str(write_files(tmp_path, files))), workers=1)
    assert (report.no_end, report.transparent, report.constant, report.twins) == (1, 2, 2, 1)
    names = [[str(Path(uri).relative_to(tmp_path)) for uri in found] for found in report.duplicates]
    assert names == [["train/a/0.jpg", "train/b/copy.jpg", "val/a/twin.jpg"]]
    text = report.text()
    assert "1 JPEGs lack their end marker and are read" in text
    assert "2 images are one constant colour; over white 1 of them show something (data.alpha white)" in text
    assert "2 images are byte-identical copies of others" in text
    equal = [sample for sample in range(report.images) if report.contents[sample] == report.contents[0]]
    assert equal == [0, 5, 7]
    assert "1 held-out images have a twin among the training images" in text
