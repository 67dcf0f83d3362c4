"""The rules that give a run's health its word. Each limit has its reason beside it, measured in docs/health.md.

A rule needs a whole window of steps, so one strange step names nothing: an epoch's steps, but between 50 and 500.
Nothing is judged before the prototypes have been released and the rate has warmed up, but for refused steps.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from swav_ray.config import MOST_PROTOTYPES_A_SAMPLE, Config
from swav_ray.health.settled import grace_steps, uniform_loss
from swav_ray.run.health_log import COLLAPSING, DIVERGING, HEALTHY, STARVED, STUCK, WARMING_UP

# Of ln K: a mean loss this near it predicts every prototype alike. Runs that never left it stayed within 0.1%.
HAIR = 0.005
# Of ln K: a loss above it predicts next to nothing, and other signs of collapse count. Below it they prove none: at a
# high rate a run with a tenth of its dimensions in use learned all the same (kNN 51%).
LITTLE = 0.98
# Of ln K: refused steps aside, the loss of a run that learns lies above ln K in its first steps alone, when predictions
# are sure and wrong.
ABOVE = 1.1
REFUSED = 3  # steps of a window; one or two have been survived by runs that ended well
ONE_POINT = 0.05  # spread: embeddings within 3 degrees of their mean are one to a temperature of 0.1
ONE_DIRECTION = 1.1  # effective rank: nothing beside the first dimension
# Perplexity of a batch's mean code over K, which Sinkhorn is to make 1: above 0.95 in runs that learn, 0.7 in one that
# learned with one iteration, 0.3 to 0.8 where a queue of old embeddings takes prototypes away from the batch. Alone it
# proves no collapse: batch and queue are made equal together, and a run at 0.65 to 0.89 recovered by itself.
UNEQUAL = 0.85
# Two crops of an image get the same code so much more often than by chance: 0.12 to 0.23 in the run that recovered from
# its queue; below 0.1, from about when they broke, in those that did not, whose kNN ended near half of the untrained.
BY_CHANCE = 0.1
FEW_CODES = 0.25  # below it whatever the loss is: it falls to 0 if every image has the same code
SPIKE_DEVIATIONS, SPIKE = 6.0, 0.05  # a spike is above the window's mean by so many deviations, and so much of ln K
_SHORTEST, _LONGEST = 50, 500  # steps of a window
_OBSERVATIONS = 3  # of a window, at least
_RECENT = 10  # steps that a state is called sound by


@dataclass(frozen=True)
class Judgement:
    """One word of `health_log.WORDS`, and why if it is an alarm.

    Attributes:
        onset: the first step that spoke for it. by_queue: it came with the queue.
    """

    word: str
    why: str = ""
    onset: int = 0
    by_queue: bool = False


class Evidence:
    """What the rules look at: the losses of a window of steps, and the newest of every other figure.

    Args:
        config: the run.
        losses: of the steps before, oldest first; None for a refused one.
        since: the step from which the run has been trained with these settings: what came before proves nothing.
    """

    def __init__(
        self,
        config: Config,
        steps_per_epoch: int,
        losses: Sequence[tuple[int, float | None]] = (),
        since: int = 0,
    ) -> None:
        self.config, self.ln_k = config, uniform_loss(config.model)
        self.window = min(max(steps_per_epoch, _SHORTEST), _LONGEST)
        self.grace = max(grace_steps(config.optim, steps_per_epoch), since)
        self.losses = deque(losses, maxlen=self.window)
        self.figures: dict[str, Any] = {}  # the newest of each
        self._codes: deque[tuple[int, float, float]] = deque()  # of the window: usage and agreement
        self._queue = config.queue.start_epoch * steps_per_epoch + -(
            -config.queue.length // config.train.global_batch_size
        )
        self._before_queue: float | None = None

    def add(self, step: int, loss: float | None, figures: dict[str, Any]) -> dict[str, Any]:
        """Takes a step; figures that only a run of steps has: `spike`, `queue_jump`."""
        found: dict[str, Any] = {}
        if loss is not None and (excess := self._spike(loss)):
            found["spike"] = excess
        if self.config.queue.length:
            found |= self._jump(step)
        self.losses.append((step, loss))
        self.figures |= figures
        if "codes_usage" in figures:
            self._codes.append((step, figures["codes_usage"], figures["code_agreement"]))
        while self._codes and self._codes[0][0] < self.losses[0][0]:
            self._codes.popleft()
        return found

    @property
    def codes_usage(self) -> float:
        """Its mean over the window; 1 while there is too little to tell."""
        return fmean(usage for _, usage, _ in self._codes) if len(self._codes) >= _OBSERVATIONS else 1.0

    @property
    def code_agreement(self) -> float:
        """Its mean over the window; 1 while there is too little to tell, or one crop alone has codes."""
        return fmean(agreement for *_, agreement in self._codes) if len(self._codes) >= _OBSERVATIONS else 1.0

    @property
    def queue_took_part(self) -> int | None:
        """The step that first assigned with the queue; None if there is none, or not yet."""
        return self._queue if self.config.queue.length and self.step >= self._queue else None

    @property
    def step(self) -> int:
        """The newest."""
        return self.losses[-1][0] if self.losses else -1

    @property
    def applied(self) -> list[float]:
        """Losses of the window's steps that were applied."""
        return [loss for _, loss in self.losses if loss is not None]

    @property
    def settled(self) -> bool:
        """Whether the whole window comes after the grace."""
        return len(self.losses) == self.window and self.losses[0][0] >= self.grace

    @property
    def sound(self) -> bool:
        """Whether nothing speaks against the newest state, with or without a window: it learns and is spread out."""
        recent = [loss for _, loss in list(self.losses)[-_RECENT:]]
        applied = [loss for loss in recent if loss is not None]
        if not recent or len(applied) < len(recent):
            return False
        # A remedy is to go back to before the queue if that took prototypes away from the batch.
        least = FEW_CODES if self.queue_took_part is None else UNEQUAL
        equal = self.figures.get("codes_usage", 1.0) > least
        return fmean(applied) < LITTLE * self.ln_k and equal and not _one(self.figures)

    def _spike(self, loss: float) -> float:
        applied = self.applied
        if len(self.losses) < _SHORTEST or len(applied) < 2:
            return 0.0
        mean = fmean(applied)
        limit = mean + max(SPIKE_DEVIATIONS * pstdev(applied), SPIKE * self.ln_k)
        return loss - mean if loss > limit else 0.0

    def _jump(self, step: int) -> dict[str, float]:
        tenth = [loss for _, loss in list(self.losses)[-10:] if loss is not None]
        if step == self._queue and tenth:
            self._before_queue = fmean(tenth)
        elif step == self._queue + 10 and tenth and self._before_queue is not None:
            return {"queue_jump": fmean(tenth) - self._before_queue}
        return {}


