"""Measures a checkpoint of a run. All that it needs lies in the run directory, so any process can do it."""

from __future__ import annotations

import safetensors.torch
import torch

from swav_ray.config import Config
from swav_ray.data import manifest as manifests
from swav_ray.data.holdout import split_ids
from swav_ray.evaluate.in_training.measurer import Measurer
from swav_ray.model.swav import SwAVModel
from swav_ray.run import checkpoint_files, layout
from swav_ray.run.measurements import Figures
from swav_ray.storage.place import Place
from swav_ray.training.distributed import World
from swav_ray.training.learner import build_model
from swav_ray.training.torch_setup import set_up_torch


def load_model(config: Config, run_dir: Place, step: int) -> SwAVModel:
    """The model of the checkpoint before `step`, on the CPU. Raises BadCheckpoint, StorageUnavailable."""
    weights = checkpoint_files.read(layout.checkpoint_folder(run_dir, step))[layout.MODEL]
    # As the learner has it: in another layout sums would end in other digits.
    model = build_model(config).to(memory_format=torch.channels_last)
    model.load_state_dict(safetensors.torch.load(weights))
    return model


def measure(config: Config, run_dir: Place, step: int, device: str) -> Figures:
    """The figures of the state before `step`, as the only worker of a run would measure them.

    Args:
        device: torch's name of where to measure.

    Raises:
        BadCheckpoint: its checkpoint is damaged or missing. OSError: storage is unavailable.
        ValueError, FloatingPointError: as `evaluate.label_free.measure`.
    """
    where = torch.device(device)
    set_up_torch(config, where)
    manifest = manifests.load(run_dir / layout.MANIFEST)
    threads = config.scaling.worker_threads  # that the task asked for; more would take CPU from training
    data = manifest, *split_ids(manifest, config.data)
    measurer = Measurer(config, *data, device=where, world=World(), threads=threads)
    model = load_model(config, run_dir, step).to(where)
    return measurer.figures(model, measurer.knn(model))
