"""Cuts lie between both ends, in order, wherever these are; and they find the keys of names with numbers at once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from swav_ray.storage.s3.cuts import cut_points

KEYS = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=40, deadline=None)
@given(low=KEYS, high=KEYS, letters=st.sets(st.characters(codec="utf-8"), max_size=40), count=st.integers(0, 20))
def test_cuts_are_in_order_between_their_ends(low: str, high: str, letters: set[str], count: int) -> None:
    low, high = min(low, high), max(low, high)
    cuts = cut_points(low, high, "".join(sorted(letters)), count)
    assert cuts == sorted(set(cuts))
    assert len(cuts) <= count
    assert all(low < cut for cut in cuts)
    assert all(cut < high for cut in cuts) or not high


def test_numbers_are_cut_into_equal_parts() -> None:
    assert cut_points("img_1", "img_9", "0123456789", 3) == ["img_3", "img_5", "img_7"]
    assert cut_points("00", "", "0123456789abcdef", 3) == ["4", "8", "c"]


def test_keys_of_one_letter_are_not_cut() -> None:
    assert cut_points("aa", "", "a", 5) == []
