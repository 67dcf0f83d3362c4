"""The first step of a run that was refused, to be replayed: its batch, the state before it and the random numbers.

`refused/step-000000123/` in the run directory holds `batch-0.safetensors` of each worker (its slice of the batch, as it
came), and of rank 0 `model.safetensors`, `training.safetensors`, `config.yaml` and `meta.json`, which is written last.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.data.batch import Batch
from swav_ray.run.layout import CONFIG, META, MODEL, REFUSED, TRAINING, refused_folder
from swav_ray.storage.place import Place
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner, StepResult

_SCHEMA = 1


def save(run_dir: Place, learner: Learner, batch: Batch, result: StepResult) -> None:
    """Saves a refused step, by every worker at once; the learner's state is that before it. Raises OSError."""
    folder, rank = refused_folder(run_dir, batch.step), learner.world.rank
    arrays = {"sample_ids": batch.sample_ids, "pixels": batch.pixels, "color": batch.color}
    arrays |= {f"random.{name}": numbers.numpy() for name, numbers in _random_numbers().items()}
    about = {"about": batch.about()}
    (folder / _batch_file(rank)).write_bytes(safetensors.numpy.save(arrays, metadata=about))
    if rank:
        return
    state = checkpoint.snapshot(learner, batch.step)
    (folder / MODEL).write_bytes(safetensors.torch.save(state.model))
    (folder / TRAINING).write_bytes(safetensors.torch.save(state.training))
    (folder / CONFIG).write_bytes(settings.to_yaml(learner.config).encode())
    meta = state.meta | {
        "black_box": _SCHEMA,
        "workers": learner.world.size,
        "steps_per_epoch": learner.steps_per_epoch,
        "refused": result.refused,
        "device": learner.device.type,
    }
    (folder / META).write_bytes(json.dumps(meta, indent=1).encode())


def saved_steps(run_dir: Place) -> list[int]:
    """Steps that were saved, whole."""
    ends = f"/{META}"
    found = (entry.name for entry in (run_dir / REFUSED).list() if entry.name.endswith(ends))
    return sorted(int(name.removesuffix(ends).removeprefix("step-")) for name in found)


@dataclass(frozen=True)
class BlackBox:
    """A refused step: the config that it was trained with, the whole global batch, and the state before it."""

    config: Config
    batch: Batch
    state: checkpoint.Checkpoint
    random: dict[str, torch.Tensor]

    @property
    def refused(self) -> str:
        """Why the step was refused."""
        return str(self.state.meta["refused"])


def load(run_dir: Place, step: int) -> BlackBox:
    """Reads a step back, the workers' slices in the order of the global batch. Raises FileNotFoundError."""
    folder = refused_folder(run_dir, step)
    meta = json.loads((folder / META).read_bytes())
    config = settings.from_yaml((folder / CONFIG).read_bytes().decode(), Config(), str(folder / CONFIG))
    parts, random = [], {}
    for rank in range(meta["workers"]):
        data = (folder / _batch_file(rank)).read_bytes()
        arrays = safetensors.numpy.load(data)
        parts.append(Batch.of(_about(data), *(arrays[name] for name in ("sample_ids", "pixels", "color"))))
        if not rank:
            prefix = "random."
            random = {
                name.removeprefix(prefix): torch.from_numpy(np.array(numbers))
                for name, numbers in arrays.items()
                if name.startswith(prefix)
            }
    state = checkpoint.Checkpoint(
        step=step,
        model=safetensors.torch.load((folder / MODEL).read_bytes()),
        training=safetensors.torch.load((folder / TRAINING).read_bytes()),
        meta=meta,
    )
    return BlackBox(config, Batch.join(parts, config.crops), state, random)


def restore(learner: Learner, box: BlackBox) -> None:
    """Puts the state and the random numbers back."""
    checkpoint.restore(learner, box.state)
    torch.set_rng_state(box.random["cpu"])
    if "device" in box.random and learner.device.type == "cuda":
        torch.cuda.set_rng_state(box.random["device"], learner.device)


def _random_numbers() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["device"] = torch.cuda.get_rng_state()
    return states


def _batch_file(rank: int) -> str:
    return f"batch-{rank}.safetensors"


def _about(data: bytes) -> str:
    """The header's entry: safetensors gives it of files only."""
    length = int.from_bytes(data[:8], "little")
    about: str = json.loads(data[8 : 8 + length])["__metadata__"]["about"]
    return about
