"""What a finished run has learned, in words, with the noise of the comparison and what to change if it is nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from swav_ray.config import Config
from swav_ray.health.advice import advice
from swav_ray.health.rules import Judgement
from swav_ray.run.health_log import ALARMS
from swav_ray.run.scores import standard_error

LEARNED, UNCLEAR, NOTHING, UNKNOWN = "learned", "unclear", "nothing", "unknown"
_SURE = 2.0  # standard errors; a difference as large by luck has a chance of 5%
_SMALL_RUN = 20_000  # steps; recipes.from_dataset_size trains small sets for as many


@dataclass(frozen=True)
class Verdict:
    """`word` is LEARNED, UNCLEAR, NOTHING or UNKNOWN (no labels to tell by); `line` says why; `remedy` may be ''.

    `noise`: the difference in points that luck makes, two standard errors; 0 if nothing could be compared.
    """

    word: str
    line: str
    remedy: str = ""
    noise: float = 0.0


def verdict(
    config: Config,
    health: Judgement,
    knn: Mapping[str, float],
    *,
    queries: int,
    others: Sequence[float],
    steps: int,
) -> Verdict:
    """Compares a run with what it must beat: the same network untrained, and raw pixels.

    Args:
        health: the run's at its end.
        knn: top-1 in percent of `trained`, `untrained`, `pixels` and perhaps `init`; empty without labels.
        queries: held-out images that they were measured on.
        others: top-1 of further untrained networks, other initialisations.
        steps: of the run.
    """
    if health.word in ALARMS:
        return Verdict(NOTHING, f"it learned nothing that lasts: {health.word}: {health.why}", advice(config, health))
    if not knn:
        return Verdict(UNKNOWN, "there are no labels to tell by; eval.label_free_images measures without them")
    untrained = [knn["untrained"], *others]
    fresh = f"the mean of {len(untrained)} untrained networks" if others else "the same network untrained"
    baselines = {
        fresh: fmean(untrained),
        "raw pixels": knn["pixels"],
    } | ({"the weights that it started from": knn["init"]} if "init" in knn else {})
    name, best = max(baselines.items(), key=lambda item: item[1])
    variance = standard_error(knn["trained"], queries) ** 2 + standard_error(best, queries) ** 2
    spread = stdev(untrained) if others and name == fresh else 0.0
    of_networks = f", and untrained networks differ by {spread:.1f}" if spread else ""
    noise = _SURE * sqrt(variance + spread**2)
    gain = knn["trained"] - best
    measured = f"{gain:+.1f} points against {name} ({best:.1f}%)"
    why = f"noise is {noise:.1f} points ({queries:,} held-out images{of_networks})"
    if gain > noise:
        return Verdict(LEARNED, f"it learned: {measured}; {why}", noise=noise)
    if gain < -noise:
        return Verdict(NOTHING, f"it is worse than what it must beat: {measured}; {why}", _likely(config, steps), noise)
    word = "that is no difference" if noise < 100 else "nothing can be said"
    return Verdict(UNCLEAR, f"it shows nothing learned: {measured}, {word}; {why}", _likely(config, steps), noise)


def _likely(config: Config, steps: int) -> str:
    """The usual causes in a run without an alarm, the likeliest first."""
    causes = []
    if steps < _SMALL_RUN:
        causes.append(f"more train.epochs ({steps:,} steps are few; small sets take about {_SMALL_RUN:,})")
    if config.crops.min_scales[0] < 0.3:
        causes.append(f"larger crops (crops.min_scales, now {config.crops.min_scales}: 0.3 for small images)")
    if len(config.crops.sizes) > 1:
        causes.append("crops.counts 2 without small crops, if those show mostly background")
    if config.augment.jitter_probability and config.augment.jitter_strength > 0.5:
        causes.append(f"less colour augmentation (augment.jitter_strength 0.5, now {config.augment.jitter_strength:g})")
    causes.append("a sweep over tune_spaces/small_data.py")
    return f"try {causes[0]}; then {', then '.join(causes[1:])}" if len(causes) > 1 else f"try {causes[0]}"
