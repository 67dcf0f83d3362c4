"""Bytes that are no image are called what they are, as far as that helps."""

from __future__ import annotations

import struct

import pytest

from swav_ray.data.decoding.decode import UnreadableImage, decode


def tiff(*, bands: int, bits: int, sample_format: int, planar: int = 1, big: bool = False) -> bytes:
    """An 8 x 8 TIFF or BigTIFF without compression, its bands in planes of their own if `planar` is 2; all zeros."""
    pixels = bytes(64 * bands * bits // 8)
    entry, count, start = ("<HHQQ", "<Q", 16) if big else ("<HHII", "<H", 8)
    plane = len(pixels) // (bands if planar == 2 else 1)
    offsets = [start + index * plane for index in range(bands if planar == 2 else 1)]
    values = {
        256: [8],
        257: [8],
        258: [bits] * bands,
        259: [1],
        262: [2 if bands == 3 else 1],
        273: offsets,
        277: [bands],
        278: [8],
        279: [plane] * len(offsets),
        284: [planar],
        339: [sample_format] * bands,
    }
    body, entries, room = bytearray(pixels), b"", 8 if big else 4
    for tag, numbers in values.items():
        data = struct.pack(f"<{len(numbers)}H", *numbers)
        if len(data) > room:
            at = start + len(body)
            body += data
            data = struct.pack("<Q" if big else "<I", at)
        field = int.from_bytes(data.ljust(room, b"\0"), "little")
        entries += struct.pack(entry, tag, 3, len(numbers), field)
    directory = start + len(body)
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", directory) if big else b"II*\0" + struct.pack("<I", directory)
    return head + bytes(body) + struct.pack(count, len(values)) + entries + bytes(room)


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (b"\xff\x0a" + bytes(20), "unsupported", "JPEG XL; convert it"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), "unsupported", "JPEG XL; convert it"),
        (bytes(128) + b"DICM" + bytes(20), "unsupported", "DICOM; export it to PNG or TIFF"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "unsupported", "HEIC; `pip install"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "not_an_image", "`git lfs pull` fetches"),
        (b"../../../images/0.jpg\n", "not_an_image", "a text with a path, '../../../images/0.jpg'"),
        (b"<!DOCTYPE html><a href='/x'>", "not_an_image", "no known image format, starts with b'<!DOCTYP'"),
        (bytes(range(40)), "not_an_image", "no known image format"),
    ],
)
def test_what_no_decoder_knows_is_named(data: bytes, kind: str, says: str) -> None:
    with pytest.raises(UnreadableImage) as refused:
        decode(data)
    assert refused.value.kind == kind
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            tiff(bands=3, bits=16, sample_format=1, planar=2),
            "TIFF of 3 bands of 16-bit integers in planes of their own",
        ),
        (tiff(bands=1, bits=8, sample_format=2), "TIFF of 1 bands of 8-bit signed integers; write 16-bit ones"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", "EPS, which is a program"),
    ],
)
def test_what_pil_would_read_wrongly_is_unsupported_by_name(data: bytes, says: str) -> None:
    with pytest.raises(UnreadableImage) as refused:
        decode(data)
    assert refused.value.kind == "unsupported"
    assert says in str(refused.value)


@pytest.mark.parametrize("big", [False, True])
def test_bands_that_pil_cannot_read_are_named_in_a_bigtiff_too(big: bool) -> None:
    with pytest.raises(UnreadableImage, match="TIFF of 8 bands of 16-bit integers, which PIL cannot read"):
        decode(tiff(bands=8, bits=16, sample_format=1, big=big))


def test_bands_of_8_bits_in_planes_and_of_16_bits_together_are_read() -> None:
    assert decode(tiff(bands=3, bits=8, sample_format=1, planar=2)).shape == (8, 8, 3)
    assert decode(tiff(bands=3, bits=16, sample_format=1)).shape == (8, 8, 3)
