"""The layout of a colour vector: what one crop's colour and blur are, as numbers, (COLOR_PARAMS,) float32.

Drawn by random_params.py, applied by kernels/color.py and kernels/blur.py or on the training device. Training imports
this file, so it imports nothing.

====================  ==================================================================================
ORDER ... ORDER + 3   the jitter's operations in order: BRIGHTNESS, CONTRAST, SATURATION, HUE, or NO_OP
FACTOR ... FACTOR + 2 factors of brightness, contrast, saturation; 1 leaves the image as it is
HUE_SHIFT             turn of the hue in 1/256 of a circle, whole numbers 0 ... 255 (PIL's 8-bit hue)
GREY                  1: convert to greyscale, else 0
SIGMA                 standard deviation of the blur in pixels; 0: no blur
====================  ==================================================================================
"""

from __future__ import annotations

NO_OP, BRIGHTNESS, CONTRAST, SATURATION, HUE = -1, 0, 1, 2, 3
ORDER, FACTOR, HUE_SHIFT, GREY, SIGMA = 0, 4, 7, 8, 9
COLOR_PARAMS = 10
