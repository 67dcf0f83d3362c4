"""Bytes that are no image are called what they are, as far as that helps."""

from __future__ import annotations

import pytest

from swav_ray.data.crops.decode import UnreadableImage, decode


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
