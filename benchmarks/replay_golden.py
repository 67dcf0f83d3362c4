"""Replays a recorded run of the published SwAV training loop and compares every recorded number.

    python -m benchmarks.replay_golden FILE.npz

The run is rebuilt from the file alone: weights and inputs are drawn from its seed, the settings are those of the
recording's description, and `Learner.step`, the step that real training takes, does the rest in float64. Prints one
JSON line with the largest relative error of each quantity; exits 0 only if all are within 1e-8 or within what
rounding alone does.

Twelve steps of this network make a rounding error a hundred thousand times as large, so two machines whose processors
sum in different orders end up to 1e-7 apart whatever the program. How much that is, is measured and not assumed: the
run is repeated with every weight moved by one unit in its last place, and an error may be ten times as large as the
figures then move (`rounding` in the JSON), never more than 1e-5.
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
ROUNDING_FACTOR = 10
MOST = 1e-5
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
    """Largest difference relative to the recorded figure, or to `scale` if that is larger."""
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


def nudge(model: torch.nn.Module, seed: int) -> None:
    """Moves every weight up or down by one unit in its last place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            up = torch.randint(0, 2, parameter.shape, generator=generator).bool()
            towards = torch.where(up, math.inf, -math.inf).to(parameter)
            parameter.copy_(torch.nextafter(parameter, towards))


def run(recording: Any, *, nudged: bool = False) -> dict[str, np.ndarray]:
    """The recorded quantities as this implementation has them, and `state_keys`."""
    seed, lrs = int(recording["seed"]), recording["lrs"]
    learner = Learner(recorded_config(float(recording["epsilon"]), len(lrs)), STEPS_PER_EPOCH, dtype=torch.float64)
    initialise(learner.model, seed)
    if nudged:
        nudge(learner.model, seed)
    results = [learner.step(crops_of(seed, step), step) for step in range(len(lrs))]
    assert learner.queue is not None
    state = learner.model.state_dict()
    names = {kind: [str(name) for name in recording[f"{kind}_names"]] for kind in ("param", "buffer")}
    return {
        "losses": np.array([result.loss for result in results]),
        "lrs": np.array([result.lr for result in results]),
        "codes": np.stack([result.codes[0].numpy() for result in results]),
        "embeddings": np.stack([result.embeddings.flatten(0, 1).numpy() for result in results]),
        "prototypes": learner.model.prototype_weights()[0].detach().numpy(),
        "queue": learner.queue.rows.numpy().copy(),
        "param_stats": statistics(state, names["param"]),
        "buffer_stats": statistics(state, names["buffer"]),
        "state_keys": np.array(list(state)),
    }


def errors(ours: Any, recorded: Any) -> dict[str, float]:
    """The largest relative error of each quantity by name."""
    keys_differ = [str(key) for key in ours["state_keys"]] != [str(key) for key in recorded["state_keys"]]
    measures = {
        "losses": relative_error,
        "lrs": relative_error,
        "codes": vector_error,
        "embeddings": vector_error,
        "prototypes": vector_error,
        "queue": vector_error,
        "param_stats": sums_error,
        "buffer_stats": sums_error,
    }
    found = {name: measure(ours[name], recorded[name]) for name, measure in measures.items()}
    return {**found, "state_keys": math.inf if keys_differ else 0.0}


def within(error: float, rounding: float) -> bool:
    """Whether an error is no more than the tolerance, or no more than rounding explains."""
    return error <= max(TOLERANCE, min(MOST, ROUNDING_FACTOR * rounding))


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        print("usage: python -m benchmarks.replay_golden FILE.npz (an existing recording)", file=sys.stderr)
        return 2
    with np.load(sys.argv[1], allow_pickle=False) as recording:
        ours = run(recording)
        found = errors(ours, recording)
        rounding = errors(run(recording, nudged=True), ours)
    good = all(within(error, rounding[name]) for name, error in found.items())
    figures = {name: error if math.isfinite(error) else "inf" for name, error in found.items()}
    line = {"benchmark": "replay_golden", "tolerance": TOLERANCE, "within": good, **figures, "rounding": rounding}
    print(json.dumps(line))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
