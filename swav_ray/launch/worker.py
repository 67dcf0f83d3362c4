"""What every training worker runs: find the place in the run, train, save, measure. Rank 0 also writes and tells."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
from ray.data import ExecutionResources

from swav_ray.config import Config
from swav_ray.data import manifest as manifests
from swav_ray.data.batches import BatchMaker, TooManyBadImages
from swav_ray.data.manifest import Manifest
from swav_ray.data.multi_crop import MultiCrop
from swav_ray.data.quarantine import Quarantine
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.data.storage import Place
from swav_ray.evaluate import label_free
from swav_ray.evaluate.probe import knn, split
from swav_ray.launch.data import Feed
from swav_ray.model.swav import Trunk
from swav_ray.report import measurements
from swav_ray.report.metrics_log import MetricsLog
from swav_ray.training import checkpoint
from swav_ray.training.distributed import World
from swav_ray.training.learner import Diverged, Learner, build_model
from swav_ray.training.loop import Record, train

MANIFEST = "manifest.parquet"
SUMMARY = "summary.json"
_TELL_SECONDS = 0.25  # between records to the terminal
_STOP_SECONDS = 1.0  # between questions whether to stop


def run(payload: dict[str, Any]) -> None:
    """The training function of Ray Train.

    Args:
        payload: `config`, `run_dir` (a Place) and `monitor` (a Monitor actor).
    """
    monitor = payload["monitor"]
    if ray.get(monitor.given_up.remote()):
        return
    try:
        _Worker(payload["config"], payload["run_dir"], monitor).run()
    except (Diverged, TooManyBadImages, checkpoint.BadCheckpoint) as error:
        # Told before raising: another try would end the same way, so the next start of the workers returns at once.
        ray.get(monitor.give_up.remote(str(error)))
        raise


class _Worker:
    def __init__(self, config: Config, run_dir: Place, monitor: Any) -> None:
        self.config, self.run_dir, self.monitor = config, run_dir, monitor
        self.world = World.current()
        self.chief = self.world.rank == 0
        self.device = ray.train.torch.get_device()
        if self.device.type == "cpu":
            torch.set_num_threads(max(1, round(config.scaling.cpus_per_worker)))
        self.manifest: Manifest = manifests.load(run_dir / MANIFEST)
        self.train_ids, self.held_out = split(self.manifest, config.data)
        self.plan = SamplePlan(self.train_ids, config.run.seed, config.train.global_batch_size)
        self.learner = Learner(config, self.plan.steps_per_epoch, device=self.device, world=self.world)
        self.end = config.train.epochs * self.plan.steps_per_epoch
        self._log: MetricsLog | None = None
        self._told = 0.0
        self._losses: list[float] = []

    def run(self) -> None:
        start = self._restore()
        self._give_up_without_progress(start)
        if self.chief:
            self._log = MetricsLog(self.run_dir, start)
        quarantine = Quarantine(self.run_dir, len(self.train_ids), self.config.data.max_bad_fraction, writes=self.chief)
        reached = start
        measured = measurements.keep_until(self.run_dir, start) if self.chief else []
        if self._measured_at(start) and start < self.end:
            # Killed after a checkpoint and before its measurement: made up for, so that no curve has a gap.
            missing = start not in [row["step"] for row in measured]
            if any(self.world.gather_objects(missing and self.chief)):
                self._evaluate(start)
        if start < self.end:
            reached = train(
                self.learner,
                self._feed(start),
                start=start,
                end=self.end,
                record=self._record,
                save=self._save,
                evaluate=self._evaluate,
                should_stop=_StopFlag(self.monitor) if self.chief else lambda: False,
                quarantine=quarantine,
            )
        if self._log is not None:
            self._log.close()
        if reached == self.end:
            self._finish(quarantine)
        elif self.chief:
            self._tell(stopped=reached)

    def _restore(self) -> int:
        """Loads the newest sound checkpoint on every worker; the step to go on from."""
        found, problems = checkpoint.load_newest(self.run_dir)
        if self.chief:
            for problem in problems:
                self._tell(warning=f"damaged checkpoint, using the one before: {problem}")
        if found is None:
            return 0
        checkpoint.restore(self.learner, found)
        if self.chief:
            self._tell(resumed=found.step)
        return found.step

    def _give_up_without_progress(self, start: int) -> None:
        if self.chief and (reason := ray.get(self.monitor.begin.remote(start))):
            raise RuntimeError(reason)

    def _feed(self, start: int) -> Feed:
        config = self.config
        multi_crop = MultiCrop(config.crops, config.augment, config.run.seed)
        reserved = ExecutionResources(
            cpu=_cpus_to_leave(config, self.world.size),
            gpu=self.world.size * config.scaling.gpus_per_worker if self.device.type == "cuda" else 0,
        )
        return Feed(BatchMaker(self.manifest, self.plan, multi_crop), self.world, start, self.end, reserved)

    def _record(self, record: Record) -> None:
        if self._log is None:
            return
        self._log.append(record)
        self._losses.append(record["loss"])
        now = time.monotonic()
        if now - self._told > _TELL_SECONDS or record["step"] + 1 == self.end:
            self._told = now
            self._tell(record=record)

    def _save(self, step: int) -> None:
        if self.chief and self._log is not None:
            checkpoint.save(self.run_dir, self.learner, step, keep_last=self.config.checkpoint.keep_last)
            self._log.flush()

    def _measured_at(self, step: int) -> bool:
        every = self.config.eval.knn_every_epochs * self.plan.steps_per_epoch
        return step > 0 and every > 0 and step % every == 0

    def _evaluate(self, step: int) -> None:
        result = self._knn({"trained": Trunk(self.learner.model)})
        self._keep(step, result)
        if self.chief and result:
            self._tell(knn={"step": step, "top1": result["trained"]})
            if self._log is not None:
                self._log.scalar("eval/knn_top1", result["trained"], step)

    def _keep(self, step: int, knn: dict[str, float]) -> None:
        """Writes a line of measurements.jsonl: kNN where there are labels, and the label-free figures if asked for."""
        if not self.chief:
            return
        row = {
            "step": step,
            "epochs": step / self.plan.steps_per_epoch,
            "samples_seen": step * self.config.train.global_batch_size,
            "loss": float(np.mean(self._losses)) if self._losses else None,
        }
        self._losses.clear()
        if knn:
            row["knn_top1"] = knn["trained"]
        if self.config.eval.label_free_images:
            row |= label_free.measure(
                self.learner.model, self.manifest, self.train_ids, self.config.eval, device=self.device
            )
        measurements.append(self.run_dir, row)
        self._tell(measured=row)

    def _knn(self, backbones: dict[str, torch.nn.Module]) -> dict[str, float]:
        return knn(
            backbones,
            self.manifest,
            self.train_ids,
            self.held_out,
            self.config.eval,
            device=self.device,
            world=self.world,
        )

    def _finish(self, quarantine: Quarantine) -> None:
        """Measures the result and writes summary.json, which marks the run as done."""
        if self.chief:
            self._tell(phase="kNN on held-out images")
        untrained = build_model(self.config).to(self.device)
        result = self._knn({"trained": Trunk(self.learner.model), "untrained": Trunk(untrained)})
        self._keep(self.end, result)
        if not self.chief:
            return
        from swav_ray.report.metrics_log import read_metrics

        records = read_metrics(self.run_dir)
        last = records[-self.plan.steps_per_epoch :]
        summary = {
            "steps": self.end,
            "epochs": self.config.train.epochs,
            "images": len(self.train_ids),
            "dropped_per_epoch": self.plan.dropped_per_epoch,
            "loss_first": records[0]["loss"],
            "loss_last_epoch": float(np.mean([record["loss"] for record in last])),
            "ln_k": float(np.mean(np.log(self.config.model.prototypes))),
            "images_per_second": float(np.median([record["images_per_second"] for record in records])),
            "data_wait": float(np.mean([record["data_wait"] for record in records])),
            "bad_images": len(quarantine.entries),
            "knn_top1": result,
        }
        (self.run_dir / SUMMARY).write_bytes(json.dumps(summary, indent=1).encode())
        self._tell(done=True)

    def _tell(self, **message: Any) -> None:
        self.monitor.tell.remote(message)


def _cpus_to_leave(config: Config, workers: int) -> float:
    """CPUs that crops must not take: the training workers' own, and all past `scaling.crop_cpus` if that is set."""
    own = config.scaling.cpus_per_worker * workers
    limit = config.scaling.crop_cpus
    return max(own, ray.cluster_resources().get("CPU", 0.0) - limit) if limit else own


class _StopFlag:
    """Whether the run was asked to stop, without ever waiting for the answer."""

    def __init__(self, monitor: Any) -> None:
        self._monitor = monitor
        self._pending: ray.ObjectRef | None = None
        self._asked = 0.0

    def __call__(self) -> bool:
        if self._pending is not None:
            ready, _ = ray.wait([self._pending], timeout=0)
            if not ready:
                return False
            answer = bool(ray.get(self._pending))
            self._pending = None
            return answer
        now = time.monotonic()
        if now - self._asked > _STOP_SECONDS:
            self._asked = now
            self._pending = self._monitor.stop_requested.remote()
        return False
