"""Replays a recorded run of the published SwAV training loop and compares every recorded number.

    python benchmarks/replay_golden.py FILE.npz

The run is rebuilt from the file alone: weights and inputs are drawn from its seed, the settings are those of the
recording's description, and `Learner.step`, the step that real training takes, does the rest in float64. Prints one
JSON line with the largest relative error of each quantity; exits 0 only if all are within 1e-8.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swav_ray.config import (
    AssignmentConfig,
    Config,
    CropsConfig,
    ModelConfig,
    OptimConfig,
    QueueConfig,
    TrainConfig,
)
from swav_ray.training.learner import Learner

TOLERANCE = 1e-8
STEPS_PER_EPOCH = 4


def recorded_config(epsilon: float, steps: int) -> Config:
    return Config(
        crops=CropsConfig(sizes=(64, 32), counts=(2, 2), min_scales=(0.14, 0.05), max_scales=(1.0, 0.14)),
        model=ModelConfig(backbone="resnet50", hidden_dim=64, output_dim=16, prototypes=(30,)),
        assignment=AssignmentConfig(epsilon=epsilon, iterations=3, crops_for_assign=(0, 1)),
        queue=QueueConfig(length=16, start_epoch=1),
        optim=OptimConfig(
            base_lr=0.6,
            final_lr=0.0006,
            start_warmup_lr=0.3,
            warmup_epochs=1,
            weight_decay=1e-6,
            momentum=0.9,
            trust_coefficient=0.001,
            freeze_prototypes_steps=3,
        ),
        train=TrainConfig(epochs=steps // STEPS_PER_EPOCH, global_batch_size=8, temperature=0.1),
    )


def initialise(model: torch.nn.Module, seed: int) -> None:
    """Draws every parameter from (seed, crc32 of its name), as the recording did."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            shape = tuple(parameter.shape)
            if len(shape) > 1:
                rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
                value = rng.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))
                parameter.copy_(torch.from_numpy(value))
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)


def crops_of(seed: int, step: int) -> list[Tensor]:
    rng = np.random.default_rng([seed, step])
    crops = [torch.from_numpy(rng.standard_normal((8, 3, size, size))) for size in (64, 64, 32, 32)]
    return [torch.cat(crops[:2]), torch.cat(crops[2:])]


def relative_error(ours: np.ndarray, recorded: np.ndarray, scale: np.ndarray | float = 0.0) -> float:
    """Largest difference relative to the recorded figure, or to `scale` where that is larger."""
    if ours.shape != recorded.shape:
        return math.inf
    error = float((np.abs(ours - recorded) / np.maximum(np.maximum(np.abs(recorded), scale), 1e-300)).max())
    return error if math.isfinite(error) else math.inf


def vector_error(ours: np.ndarray, recorded: np.ndarray) -> float:
    """Relative error of vectors along the last axis: an entry near zero counts against its vector's mean square."""
    return relative_error(ours, recorded, np.sqrt((recorded**2).mean(axis=-1, keepdims=True)))


def sums_error(ours: np.ndarray, recorded: np.ndarray) -> float:
    """Relative error of (sum, sum of absolutes, first): a sum that cancels counts against the sum of absolutes.

    The bias in front of a BatchNorm has no gradient but rounding (about 1e-17), so no figure counts as less than 1e-6.
    """
    scale = np.full_like(recorded, 1e-6)
    scale[:, 0] = np.maximum(scale[:, 0], recorded[:, 1])
    return relative_error(ours, recorded, scale)


def statistics(tensors: dict[str, Tensor], names: list[str]) -> np.ndarray:
    rows = [tensors[name].double() for name in names]
    return np.array([[float(t.sum()), float(t.abs().sum()), float(t.flatten()[0])] for t in rows])


def replay(recording: Any) -> dict[str, float]:
    """Runs the recorded steps; the largest relative error of each quantity by name."""
    seed, lrs = int(recording["seed"]), recording["lrs"]
    learner = Learner(recorded_config(float(recording["epsilon"]), len(lrs)), STEPS_PER_EPOCH, dtype=torch.float64)
    initialise(learner.model, seed)
    results = [learner.step(crops_of(seed, step), step) for step in range(len(lrs))]
    assert learner.queue is not None
    state = learner.model.state_dict()
    keys_differ = list(state) != [str(key) for key in recording["state_keys"]]
    names = {kind: [str(name) for name in recording[f"{kind}_names"]] for kind in ("param", "buffer")}
    weights = learner.model.prototype_weights()[0].detach().numpy()
    codes = np.stack([result.codes[0].numpy() for result in results])
    embeddings = np.stack([result.embeddings.flatten(0, 1).numpy() for result in results])
    errors = {
        "losses": relative_error(np.array([result.loss for result in results]), recording["losses"]),
        "lrs": relative_error(np.array([result.lr for result in results]), lrs),
        "codes": vector_error(codes, recording["codes"]),
        "embeddings": vector_error(embeddings, recording["embeddings"]),
        "prototypes": vector_error(weights, recording["prototypes"]),
        "queue": vector_error(learner.queue.rows.numpy(), recording["queue"]),
        "param_stats": sums_error(statistics(state, names["param"]), recording["param_stats"]),
        "buffer_stats": sums_error(statistics(state, names["buffer"]), recording["buffer_stats"]),
    }
    return {**errors, "state_keys": math.inf if keys_differ else 0.0}


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        print("usage: python benchmarks/replay_golden.py FILE.npz (an existing recording)", file=sys.stderr)
        return 2
    with np.load(sys.argv[1], allow_pickle=False) as recording:
        errors = replay(recording)
    within = all(error <= TOLERANCE for error in errors.values())
    figures = {name: error if math.isfinite(error) else "inf" for name, error in errors.items()}
    print(json.dumps({"benchmark": "replay_golden", "tolerance": TOLERANCE, "within": within, **figures}))
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
