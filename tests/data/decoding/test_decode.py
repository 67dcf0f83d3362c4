"""Every kind of image file is read right or refused with a reason; nothing else gets out of `decode`."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from PIL import Image, ImageOps

from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.decode import NO_END_MARKER, SourceImage, UnreadableImage, decode, decode_pil


def photo(width: int = 64, height: int = 48) -> Image.Image:
    """A smooth picture without symmetry, so that turns and mirrorings show."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (255 * x / width, 255 * y / height, 127 + 120 * np.sin((x + 2 * y) / 9))
    return Image.fromarray(np.stack(channels, 2).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_a_jpeg_decodes_to_the_pixels_pil_sees() -> None:
    data = encoded(photo(), "JPEG", quality=92)
    assert difference(decode(data), np.asarray(Image.open(io.BytesIO(data)))) < 0.5


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF"])
def test_other_formats_decode_as_pil_converts_them(kind: str) -> None:
    data = encoded(photo(), kind)
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_modes_become_rgb(mode: str) -> None:
    image = photo().convert(mode)
    assert np.array_equal(decode(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


def test_greyscale_and_cmyk_jpegs_become_rgb() -> None:
    grey = decode(encoded(photo().convert("L"), "JPEG"))
    assert grey.shape == (48, 64, 3)
    assert np.array_equal(grey[..., 0], grey[..., 2])
    data = encoded(photo().convert("CMYK"), "JPEG", quality=95)
    assert difference(decode(data), np.asarray(photo())) < 4


def test_sixteen_bits_keep_their_upper_byte() -> None:
    levels = (np.arange(64 * 48).reshape(48, 64) * 21).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(decode(encoded(Image.fromarray(levels), kind))[..., 1], levels >> 8)


def test_floating_point_greyscale_covers_the_whole_range() -> None:
    unit = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    assert difference(decode(encoded(Image.fromarray(unit), "TIFF"))[..., 0], (unit * 255).astype(np.uint8)) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_exif_rotated_images_come_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(), kind, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    source = SourceImage(data)
    assert (source.height, source.width) == upright.shape[:2]
    assert difference(source.pixels(), upright) < 0.5


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("alpha", ["drop", "white"])
@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("TIFF", "I;16"), ("TIFF", "F"), ("WEBP", "RGB")]
)
def test_an_image_that_pil_has_opened_is_decoded_as_its_file(
    kind: str, mode: str, alpha: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = photo().convert("L").convert(mode) if mode in ("F", "I;16") else photo().convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = encoded(image, kind, exif=exif)
    decoding = Decoding(value_range=(0.0, 200.0), alpha=alpha)
    assert np.array_equal(decode_pil(Image.open(io.BytesIO(data)), decoding), decode(data, decoding))


def test_a_cmyk_jpeg_that_lacks_only_its_end_marker_is_read_and_one_that_lacks_more_is_not() -> None:
    data = encoded(photo().convert("CMYK"), "JPEG", quality=95)
    source = SourceImage(data[:-2])
    assert np.array_equal(source.pixels(), decode(data))
    assert source.flaw == NO_END_MARKER
    with pytest.raises(UnreadableImage) as refused:
        decode(data[:-2], Decoding(strict=True))
    assert refused.value.kind == "truncated"
    for cut in (3, 50, len(data) // 2):
        with pytest.raises(UnreadableImage):
            decode(data[:-cut])


def test_a_broken_exif_block_does_not_matter() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(encoded(photo(), "JPEG", exif=exif))
    start = data.index(b"Exif\0\0") + 6
    data[start + 4 : start + 8] = b"\xff\xff\xff\x00"
    assert decode(bytes(data)).shape == (48, 64, 3)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [photo(), photo().rotate(180)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert difference(decode(data), np.asarray(frames[0].convert("P").convert("RGB"))) < 25


def test_sizes_from_one_pixel_to_a_very_wide_image() -> None:
    assert decode(encoded(photo(1, 1), "JPEG")).shape == (1, 1, 3)
    assert decode(encoded(photo(1, 1), "PNG")).shape == (1, 1, 3)
    assert decode(encoded(photo(20_000, 20), "PNG")).shape == (20, 20_000, 3)


def test_decoding_at_a_fraction_rounds_up_and_looks_the_same() -> None:
    data = encoded(photo(203, 101), "JPEG")
    for eighths in (1, 2, 4):
        small = SourceImage(data).pixels(eighths)
        assert small.shape[:2] == (-(-101 * eighths // 8), -(-203 * eighths // 8))
    data = encoded(photo(256, 192), "JPEG", subsampling=0)
    half = Image.fromarray(decode(data)).resize((128, 96), Image.Resampling.BOX)
    assert difference(SourceImage(data).pixels(4), np.asarray(half)) < 2


def test_decoded_pixels_pass_through() -> None:
    pixels = np.asarray(photo())
    assert np.array_equal(decode(pixels), pixels)
    assert np.array_equal(decode(pixels[..., 0])[..., 2], pixels[..., 0])
    assert np.array_equal(decode(pixels[..., :1])[..., 1], pixels[..., 0])
    assert decode(pixels[::2, ::3]).flags.c_contiguous


def unreadable() -> list[tuple[str, object, str]]:
    jpeg, png = encoded(photo(), "JPEG"), encoded(photo(), "PNG")
    return [
        ("no bytes", b"", "empty"),
        ("text", b"<html>404 not found</html>", "not_an_image"),
        ("half a JPEG", jpeg[: len(jpeg) // 2], "truncated"),
        ("half a PNG", png[: len(png) // 2], "truncated"),
        ("a JPEG's first bytes", jpeg[:20], ""),
        ("a PNG's first bytes", png[:20], ""),
        ("floating-point pixels", np.zeros((4, 4, 3), np.float32), "unsupported"),
        ("four channels", np.zeros((4, 4, 4), np.uint8), "unsupported"),
        ("no pixels", np.zeros((0, 4, 3), np.uint8), "empty"),
    ]


@pytest.mark.parametrize(("name", "data", "kind"), unreadable(), ids=lambda value: value if type(value) is str else "")
def test_what_cannot_be_read_says_why(name: str, data: bytes | np.ndarray, kind: str) -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode(data)
    assert caught.value.kind == (kind or caught.value.kind), name
    assert "\n" not in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.kind, str(copy)) == (caught.value.kind, str(caught.value))


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    header = bytearray(encoded(photo(16, 16), "JPEG"))
    frame = header.index(b"\xff\xc0")
    header[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"  # 65,500 x 65,500 pixels
    with pytest.raises(UnreadableImage) as caught:
        decode(bytes(header))
    assert caught.value.kind == "too_large"
    with pytest.raises(UnreadableImage):
        decode(encoded(photo(), "PNG"), Decoding(max_pixels=1000))


def test_random_damage_never_raises_anything_else() -> None:
    generator = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        whole = encoded(photo(), kind)
        for _ in range(40):
            data = bytearray(whole)
            for place in generator.integers(0, len(data), 6):
                data[place] = generator.integers(0, 256)
            try:
                pixels = decode(bytes(data), Decoding(max_pixels=10_000_000))
            except UnreadableImage:
                continue
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
