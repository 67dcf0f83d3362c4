"""The learning rate as a function of progress: linear warm-up, then half a cosine (paper appendix A)."""

from __future__ import annotations

import math


def learning_rate(
    step: float, *, warmup_steps: int, total_steps: int, start: float, base: float, final: float
) -> float:
    """The rate of a step counted from 0, fractions allowed.

    The warm-up reaches both ends (`start` at step 0, `base` at its last step); the cosine starts at `base` on step
    `warmup_steps` and would reach `final` on step `total_steps`, one past the last, as published.
    """
    if step < warmup_steps:
        return start + (base - start) * step / max(warmup_steps - 1, 1)
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return final + 0.5 * (base - final) * (1 + math.cos(math.pi * progress))
