"""Checkpoints: whole or absent, nothing unpickled, loadable at any number of workers.

`checkpoints/step-000000123/` holds model.safetensors (the published parameter names), training.safetensors (momentum
and queue), meta.json, and manifest.json with every file's size and SHA-256, written last: without it there is no
checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from swav_ray.run import measurements
from swav_ray.run.about import About
from swav_ray.run.checkpoint_files import BadCheckpoint, read, steps
from swav_ray.run.layout import (
    CHECKPOINT_MANIFEST,
    CHECKPOINTS,
    META,
    METRICS,
    MODEL,
    TRAINING,
    checkpoint_folder,
    step_of_file,
)
from swav_ray.run.scores import knn_scores
from swav_ray.storage.place import Place
from swav_ray.training.description import about_of, placed
from swav_ray.training.learner import Learner

__all__ = [
    "BadCheckpoint",
    "Checkpoint",
    "NewerCheckpoint",
    "Retention",
    "Snapshot",
    "copied",
    "load",
    "load_newest",
    "prune",
    "restore",
    "snapshot",
    "steps",
    "write",
]

SCHEMA = 2  # 2: refused_steps and knn_top1 in meta.json


class NewerCheckpoint(BadCheckpoint):
    """A checkpoint of a later version of this package: sound, and not to be passed over for an older one."""


@dataclass(frozen=True)
class Checkpoint:
    """What was read back: tensors by name, and the progress."""

    step: int
    model: dict[str, Tensor]
    training: dict[str, Tensor]
    meta: dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """The state before a step, copied to host memory, so that training continues while it is written."""

    step: int
    model: dict[str, Tensor]
    training: dict[str, Tensor]
    meta: dict[str, Any]
    about: About = field(default_factory=About)


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which checkpoints stay: the newest `last`, every `every_steps` steps (0: none), the `best` by kNN accuracy."""

    last: int
    every_steps: int = 0
    best: int = 0


def snapshot(learner: Learner, step: int, knn_top1: float | None = None, about: About | None = None) -> Snapshot:
    """Copies a learner's state to host memory; the only part of a checkpoint that a step waits for.

    Args:
        about: what is known of the run, without its progress; None: what the learner's config says.
    """
    training = {}
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.model.named_parameters()}
    for parameter, state in learner.optimizer.state.items():
        if state.get("momentum_buffer") is not None:
            training[f"momentum.{names[parameter]}"] = state["momentum_buffer"]
    if learner.queue is not None:
        training |= {f"queue.{name}": tensor for name, tensor in learner.queue.state_dict().items()}
    meta: dict[str, Any] = {
        "schema": SCHEMA,
        "step": step,
        "samples_seen": step * learner.config.train.global_batch_size,
        "refused_steps": learner.refused_steps,
        "knn_top1": knn_top1,
    }
    about = about or about_of(learner.config, learner.model)
    epochs, seen = step / learner.steps_per_epoch, meta["samples_seen"]
    about = replace(about, step=step, epochs=epochs, samples_seen=seen, knn_top1=knn_top1 or 0.0)
    return Snapshot(step, copied(learner.model.state_dict()), copied(training), meta, about)


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in host memory, which later steps do not change."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def write(run_dir: Place, state: Snapshot, before_commit: Callable[[], None] = lambda: None) -> Place:
    """Writes a checkpoint; one of its step that is there already is replaced.

    `before_commit` runs first, and again before the manifest makes it one: whether this process may write here at all,
    and what must be durable with it, goes there. An error there leaves no new checkpoint.
    """
    before_commit()
    files = {
        MODEL: safetensors.torch.save(state.model, metadata=placed(state.about, run_dir).header()),
        TRAINING: safetensors.torch.save(state.training),
        META: json.dumps(state.meta, indent=1).encode(),
    }
    folder = checkpoint_folder(run_dir, state.step)
    # The manifest goes first, or an old one would stand beside new files.
    (folder / CHECKPOINT_MANIFEST).delete()
    sums = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    try:
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError:
        folder.delete_tree()  # on a full disk, half a checkpoint is in the way of everything else
        raise
    before_commit()
    (folder / CHECKPOINT_MANIFEST).write_bytes(json.dumps(sums, indent=1).encode())
    return folder


