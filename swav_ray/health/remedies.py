"""What a run changes when it has collapsed: the authors' advice from public threads, in their order.

First freeze the prototypes longer, then lower epsilon, then delay and shorten the queue. The paper adds a last one:
three Sinkhorn iterations, since with one "the loss does not converge". Each goes back to the last good checkpoint and
keeps what the remedies before it changed. history.jsonl has them, so a resumed run keeps them too. If the collapse
came with the queue, the queue's remedy is the first; if the run diverges, a lower rate is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.run.health_log import DIVERGING

_LOW_EPSILON = 0.03  # the authors' advice for small sets
_LEAST_EPSILON = 0.01  # their advice for CIFAR; below it codes are all but hard, which ends worse (paper)
_FREEZE_EPOCHS = 2  # recipes.from_dataset_size freezes as long
_ITERATIONS = 3  # the paper's
_RATE = 10  # times lower; what diverged in benchmarks.collapse had 75 times the recipe's
_SHORTEN_QUEUE, _LOWER_RATE = "shorten and delay the queue", "lower the rate"

Changes = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What was done about a collapse.

    Attributes:
        name: which remedy it is. changes: settings by dotted name, from now on.
        step: before which it was decided. back_to: the step before which training resumes.
        word, why: what the run's health was, and what showed it.
    """

    name: str
    changes: Changes
    step: int
    back_to: int
    word: str
    why: str

    def entry(self) -> dict[str, Any]:
        """Its line of history.jsonl."""
        return asdict(self)

    def line(self) -> str:
        """As a person reads it."""
        changed = ", ".join(f"{name} = {value}" for name, value in self.changes.items())
        return f"{self.word} ({self.why}): back to step {self.back_to} with {changed}"


def remedies(history: Sequence[dict[str, Any]]) -> list[Remedy]:
    """Those of a run, oldest first."""
    fields = Remedy.__dataclass_fields__
    return [Remedy(**{name: entry[name] for name in fields}) for entry in history if entry["event"] == "remedy"]


def pending(history: Sequence[dict[str, Any]]) -> Remedy | None:
    """The last remedy, if the workers have not started since: checkpoints past it are still to go."""
    last = [entry["event"] for entry in history if entry["event"] in ("remedy", "start")][-1:]
    return remedies(history)[-1] if last == ["remedy"] else None


def remedied(config: Config, done: Sequence[Remedy]) -> Config:
    """The config that a run trains with after its remedies."""
    for remedy in done:
        config = settings.with_values(config, {name: settings.checked(name, v) for name, v in remedy.changes.items()})
    return config


def next_remedy(
    config: Config,
    done: Sequence[Remedy],
    steps_per_epoch: int,
    *,
    step: int,
    back_to: int,
    word: str,
    why: str,
    by_queue: bool = False,
) -> Remedy | None:
    """The first remedy that was not tried and has something to change; None if none is left.

    Args:
        config: as it was trained with, earlier remedies in it.
        step, back_to, word, why: as in `Remedy`.
        by_queue: the collapse came with the queue.
    """
    tried = {remedy.name for remedy in done}
    first = _SHORTEN_QUEUE if by_queue else _LOWER_RATE if word == DIVERGING else ""
    for name in sorted(_ORDER, key=lambda name: name != first):  # stable: the rest keep their order
        if name not in tried and (found := _ORDER[name](config, steps_per_epoch, step, back_to)):
            return Remedy(name=name, changes=found, step=step, back_to=back_to, word=word, why=why)
    return None


def _freeze(config: Config, steps_per_epoch: int, step: int, back_to: int) -> Changes:  # noqa: ARG001
    """Twice as long, two epochs at least, counted from where training resumes; at most half of what is left."""
    left = config.train.epochs * steps_per_epoch - back_to
    longer = max(2 * config.optim.freeze_prototypes_steps, _FREEZE_EPOCHS * steps_per_epoch)
    until = back_to + min(longer, left // 2)
    return {"optim.freeze_prototypes_steps": until} if until > config.optim.freeze_prototypes_steps else {}


def _epsilon(config: Config, steps_per_epoch: int, step: int, back_to: int) -> Changes:  # noqa: ARG001
    epsilon = config.assignment.epsilon
    lower = _LOW_EPSILON if epsilon > _LOW_EPSILON else _LEAST_EPSILON
    return {"assignment.epsilon": lower} if lower < epsilon else {}


def _queue(config: Config, steps_per_epoch: int, step: int, back_to: int) -> Changes:  # noqa: ARG001
    """Half as long, and later by a tenth of the run after the step that showed the collapse. Only once it has begun."""
    queue, epochs, batch = config.queue, config.train.epochs, config.train.global_batch_size
    if not queue.length or step < queue.start_epoch * steps_per_epoch:
        return {}
    start = min(-(-step // steps_per_epoch) + max(1, epochs // 10), epochs)
    return {"queue.length": max(batch, queue.length // 2 // batch * batch), "queue.start_epoch": start}


def _iterations(config: Config, steps_per_epoch: int, step: int, back_to: int) -> Changes:  # noqa: ARG001
    return {"assignment.iterations": _ITERATIONS} if config.assignment.iterations < _ITERATIONS else {}


def _rate(config: Config, steps_per_epoch: int, step: int, back_to: int) -> Changes:  # noqa: ARG001
    """The whole schedule, so that its shape stays."""
    optim = config.optim
    rates = {"base_lr": optim.base_lr, "start_warmup_lr": optim.start_warmup_lr, "final_lr": optim.final_lr}
    return {f"optim.{name}": rate / _RATE for name, rate in rates.items() if rate}


_ORDER: dict[str, Callable[[Config, int, int, int], Changes]] = {
    "freeze the prototypes longer": _freeze,
    "lower epsilon": _epsilon,
    _SHORTEN_QUEUE: _queue,
    "three Sinkhorn iterations": _iterations,
    _LOWER_RATE: _rate,
}
