"""Files of every format, damaged at random: what PIL refuses is refused or counted, and nothing else gets out."""

from __future__ import annotations

from collections import Counter

from benchmarks.fuzz_images import LIMIT, formats, fuzz


def test_no_damaged_image_that_pil_refuses_is_accepted_unseen() -> None:
    found, grown = fuzz(mutations=3600, seed=7)
    total = sum(found.values(), Counter())
    assert found.keys() == formats().keys()
    assert total["mutations"] >= 3600
    assert total["PIL refuses"] > 1000  # the damage is real
    assert total["accepted though PIL refuses"] == 0
    assert total["anything else"] == 0, {key: count for key, count in total.items() if key.startswith("!")}
    assert grown < 30 * (LIMIT * 3 >> 20)
