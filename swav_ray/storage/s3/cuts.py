"""Where to cut a range of keys that nobody has seen yet, so that its pieces can be listed side by side.

A wrong guess loses nothing: each key is in one piece, wherever the cuts are. A piece without keys costs one request.
"""

from __future__ import annotations

import bisect
import os.path

_PLACES = 8  # letters of a cut beyond what both ends share


def cut_points(low: str, high: str, letters: str, count: int) -> list[str]:
    """Up to ``count`` strings between two, ascending: equally far apart as numbers whose digits are the letters.

    Args:
        low, high: not among the answers. An empty ``high`` means that there is no end.
        letters: in order, of which the keys that were seen consist.
    """
    if len(letters) < 2:
        return []
    # By character: keys are no paths.
    shared = os.path.commonprefix([low, high]) if high else ""  # noqa: RUF071
    first = _number(low[len(shared) :], letters)
    last = _number(high[len(shared) :], letters) if high else len(letters) ** _PLACES
    numbers = {first + (last - first) * piece // (count + 1) for piece in range(1, count + 1)}
    cuts = {shared + _text(number, letters) for number in numbers}
    return sorted(cut for cut in cuts if low < cut and (not high or cut < high))


def _number(text: str, letters: str) -> int:
    number = 0
    for place in range(_PLACES):
        digit = bisect.bisect_left(letters, text[place]) if place < len(text) else 0
        number = number * len(letters) + min(digit, len(letters) - 1)
    return number


def _text(number: int, letters: str) -> str:
    text = ""
    for _ in range(_PLACES):
        number, digit = divmod(number, len(letters))
        text = letters[digit] + text
    return text.rstrip(letters[0])
