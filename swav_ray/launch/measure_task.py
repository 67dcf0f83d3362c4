"""A measurement beside training as a Ray task: which resources it takes, and whether training can spare them.

Ray Train has validation tasks of its own. They validate a checkpoint that all workers report together, and ours are
written by rank 0 alone, whenever storage takes them (docs/log.md).

The process of a task imports this before it can lower its priority, so neither it nor what it imports loads torch.
"""

from __future__ import annotations

import os
from typing import Any

import ray

from swav_ray.config import Config
from swav_ray.measuring.beside import Start, TaskFailed
from swav_ray.one_line import last_line
from swav_ray.run.measurements import Figures
from swav_ray.storage.place import Place

_CROP_CPUS = 2.0  # that a measurement leaves for crops, if `scaling.crop_cpus` does not say how many they take
_LOWEST = 19  # priority: where there are fewer cores than Ray was told, training and crops come first


def beside_training(config: Config, run_dir: Place, workers: int, *, gpu: bool) -> Start | None:
    """Starts measurements as Ray tasks; None if `workers` of a run leave no room for one, or it is not wanted.

    Args:
        gpu: whether the workers train on GPUs.
    """
    if config.eval.beside_training == "never":
        return None
    taken = resources(config, workers, ray.cluster_resources(), gpu=gpu)
    if taken is None:
        return None
    # SPREAD is not the workers' placement group, in which there is no room, and prefers nodes with the least to do.
    task: Any = _measure.options(scheduling_strategy="SPREAD", **taken)
    device = "cuda" if "num_gpus" in taken else "cpu"
    return lambda step: _Task(task.remote(config, run_dir, step, device))


def resources(config: Config, workers: int, cluster: dict[str, float], *, gpu: bool) -> dict[str, float] | None:
    """What a measurement requests of Ray; None if the workers are to measure.

    A GPU if training leaves one whole. A trainer's GPU is never shared: its memory is spoken for. CPUs otherwise: as
    many as a worker has, so that a measurement takes as long and sums in the same order as in the only worker of a run.

    Args:
        cluster: what Ray has in all, by resource.
    """
    scaling = config.scaling
    if gpu and cluster.get("GPU", 0.0) - workers * scaling.gpus_per_worker >= 1:
        return {"num_cpus": 1, "num_gpus": 1}
    cpus = scaling.worker_threads
    left = cluster.get("CPU", 0.0) - workers * scaling.cpus_per_worker - (scaling.crop_cpus or _CROP_CPUS)
    # On GPUs the workers need seconds for what takes a CPU an hour.
    if config.eval.beside_training == "auto" and (gpu or left < cpus):
        return None
    return {"num_cpus": cpus}


# The process ends with its task, since neither its priority nor torch's memory can be given back.
@ray.remote(max_retries=0, max_calls=1)
def _measure(config: Config, run_dir: Place, step: int, device: str) -> Figures:
    os.nice(_LOWEST)
    # Not before: to load torch takes more CPU than some measurements.
    from swav_ray.measuring.checkpoints import measure

    return measure(config, run_dir, step, device)


class _Task:
    """measuring.beside.Task over Ray."""

    def __init__(self, figures: Any) -> None:
        self._figures = figures

    def poll(self) -> Figures | None:
        ready, _ = ray.wait([self._figures], timeout=0)
        if not ready:
            return None
        try:
            found: Figures = ray.get(self._figures)
        except ray.exceptions.RayError as error:
            raise TaskFailed(last_line(error)[:300]) from None
        return found

    def cancel(self) -> None:
        ray.cancel(self._figures, force=True)
