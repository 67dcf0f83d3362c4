"""What usually helps, in one sentence: the authors' advice from public threads, fitted to the run's own settings."""

from __future__ import annotations

from swav_ray.config import Config
from swav_ray.health.rules import Judgement
from swav_ray.run.health_log import DIVERGING, STARVED

_HIGH_EPSILON = 0.05  # the paper's; above it "high epsilon collapses" (paper's ablation)


def advice(config: Config, judgement: Judgement) -> str:
    """What to change in a run with an alarm; the likeliest cause first."""
    assignment, optim, queue = config.assignment, config.optim, config.queue
    if judgement.word == DIVERGING:
        return f"a lower optim.base_lr (now {optim.base_lr:g}) or a longer optim.warmup_epochs usually helps"
    steps = []
    if judgement.word == STARVED:
        steps.append(
            f"fewer model.prototypes (now {max(config.model.prototypes):,}; about ten a class), a larger "
            f"train.global_batch_size (now {config.train.global_batch_size}) or queue.length (now {queue.length})"
        )
    shorter = f"a shorter or later queue (now {queue.length} from epoch {queue.start_epoch})"
    if judgement.by_queue:
        steps.append(shorter)
    if assignment.epsilon > _HIGH_EPSILON:
        steps.append(f"assignment.epsilon 0.03 (now {assignment.epsilon:g}: codes of a high one are uniform)")
    if assignment.iterations < 3:
        steps.append(f"assignment.iterations 3 (now {assignment.iterations})")
    steps.append(f"a larger optim.freeze_prototypes_steps (now {optim.freeze_prototypes_steps})")
    if assignment.epsilon <= _HIGH_EPSILON:
        steps.append(f"a lower assignment.epsilon (now {assignment.epsilon:g})")
    if queue.length and not judgement.by_queue:
        steps.append(shorter)
    return f"try {steps[0]}; then {', then '.join(steps[1:])}" if len(steps) > 1 else f"try {steps[0]}"
