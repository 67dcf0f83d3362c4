"""A worker over Ray: what swav_ray.worker needs, from Ray Train, Ray Data and the run's Monitor."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from swav_ray import worker
from swav_ray.config import Config, ScalingConfig
from swav_ray.data.batches import BatchMaker
from swav_ray.launch.feed import Feed, release_earlier_segments
from swav_ray.launch.measure_task import beside_training
from swav_ray.measuring.beside import Start
from swav_ray.run.messages import Message
from swav_ray.storage.place import Place
from swav_ray.training.control import Preemption, Request
from swav_ray.training.distributed import World

_ASK_SECONDS = 1.0  # between questions to the monitor


def run(payload: dict[str, Any]) -> None:
    """The training function of Ray Train.

    Args:
        payload: `config`, `run_dir` (a Place) and `monitor` (a Monitor actor).
    """
    config, run_dir = payload["config"], payload["run_dir"]
    worker.run(config, run_dir, _Pretraining(config, run_dir, payload["monitor"]))


class OverRay:
    """training.coordinator.Coordinator: what must not wait asks the monitor, and takes its answer at a later step."""

    def __init__(self, scaling: ScalingConfig, run_dir: Place, monitor: Any) -> None:
        self._scaling, self._run_dir, self._monitor = scaling, run_dir, monitor
        self._pending: ray.ObjectRef | None = None
        self._asked = time.monotonic()

    @cached_property
    def device(self) -> torch.device:
        # Asked for when the worker needs it, so that a failure is one of the worker, which is counted.
        found: torch.device = ray.train.torch.get_device()
        return found

    def given_up(self) -> str:
        reason: str = ray.get(self._monitor.given_up.remote())
        return reason

    def begin(self, step: int) -> str:
        reason: str = ray.get(self._monitor.begin.remote(step))
        return reason

    def request(self) -> Request:
        if self._pending is not None:
            ready, _ = ray.wait([self._pending], timeout=0)
            if not ready:
                return Request.NONE
            answer = Request[ray.get(self._pending)]
            self._pending = None
            return answer
        if time.monotonic() - self._asked > _ASK_SECONDS:
            self._asked = time.monotonic()
            self._pending = self._monitor.request.remote()
        return Request.NONE

    def preemption(self) -> Preemption | None:
        found = ray.train.get_preemption_info()
        if found is None:
            return None
        return Preemption(tuple(found.preempted_node_ids), found.deadline_ms / 1000 if found.deadline_ms else None)

    def report(self, message: Message) -> None:
        self._monitor.report.remote(message)

    def saved(self) -> None:
        # Calls of a process arrive in their order. What it has not yet sent when it ends is lost.
        ray.get(self._monitor.note_saved.remote())

    def feed(self, maker: BatchMaker, world: World, start: int, end: int) -> Feed:
        if world.rank == 0:
            release_earlier_segments(self._run_dir.uri)
        scaling = self._scaling
        return Feed(
            maker,
            world,
            start,
            end,
            owner=self._run_dir.uri,
            cpus=scaling.crop_cpus,
            training_cpus=world.size * scaling.cpus_per_worker,
        )

    def wait_to_be_ended(self, seconds: float) -> None:
        time.sleep(seconds)

    def give_up(self, reason: str) -> None:
        ray.get(self._monitor.give_up.remote(reason))

    def note_failure(self, why: str) -> None:
        group = ray.util.get_current_placement_group()
        ray.get(self._monitor.note_failure.remote(group.id.hex() if group is not None else "", why))


class _Pretraining(OverRay):
    """worker.PretrainingCoordinator."""

    def __init__(self, config: Config, run_dir: Place, monitor: Any) -> None:
        super().__init__(config.scaling, run_dir, monitor)
        self._config = config

    def beside_training(self, workers: int) -> Start | None:
        return beside_training(self._config, self._run_dir, workers, gpu=self.device.type == "cuda")
