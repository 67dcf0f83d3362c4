"""How a data set's images are decoded follows from a sample of them, measured once and said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from swav_ray.config import AugmentConfig, ConfigError, DataConfig
from swav_ray.data import manifest as manifests
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.decode import decode
from swav_ray.data.formats.listing import MANIFEST_KEY
from swav_ray.data.looks import Looks
from swav_ray.data.sources import read_samples
from swav_ray.storage.place import place
from tests.data.decoding.test_decode import encoded, photo
from tests.data.decoding.test_levels import clip_art, ramp
from tests.data.images import write_files
from tests.data.makers import CROPS, make


def built(folder: Path, files: dict[str, bytes]) -> manifests.Manifest:
    return manifests.build(str(write_files(folder, files)))


def brightest(found: manifests.Manifest) -> list[int]:
    samples = read_samples(found, np.arange(len(found)))
    return [int(decode(data, found.decoding).max()) for data in samples if not isinstance(data, Exception)]


def test_images_of_a_set_share_the_range_that_fits_all_of_them(tmp_path: Path) -> None:
    peaks = (255, 256, 4095)
    found = built(tmp_path, {f"{peak}.png": encoded(ramp(0, peak, np.uint16), "PNG") for peak in peaks})
    assert found.decoding.value_range == (0, 4095)
    assert found.looks is not None
    assert (found.looks.deep, found.looks.low, found.looks.high) == (3, 0, 4095)
    assert brightest(found) == [16, 16, 255]


@pytest.mark.parametrize(
    ("low", "high", "kind", "expected"),
    [
        (-1000, 1000, np.int32, (-1000, 1000)),
        (300, 900, np.int32, (0, 900)),
        (0, 3000, np.float32, (0, 3000)),
        (-1, 1, np.float32, (-1, 1)),
        (0, 0.5, np.float32, None),
        (0, 40000, np.uint16, None),
        (0, 0, np.uint16, None),
    ],
)
def test_the_range_is_measured(
    low: float, high: float, kind: type, expected: tuple[float, float] | None, tmp_path: Path
) -> None:
    found = built(tmp_path, {"a.tif": encoded(ramp(low, high, kind), "TIFF"), "b.jpg": encoded(photo(), "JPEG")})
    assert found.decoding.value_range == (expected and pytest.approx(expected, rel=1e-3))


def test_no_number_is_left_out_of_the_range(tmp_path: Path) -> None:
    values = np.full((8, 8), np.nan, np.float32)
    values[0] = 7.0
    found = built(tmp_path, {"a.tif": encoded(Image.fromarray(values), "TIFF")})
    assert found.decoding.value_range == (0, 7)


def test_settings_come_before_what_was_measured(tmp_path: Path) -> None:
    found = built(tmp_path, {"a.png": encoded(ramp(0, 4095, np.uint16), "PNG")})
    assert found.decoded_by(DataConfig(value_range="0 8190")).decoding.value_range == (0, 8190)
    assert found.decoded_by(DataConfig(value_range="dtype")).decoding.value_range is None
    asked = DataConfig(alpha="white", max_pixels=99, strict=True)
    assert found.decoded_by(asked).decoding == Decoding(
        value_range=(0, 4095), alpha="white", max_pixels=99, strict=True
    )


@pytest.mark.parametrize("wrong", ["", "0", "5 5", "9 1", "0 1 2", "low high", "nan 1"])
def test_a_wrong_range_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"data.value_range = .*two numbers LOW HIGH"):
        DataConfig(value_range=wrong)


def test_what_becomes_of_deep_images_is_said() -> None:
    looks = Looks(images=9, deep=4, low=0, high=4000, value_range=(0, 4000))
    (line,) = looks.notes(Decoding(value_range=(0, 4000)))
    assert line.startswith(
        "4 of 9 images looked at have more than 8 bits, with values from 0 to 4000; 0 to 4000 becomes"
    )
    assert "less than a 16th" not in line
    (line,) = looks.notes(Decoding())
    assert "0 to 65535 (that of their type) becomes black to white, of which they use less than a 16th" in line
    assert Looks(images=9).notes(Decoding()) == []


def test_transparent_images_are_counted_and_what_becomes_of_them_is_said(tmp_path: Path) -> None:
    hidden = clip_art("RGBA")
    one_color = hidden.copy()
    one_color.paste((0, 0, 0), (0, 0, 32, 32))
    one_color.putalpha(hidden.getchannel("A"))
    files = {"a.png": hidden, "b.png": one_color, "c.png": photo(), "d.png": photo().convert("RGBA")}
    found = built(tmp_path, {name: encoded(image, "PNG") for name, image in files.items()})
    assert found.looks is not None
    assert (found.looks.images, found.looks.transparent, found.looks.constant) == (4, 2, 1)
    (line,) = found.looks.notes(found.decoding)
    assert "2 of 4 images looked at are transparent in part" in line
    assert "1 of them become one constant colour: data.alpha white lays them over white, and leaves 0 constant" in line
    (line,) = found.looks.notes(Decoding(alpha="random"))
    assert line.endswith("are laid over random colours (data.alpha)")


@pytest.mark.parametrize(("level", "best"), [(0, "white"), (255, "grey")])
def test_the_colour_is_proposed_that_leaves_the_fewest_images_constant(tmp_path: Path, level: int, best: str) -> None:
    """Black drawings on hidden black, and white symbols on hidden white."""
    drawing = Image.new("L", (32, 32), level).convert("RGBA")
    drawing.putalpha(clip_art("RGBA").getchannel("A"))
    found = built(tmp_path, {"a.png": encoded(drawing, "PNG")})
    assert found.looks is not None
    (line,) = found.looks.notes(found.decoding)
    assert line.endswith(f"data.alpha {best} lays them over {best}, and leaves 0 constant")


def test_unreadable_images_do_not_count(tmp_path: Path) -> None:
    found = built(tmp_path, {"a.png": b"nothing", "b.png": encoded(photo(), "PNG")})
    assert found.looks == Looks(images=1)


def test_looks_and_decoding_are_saved_with_the_list(tmp_path: Path) -> None:
    found = built(tmp_path / "in", {"a.png": encoded(ramp(0, 4095, np.uint16), "PNG")})
    found = found.decoded_by(DataConfig(alpha="grey"))
    manifests.save(found, place(tmp_path / "saved"))
    again = manifests.load(place(tmp_path / "saved"))
    assert (again.looks, again.decoding) == (found.looks, found.decoding)
    assert again.take(np.array([0])).decoding == found.decoding


def test_a_list_of_an_earlier_version_is_read_and_a_cached_one_built_anew(tmp_path: Path) -> None:
    found = built(tmp_path / "in", {"a.png": encoded(ramp(0, 4095, np.uint16), "PNG")})
    cache = place(tmp_path / "cache")
    old = manifests.cached_at(found.root, cache)
    manifests.save(found, old)
    table = pq.read_table(old.local_path)
    about = json.loads(table.schema.metadata[MANIFEST_KEY])
    about = {"format": 1} | {key: about[key] for key in ("root", "classes", "fingerprint", "notes")}
    pq.write_table(table.replace_schema_metadata({MANIFEST_KEY: json.dumps(about)}), old.local_path)
    before = manifests.load(old)
    assert (before.looks, before.decoding) == (None, Decoding())
    assert manifests.load_or_build(found.root, cache).looks == found.looks
    assert manifests.load(old).looks == found.looks


def test_training_decodes_as_its_data_set_asks(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{i}.png": encoded(clip_art("RGBA"), "PNG") for i in range(6)})
    maker = make(tmp_path, AugmentConfig(jitter_probability=0, greyscale_probability=0, blur_probability=0))
    for alpha, corner in (("drop", 0), ("white", 255)):
        manifest = maker.manifest.decoded_by(DataConfig(alpha=alpha))
        batch = replace(maker, manifest=manifest).make(0, np.arange(6))
        crops = batch.groups(CROPS)[0].reshape(-1, 16 * 16, 3)
        assert all((pixels == corner).all(axis=1).any() for pixels in crops)


def test_a_random_background_is_the_same_for_all_crops_and_differs_between_epochs() -> None:
    augment = AugmentConfig(jitter_probability=0, greyscale_probability=0, blur_probability=0)
    multi_crop = MultiCrop(CROPS, augment, seed=3)

    def background(epoch: int, sample_id: int) -> tuple[int, ...]:
        crops = multi_crop.buffers(1)
        nothing = encoded(Image.new("RGBA", (32, 32)), "PNG")
        multi_crop(nothing, epoch, sample_id, crops, 0, decoding=Decoding(alpha="random"))
        (color,) = {tuple(pixel) for group in crops for pixel in group.reshape(-1, 3).tolist()}
        return color

    drawn = [background(epoch, sample) for epoch in range(4) for sample in range(4)]
    assert drawn == [background(epoch, sample) for epoch in range(4) for sample in range(4)]
    assert len(set(drawn)) == len(drawn)
    assert np.ptp(drawn) > 128


def test_a_networks_own_decoding_serves_other_images_and_leaves_deep_ones_their_range(tmp_path: Path) -> None:
    found = built(tmp_path, {"a.png": encoded(ramp(0, 4095, np.uint16), "PNG")})
    assert found.decoded_as(Decoding(alpha="white")).decoding == Decoding(alpha="white", value_range=(0, 4095))
    assert found.decoded_as(Decoding(value_range=(0, 9))).decoding.value_range == (0, 9)
