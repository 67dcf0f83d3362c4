"""What a JPEG's markers say: which way up it is, and whether nothing but its end is missing."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from swav_ray.data.decoding import jpeg
from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.decode import JPEG_END, NO_END_MARKER, SourceImage, UnreadableImage, decode
from swav_ray.data.decoding.jpeg import has_all_scans, is_progressive, orientation
from tests.data.decoding.test_decode import difference, encoded, photo


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def exif(value: int, *, kind: str = "SHORT", order: str = "<") -> bytes:
    """An APP1 segment of one directory with the orientation alone."""
    number = {"SHORT": 3, "LONG": 4}[kind]
    start = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHI" + ("H2x" if kind == "SHORT" else "I"), 0x0112, number, 1, value)
    tiff = start + struct.pack(order + "IH", 8, 1) + entry + struct.pack(order + "I", 0)
    return segment(0xE1, b"Exif\0\0" + tiff)


XMP = segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation="6"/>')
COMMENT, TABLE = segment(0xFE, b"made by hand"), segment(0xDB, bytes([3]) + bytes(range(1, 65)))


@pytest.mark.parametrize(
    "inserted",
    [
        exif(6),
        exif(6, order=">"),
        exif(6, kind="LONG"),
        exif(6, kind="LONG", order=">"),
        COMMENT + exif(6),
        TABLE + exif(6),
        b"\xff\xff" + exif(8),
        XMP,
        COMMENT + XMP,
        XMP + exif(3),
        exif(9),
        exif(0) + COMMENT,
    ],
)
def test_an_image_stands_upright_as_pil_turns_it(inserted: bytes) -> None:
    data = encoded(photo(128, 96), "JPEG")
    data = data[:2] + inserted + data[2:]
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    source = SourceImage(data)
    assert (source.height, source.width) == upright.shape[:2]
    assert difference(source.pixels(), upright) < 0.5


def test_an_orientation_behind_the_picture_is_none() -> None:
    data = encoded(photo(), "JPEG")
    assert orientation(data + exif(6)) == 1


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_lacks_only_its_end_is_whole(progressive: bool, mode: str) -> None:
    data = encoded(photo(130, 90).convert(mode), "JPEG", progressive=progressive)
    assert data.endswith(JPEG_END)
    source = SourceImage(data[:-2])
    assert np.array_equal(source.pixels(), decode(data))
    assert source.flaw == NO_END_MARKER
    whole = SourceImage(data)
    whole.pixels()
    assert whole.flaw == ""


def test_a_strict_data_set_refuses_a_jpeg_without_its_end() -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode(encoded(photo(), "JPEG")[:-2], Decoding(strict=True))
    assert caught.value.kind == "truncated"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_anywhere_before_its_end_is_truncated(progressive: bool) -> None:
    data = encoded(photo(130, 90), "JPEG", progressive=progressive)
    # One byte of padding bits may be all that is missing of the last block.
    for length in range(300, len(data) - 4, 7 if progressive else 23):
        with pytest.raises(UnreadableImage) as caught:
            decode(data[:length])
        assert caught.value.kind in ("truncated", "corrupt"), length


def test_a_progressive_jpeg_cut_between_two_scans_is_not_whole() -> None:
    data = encoded(photo(130, 90), "JPEG", progressive=True)
    assert is_progressive(data)
    assert has_all_scans(data)
    starts = [position for position in range(len(data)) if data[position : position + 2] == b"\xff\xda"]
    assert len(starts) > 3
    for start in starts[1:]:
        table = data.rindex(b"\xff\xc4", 0, start)  # the last scan's Huffman table comes before it
        assert not has_all_scans(data[:table])
        with pytest.raises(UnreadableImage):
            decode(data[:table])


def test_a_large_jpeg_is_decoded_at_the_size_that_the_limit_allows() -> None:
    data = encoded(photo(400, 200), "JPEG")
    source = SourceImage(data, Decoding(max_pixels=40_000))
    assert source.pixels().shape[:2] == (125, 250)  # 5 eighths; 6 would be 45,000 pixels
    assert source.pixels(2).shape[:2] == (50, 100)
    with pytest.raises(UnreadableImage, match=r"400 x 200 .* see data.max_pixels"):
        decode(data, Decoding(max_pixels=19_999))  # not even at half its size


def test_a_progressive_jpeg_has_the_limit_of_its_full_size_since_it_is_held_at_that() -> None:
    data = encoded(photo(400, 200), "JPEG", progressive=True)
    assert decode(data, Decoding(max_pixels=80_000)).shape == (200, 400, 3)
    with pytest.raises(UnreadableImage, match="more than 79,999 pixels"):
        decode(data, Decoding(max_pixels=79_999))


@pytest.mark.parametrize("with_exif", [False, True])
def test_the_quick_answer_is_that_of_all_segments_whatever_is_damaged(
    with_exif: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = encoded(photo(), "JPEG")
    whole = plain[:2] + exif(6) + plain[2:] if with_exif else plain
    start, generator = whole.index(b"\xff\xda"), np.random.default_rng(0)
    damaged = []
    for _ in range(3000):
        data = bytearray(whole)
        for place in generator.integers(2, start + 4, 2):
            data[place] = generator.choice((0, 0xFF, 0xDA, 0xE1, 0xD8, int(generator.integers(256))))
        damaged.append(bytes(data[: generator.integers(2, len(data))]))
    quick = [orientation(data) for data in damaged]
    monkeypatch.setattr(jpeg, "_may_have_app1", lambda _: True)
    assert quick == [orientation(data) for data in damaged]
    assert (6 in quick) == with_exif
