"""Masks as run-length codes, {"size": [height, width], "counts": bytes}, by faster-coco-eval's own functions.

The library is an extra (`eval`), so it is imported when the first mask is there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from swav_ray.evaluate.errors import EvaluationError

Code = dict[str, Any]


def check_installed() -> None:
    """Raises EvaluationError, naming what to install, if the library is not there."""
    try:
        import faster_coco_eval  # noqa: F401
    except ModuleNotFoundError:
        raise EvaluationError("detect needs faster-coco-eval: pip install 'swav_ray[eval]'") from None


def encode(mask: np.ndarray) -> Code:
    """Of a mask, (H, W) of 0 and 1."""
    from faster_coco_eval.core import mask as rle

    return dict(rle.encode(np.asfortranarray(mask, np.uint8)))


def decode(code: Code) -> np.ndarray:
    """(H, W) uint8 of 0 and 1."""
    from faster_coco_eval.core import mask as rle

    found: np.ndarray = rle.decode(code)
    return found


def area(code: Code) -> float:
    """In pixels."""
    from faster_coco_eval.core import mask as rle

    return float(rle.area(code))


def of_polygons(polygons: list[list[float]], height: int, width: int) -> Code:
    """Of polygons, [x, y, x, y, ...] each."""
    from faster_coco_eval.core import mask as rle

    return dict(rle.segmToRle(polygons, width, height))


def of_counts(code: Code) -> Code:
    """Of counts as a list, or compressed as a string; raises ValueError if they are none of an image of this size."""
    from faster_coco_eval.core import mask as rle

    height, width = code["size"]
    try:
        found = dict(rle.segmToRle(code, width, height))
        rle.decode(found)  # tells what encoding does not: counts that do not fill the image
    except Exception as error:  # the library's own kinds, by what is wrong
        raise ValueError(str(error).splitlines()[0]) from None
    return found
