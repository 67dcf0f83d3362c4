"""How a process of a run uses torch, so that the same sums come out the same."""

from __future__ import annotations

import os

import torch

from swav_ray.config import Config


def set_up_torch(config: Config, device: torch.device) -> None:
    """Threads as many as a worker has CPUs, and deterministic kernels if `train.deterministic` asks for them."""
    if device.type == "cpu":
        torch.set_num_threads(config.scaling.worker_threads)
    if config.train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for
        torch.use_deterministic_algorithms(True)
