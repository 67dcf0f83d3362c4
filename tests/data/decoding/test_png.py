"""A PNG's pixels are read whatever its metadata is, and never where PIL refuses them."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from swav_ray.data.decoding.decode import SourceImage, UnreadableImage, decode
from swav_ray.data.decoding.png import START, chunks, significant_bits, without_large_metadata
from tests.data.decoding.test_decode import encoded, photo


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def with_chunk(data: bytes, added: bytes, *, before: bytes = b"IDAT") -> bytes:
    at = next(start for kind, start, _ in chunks(data) if kind == before)
    return data[:at] + added + data[at:]


LARGE = zlib.compress(bytes(3 << 20))
METADATA = {
    "zTXt": chunk(b"zTXt", b"Comment\0\0" + LARGE),
    "iTXt": chunk(b"iTXt", b"Comment\0\x01\0en\0Kommentar\0" + LARGE),
    "iCCP": chunk(b"iCCP", b"profile\0\0" + LARGE),
}


@pytest.mark.parametrize(
    ("kind", "before"), [("zTXt", "IDAT"), ("zTXt", "IEND"), ("iTXt", "IDAT"), ("iTXt", "IEND"), ("iCCP", "IDAT")]
)
def test_large_metadata_does_not_make_pixels_unreadable(kind: str, before: str) -> None:
    plain = encoded(photo(), "PNG")
    data = with_chunk(plain, METADATA[kind], before=before.encode())
    with pytest.raises(ValueError, match="MAX_TEXT"):
        Image.open(io.BytesIO(data)).load()
    assert np.array_equal(decode(data), decode(plain))


def test_small_metadata_stays_with_the_orientation_in_it() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "short", zip=True)
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>', zip=True)
    data = with_chunk(encoded(photo(64, 48), "PNG", pnginfo=info), METADATA["zTXt"])
    assert without_large_metadata(data) == encoded(photo(64, 48), "PNG", pnginfo=info)
    source = SourceImage(data)
    assert (source.height, source.width) == (64, 48)


def test_a_damaged_chunk_of_metadata_is_not_hidden() -> None:
    large = bytearray(METADATA["zTXt"])
    large[len(large) // 2] ^= 1
    with pytest.raises(UnreadableImage):
        decode(with_chunk(encoded(photo(), "PNG"), bytes(large)))


def test_any_byte_whose_damage_pil_refuses_is_refused() -> None:
    whole = encoded(photo(40, 30), "PNG")
    refused = 0
    for position in range(len(START), len(whole)):
        data = bytearray(whole)
        data[position] ^= 0x10
        try:
            expected = np.asarray(Image.open(io.BytesIO(bytes(data))).convert("RGB"))
        except Exception:
            refused += 1
            with pytest.raises(UnreadableImage):
                decode(bytes(data))
        else:
            assert np.array_equal(decode(bytes(data)), expected), position
    assert refused > 0.8 * len(whole)


def test_significant_bits_come_from_sbit() -> None:
    plain = encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)), "PNG")
    assert significant_bits(plain) == 0
    assert significant_bits(with_chunk(plain, chunk(b"sBIT", b"\x0c"))) == 12


def test_many_small_texts_do_not_make_pixels_unreadable() -> None:
    """PIL refuses more than 64 MiB of them together."""
    plain = encoded(photo(), "PNG")
    texts = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(60 << 10))) * 1200
    data = with_chunk(plain, texts)
    with pytest.raises(ValueError, match="MAX_TEXT"):
        Image.open(io.BytesIO(data)).load()
    assert np.array_equal(decode(data), decode(plain))
