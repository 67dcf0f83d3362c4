"""Checkpoints: whole or absent, nothing unpickled, loadable at any number of workers.

`checkpoints/step-000000123/` holds model.safetensors (the published parameter names), training.safetensors (momentum
and queue), meta.json, and manifest.json with every file's size and SHA-256, written last: without it there is no
checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from swav_ray.data.storage import Place
from swav_ray.training.learner import Learner

SCHEMA = 1
_MANIFEST = "manifest.json"


class BadCheckpoint(ValueError):
    """A checkpoint that cannot be used: the message names it and what is wrong."""


@dataclass(frozen=True)
class Checkpoint:
    """What was read back: tensors by name, and the progress."""

    step: int
    model: dict[str, Tensor]
    training: dict[str, Tensor]
    meta: dict[str, Any]


def _folder(run_dir: Place, step: int) -> Place:
    return run_dir / "checkpoints" / f"step-{step:09d}"


def save(run_dir: Place, learner: Learner, step: int, *, keep_last: int) -> Place:
    """Writes the state before `step` and drops all but the newest `keep_last`; by one worker, for all."""
    training = {}
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.model.named_parameters()}
    for parameter, state in learner.optimizer.state.items():
        if state.get("momentum_buffer") is not None:
            training[f"momentum.{names[parameter]}"] = state["momentum_buffer"]
    if learner.queue is not None:
        training |= {f"queue.{name}": tensor for name, tensor in learner.queue.state_dict().items()}
    meta = {"schema": SCHEMA, "step": step, "samples_seen": step * learner.config.train.global_batch_size}
    files = {
        "model.safetensors": safetensors.torch.save(_contiguous(learner.model.state_dict())),
        "training.safetensors": safetensors.torch.save(_contiguous(training)),
        "meta.json": json.dumps(meta, indent=1).encode(),
    }
    folder = _folder(run_dir, step)
    # A folder of this step can only be an unfinished or a damaged one: its manifest goes first.
    (folder / _MANIFEST).delete()
    sums = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / _MANIFEST).write_bytes(json.dumps(sums, indent=1).encode())
    for old in steps(run_dir)[:-keep_last]:
        (_folder(run_dir, old) / _MANIFEST).delete()
        _folder(run_dir, old).delete_tree()
    return folder


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def steps(run_dir: Place) -> list[int]:
    """Steps of the complete checkpoints, oldest first."""
    found = (re.fullmatch(rf"step-(\d+)/{_MANIFEST}", entry.name) for entry in (run_dir / "checkpoints").list())
    return sorted(int(match[1]) for match in found if match)


def load(run_dir: Place, step: int) -> Checkpoint:
    """Reads and verifies a checkpoint; raises BadCheckpoint where it is damaged or of a newer version."""
    folder = _folder(run_dir, step)
    try:
        sums = json.loads((folder / _MANIFEST).read_bytes())
        files = {name: (folder / name).read_bytes() for name in sums}
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise BadCheckpoint(f"{folder}: {error}") from None
    for name, data in files.items():
        if len(data) != sums[name]["size"] or hashlib.sha256(data).hexdigest() != sums[name]["sha256"]:
            raise BadCheckpoint(f"{folder / name}: differs from the size or checksum in {_MANIFEST}")
    meta = json.loads(files["meta.json"])
    if meta["schema"] > SCHEMA:
        raise BadCheckpoint(f"{folder}: was written by a newer swav_ray (version {meta['schema']}); update it")
    return Checkpoint(
        step=meta["step"],
        model=safetensors.torch.load(files["model.safetensors"]),
        training=safetensors.torch.load(files["training.safetensors"]),
        meta=meta,
    )


def load_newest(run_dir: Place) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is sound, and a line about each newer one that is not.

    Raises BadCheckpoint where there are checkpoints and none is sound: to begin anew would hide the loss.
    """
    problems: list[str] = []
    for step in reversed(steps(run_dir)):
        try:
            return load(run_dir, step), problems
        except BadCheckpoint as error:
            problems.append(str(error))
    if problems:
        raise BadCheckpoint(f"no sound checkpoint is left: {'; '.join(problems)}")
    return None, []


@torch.no_grad()
def restore(learner: Learner, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's model, momentum and queue into a learner of the same config, at any world size."""
    learner.model.load_state_dict(checkpoint.model)
    learner.optimizer.state.clear()
    for name, parameter in learner.model.named_parameters():
        momentum = checkpoint.training.get(f"momentum.{name}")
        if momentum is not None:
            learner.optimizer.state[parameter]["momentum_buffer"] = momentum.to(parameter)
    if learner.queue is not None:
        learner.queue.load_state_dict({key: checkpoint.training[f"queue.{key}"] for key in ("rows", "filled")})
