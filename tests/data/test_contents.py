"""What tells byte-identical images: equal for equal bytes, and nothing for those that are not known."""

from __future__ import annotations

import numpy as np

from swav_ray.data.contents import content_digest, content_of, content_of_etag, contents_of, first_of_equals


def test_equal_bytes_and_equal_pixels_have_equal_contents_and_others_have_others() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    contents = [content_of(sample) for sample in (b"a", b"a", b"b", pixels, pixels.copy())]
    assert contents[0] == contents[1] != contents[2]
    assert contents[3] == contents[4] != contents[0]
    assert contents_of(np.stack([content_digest(b"a"), content_digest(b"b")])).tolist() == contents[1:3]


def test_an_etag_tells_with_the_size_and_an_empty_object_is_no_image_that_has_copies() -> None:
    assert content_of_etag(3, "e") == content_of_etag(3, "e") != content_of_etag(4, "e")
    assert content_of_etag(3, "e") != content_of_etag(3, "f")
    assert content_of_etag(0, "e") == 0


def test_the_first_of_equals_stands_for_all_and_what_is_not_known_for_itself() -> None:
    contents = np.array([7, 0, 2**63 + 1, 7, 0, 2**63 + 1, 7], np.uint64)
    assert first_of_equals(contents).tolist() == [0, 1, 2, 0, 4, 2, 0]
    assert first_of_equals(contents[:0]).tolist() == []