def judge(evidence: Evidence) -> Judgement:
    """The word for a run, from the worst to the best that it may be."""
    refused = [step for step, loss in evidence.losses if loss is None]
    if len(refused) >= REFUSED:
        why = f"{len(refused)} of the last {len(evidence.losses)} steps were refused, not finite or exploding"
        return Judgement(DIVERGING, why, refused[0])
    if not evidence.settled:
        return Judgement(WARMING_UP)
    onset = evidence.losses[0][0]
    mean, ln_k = fmean(evidence.applied), evidence.ln_k
    at = f"the loss is {mean:.3f}, ln K is {ln_k:.3f}"
    if mean >= LITTLE * ln_k and (sign := _one(evidence.figures)):
        return Judgement(COLLAPSING, f"{at}, and {sign}", onset)
    chance = _by_chance(evidence)
    if mean >= LITTLE * ln_k and chance and (sign := _unequal(evidence, UNEQUAL)):
        return Judgement(COLLAPSING, f"{at}, {sign}, and {chance}", onset, evidence.queue_took_part is not None)
    halves = evidence.applied[: len(evidence.applied) // 2], evidence.applied[len(evidence.applied) // 2 :]
    first, last = map(fmean, halves)
    falls = last <= first - HAIR * ln_k
    if mean > ABOVE * ln_k:
        why = f"the loss, {mean:.3f}, is above ln K = {ln_k:.3f}, and does not fall"
        return Judgement(WARMING_UP) if falls else Judgement(DIVERGING, why, onset)
    if all(abs(fmean(half) - ln_k) <= HAIR * ln_k for half in halves):
        return _at_ln_k(evidence, mean, onset)
    if chance and min(first, last) > ln_k and not falls:
        return Judgement(STUCK, f"{at}, it does not fall, and {chance}", onset, evidence.queue_took_part is not None)
    if sign := _unequal(evidence, FEW_CODES):
        return Judgement(COLLAPSING, sign, onset, evidence.queue_took_part is not None)
    return Judgement(HEALTHY)


def _at_ln_k(evidence: Evidence, mean: float, onset: int) -> Judgement:
    config, ln_k = evidence.config, evidence.ln_k
    most, assigned = max(config.model.prototypes), config.train.global_batch_size + config.queue.length
    at = f"the loss has stayed at {mean:.3f} for {len(evidence.losses)} steps, ln K is {ln_k:.3f}"
    if most > MOST_PROTOTYPES_A_SAMPLE * assigned:
        return Judgement(
            STARVED, f"{at}: {most:,} prototypes compete for {assigned:,} samples of batch and queue", onset
        )
    left = evidence.figures.get("left_to_learn", math.nan)
    entropy = evidence.figures.get("codes_entropy", math.nan)
    if entropy >= (1 - HAIR) * ln_k:
        return Judgement(STUCK, f"{at}, and so does the codes' own entropy: there is nothing to learn from them", onset)
    return Judgement(STUCK, f"{at}: every prototype is predicted alike, {left:.2f} nats from the codes", onset)


def _unequal(evidence: Evidence, least: float) -> str:
    if evidence.codes_usage >= least:
        return ""
    queue = evidence.queue_took_part
    since = f", since the queue took part at step {queue}" if queue is not None else ""
    return f"a batch's codes use {evidence.codes_usage:.0%} of the prototypes{since}"


def _by_chance(evidence: Evidence) -> str:
    if evidence.code_agreement > BY_CHANCE:
        return ""
    return f"two crops of an image get the same code hardly more often than by chance ({evidence.code_agreement:.2f})"


def _one(figures: dict[str, Any]) -> str:
    spread, rank = figures.get("spread", 1.0), figures.get("effective_rank", math.inf)
    if spread <= ONE_POINT:
        return f"the embeddings are one point (spread {spread:.3f})"
    return f"the embeddings are one line (effective rank {rank:.2f})" if rank <= ONE_DIRECTION else ""