def prune(
    run_dir: Place,
    newest: int,
    keep: Retention,
    *,
    newer: bool = False,
    awaited: Set[int] = frozenset(),
    held: Set[int] = frozenset(),
) -> None:
    """Drops the checkpoints that `keep` does not name, and what a killed write or prune left; raises OSError.

    Args:
        newest: the step of the last one written.
        newer: whether complete ones of later steps stay. They were passed over when the run resumed, for damage or
            because storage failed for a moment.
        awaited: steps whose checkpoints stay until measurements.jsonl has their line.
        held: steps whose checkpoints stay.
    """
    found = steps(run_dir)
    past = [step for step in found if step <= newest]  # a newer one is damaged: the run fell back from it
    measured = {row["step"] for row in measurements.read(run_dir)} if awaited else set()
    kept = (
        _kept(run_dir, past, keep)
        | (awaited - measured)
        | held
        | ({step for step in found if step > newest} if newer else set())
    )
    there = (step_of_file(entry.name) for entry in (run_dir / CHECKPOINTS).list())
    for old in sorted({step for step in there if step is not None} - kept):
        (checkpoint_folder(run_dir, old) / CHECKPOINT_MANIFEST).delete()
        checkpoint_folder(run_dir, old).delete_tree()


def _kept(run_dir: Place, found: list[int], keep: Retention) -> set[int]:
    kept = set(found[-keep.last :])
    if keep.every_steps:
        kept |= {step for step in found if step % keep.every_steps == 0}
    if keep.best:
        scores = [(score, step) for step, score in knn_scores(run_dir, found).items()]
        kept |= {step for _, step in sorted(scores)[-keep.best :]}
    return kept


def load(run_dir: Place, step: int) -> Checkpoint:
    """Reads and verifies a checkpoint. Raises BadCheckpoint, or NewerCheckpoint for that of a later version."""
    folder = checkpoint_folder(run_dir, step)
    files = read(folder)
    meta = json.loads(files[META])
    if meta["schema"] > SCHEMA:
        raise NewerCheckpoint(f"{folder}: was written by a newer swav_ray (version {meta['schema']}); update this one")
    return Checkpoint(
        step=meta["step"],
        model=safetensors.torch.load(files[MODEL]),
        training=safetensors.torch.load(files[TRAINING]),
        meta=meta,
    )


def load_newest(run_dir: Place, logged: int | None = None) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is sound, and a line about each newer one that is not.

    Args:
        logged: steps that metrics.jsonl has from the first on: a manifest that a killed worker had under way may
            arrive after a later start has dropped the lines of its steps, and what is not there cannot be proven.

    Raises:
        BadCheckpoint: there are checkpoints and none is sound: to begin anew would hide the loss.
        NewerCheckpoint: one is of a later version.
    """
    problems: list[str] = []
    for step in reversed(steps(run_dir)):
        if logged is not None and step > logged:
            problems.append(f"{checkpoint_folder(run_dir, step)}: {METRICS} has the lines of {logged} steps only")
            continue
        try:
            return load(run_dir, step), problems
        except NewerCheckpoint:
            raise
        except BadCheckpoint as error:
            problems.append(str(error))
    if problems:
        raise BadCheckpoint(f"no sound checkpoint is left: {'; '.join(problems)}")
    return None, []


@torch.no_grad()
def restore(learner: Learner, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's model, momentum and queue into a learner of the same config, at any world size."""
    learner.model.load_state_dict(checkpoint.model)
    learner.refused_steps = checkpoint.meta.get("refused_steps", 0)
    learner.optimizer.state.clear()
    for name, parameter in learner.model.named_parameters():
        momentum = checkpoint.training.get(f"momentum.{name}")
        if momentum is not None:
            # In the parameter's own layout, as training has it.
            learner.optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum)
    begins = learner.config.queue.start_epoch * learner.steps_per_epoch
    # A queue that begins later than the checkpoint is empty. It may have been shortened or delayed by a remedy since.
    if learner.queue is not None and checkpoint.step > begins:
        learner.queue.load_state_dict({key: checkpoint.training[f"queue.{key}"] for key in ("rows", "filled")})
