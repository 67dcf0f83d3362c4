"""One group of crops from decoded pixels: resize, colour and blur, compiled as one function that holds no GIL.

The compiled code is cached on disk: beside the sources, or in the user's cache directory if those are read-only. The
text of every module that is compiled into `render` is a part of the cache's key (cache_key.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from swav_ray.data.crops import color_vector
from swav_ray.data.crops.cache_key import source_key
from swav_ray.data.crops.color_vector import SIGMA
from swav_ray.data.crops.kernels import blur, color, color_lanes, lanes, resize, transpose, weighted_rows
from swav_ray.data.crops.kernels.blur import blur as blur_crop
from swav_ray.data.crops.kernels.color import jitter
from swav_ray.data.crops.kernels.resize import resize_crop, write_crop

COMPILED = (blur, color, color_lanes, color_vector, lanes, resize, transpose, weighted_rows)  # into `render`

# A JPEG is decoded smaller only if every crop still shrinks by this factor afterwards, so that the crop's own
# antialiased resize, not the DCT's, decides how it looks. Halves only: libjpeg-turbo has no SIMD for the other eighths.
SPARE = 2.0


def _compile_render(sources: int) -> Callable[..., None]:
    @njit(cache=True, nogil=True)
    def render(
        pixels: np.ndarray,
        scale: float,
        boxes: np.ndarray,
        colors: np.ndarray,
        with_color: bool,
        out: np.ndarray,
        row: int,
    ) -> None:
        """Cut one group's crops from `pixels` (H, W, 3) uint8 and write them to out[:, row].

        boxes are in pixels of the original, of which `pixels` shows `scale`. out: (crops, rows, S, S, 3) uint8.
        """
        sources  # noqa: B018  (a part of the cache's key, see cache_key.py)
        size = out.shape[2]
        for crop in range(out.shape[0]):
            top, left, height, width, flip = boxes[crop]
            bottom = min((top + height) * scale, float(pixels.shape[0]))
            right = min((left + width) * scale, float(pixels.shape[1]))
            box = (top * scale, left * scale, bottom - top * scale, right - left * scale)
            planes = resize_crop(pixels, box, flip != 0, size, out[crop, row])
            if with_color:
                jitter(planes, size, colors[crop])
                if colors[crop, SIGMA] > 0:
                    planes = blur_crop(planes, size, colors[crop, SIGMA])
            write_crop(planes, size, out[crop, row])

    return render


render = _compile_render(source_key(*COMPILED))


@njit(cache=True, nogil=True)
def eighths_needed(boxes: np.ndarray, sizes: np.ndarray) -> int:
    """Size at which to decode a JPEG, in eighths of the original (8, 4, 2 or 1), for the smallest crop drawn."""
    eighths = 8
    while eighths > 1:
        for crop in range(len(sizes)):
            if min(boxes[crop, 2], boxes[crop, 3]) * (eighths // 2) < SPARE * 8 * sizes[crop]:
                return eighths
        eighths //= 2
    return eighths
