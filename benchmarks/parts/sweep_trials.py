"""Trials of a sweep, trained one after the other in this process, without Ray.

They have the crops, the steps and the measurements of a sweep's trials, and leave the same files behind.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import yaml

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.data import manifest as manifests
from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.holdout import split
from swav_ray.data.manifest import Manifest
from swav_ray.data.quarantine import Quarantine
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.evaluate import label_free
from swav_ray.evaluate.in_training.probe import knn
from swav_ray.health.measured import collapsed
from swav_ray.health.settled import grace_steps, uniform_loss
from swav_ray.launch.dataset import images_of
from swav_ray.launch.sweep.choice import default_grace
from swav_ray.launch.sweep.space import Space, Values, check, config_of, describe, draw
from swav_ray.launch.sweep.trial import TrialCollapsed
from swav_ray.model.swav import Trunk
from swav_ray.run import measurements
from swav_ray.run.layout import CONFIG, SWEEP, TRIAL, TRIALS
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import Place
from swav_ray.training.control import Request
from swav_ray.training.distributed import World
from swav_ray.training.learner import Diverged, Learner
from swav_ray.training.loop import Hooks, train


def train_trials(sweep_dir: Place, manifest_cache: Place, base: Config, space: Space, count: int) -> None:
    """Trains those of `count` random points of a space that the sweep's directory does not hold yet."""
    manifest = manifests.load_or_build(images_of(base), manifest_cache)
    train_ids, _ = split(manifest, base.data)

    def accept(values: Values) -> Config:
        return check(config_of(base, values), len(train_ids), base)

    points = draw(space, accept, count, seed=0)
    search = {"objective": ["knn"], "searcher": "random", "scheduler": "none", "num_samples": count}
    search |= {"grace_epochs": default_grace(base.train.epochs), "seed": 0, "space": describe(space)}
    document = {"search": search, "seconds": 0.0}
    (sweep_dir / SWEEP).write_bytes(yaml.safe_dump(document, sort_keys=False).encode())
    for number, values in enumerate(points.values):
        run_dir = sweep_dir / TRIALS / f"t_{number:03d}"
        if not (run_dir / TRIAL).exists():
            print(_train_one(run_dir, config_of(base, values), values, manifest), file=sys.stderr)


def _train_one(run_dir: Place, config: Config, values: Values, manifest: Manifest) -> str:
    """Trains one trial; trial.json, which says that it is done, is written last. A line about how it went."""
    began = time.monotonic()
    trial = _Trial(run_dir, config, manifest)
    state, reason = trial.train()
    (run_dir / CONFIG).write_bytes(settings.to_yaml(config).encode())
    about = {"trial": run_dir.name, "generation": 0, "values": values, "origin": None, "reason": reason}
    about |= {"state": state, "seconds": time.monotonic() - began, "crop_seconds": trial.crop_seconds}
    (run_dir / TRIAL).write_bytes(json.dumps(about, indent=1).encode())
    rows = measurements.read(run_dir)
    figure = f"kNN {rows[-1]['knn_top1']:.1f}" if rows else "not measured"
    return f"{run_dir.name}: {values}: {figure}, {state} {reason}"


class _Trial:
    """One training, measured every epoch.

    Attributes:
        crop_seconds: time that went into decode and crops.
    """

    def __init__(self, run_dir: Place, config: Config, manifest: Manifest) -> None:
        self._run_dir, self._config, self._manifest = run_dir, config, manifest
        self._train_ids, self._held_out = split(manifest, config.data)
        self._plan = SamplePlan(self._train_ids, config.run.seed, config.train.global_batch_size)
        self._learner = Learner(config, self._plan.steps_per_epoch)
        self._end = config.train.epochs * self._plan.steps_per_epoch
        self._losses: list[float] = []
        self.crop_seconds = 0.0

    def train(self) -> tuple[str, str]:
        """How the trial ended, as trial.json has it, and why."""
        measurements.keep_until(self._run_dir, 0)
        hooks = Hooks(
            record=self._record,
            save=lambda *_: None,
            evaluate=self._measure,
            measures_checkpoints=lambda: False,
            request=lambda: Request.NONE,
            poll=lambda: None,
            ready=lambda _: True,
            usage=dict,
            quarantine=Quarantine(self._run_dir, len(self._train_ids), 0.0, writes=True),
        )
        try:
            train(self._learner, self._feed(), hooks, start=0, end=self._end)
            self._measure(self._end)
        except TrialCollapsed as error:
            return "collapsed", str(error)
        except (Diverged, FloatingPointError) as error:
            return "failed", str(error)
        return "finished", ""

    def _feed(self) -> Iterator[Batch]:
        crops = MultiCrop(self._config.crops, self._config.augment, self._config.run.seed)
        maker = BatchMaker(self._manifest, self._plan, crops)
        for step, ids in enumerate(self._plan.batches(0, self._end)):
            started = time.monotonic()
            batch = maker.make(step, ids)
            self.crop_seconds += time.monotonic() - started
            yield batch

    def _record(self, step: StepRecord) -> None:
        if step.loss is not None:  # None: the step was refused
            self._losses.append(step.loss)

    def _measure(self, step: int) -> float:
        cpu, plan, config = torch.device("cpu"), self._plan, self._config
        trunk, ids = {"trained": Trunk(self._learner.model)}, (self._train_ids, self._held_out)
        top1 = knn(trunk, self._manifest, *ids, config.eval, device=cpu, world=World()).top1["trained"]
        row: dict[str, Any] = {"step": step, "epochs": step / plan.steps_per_epoch}
        row |= {"samples_seen": step * plan.global_batch_size}
        row |= {"loss": float(np.mean(self._losses)) if self._losses else None, "knn_top1": top1}
        self._losses.clear()
        row |= label_free.measure(self._learner.model, self._manifest, self._train_ids, config.eval, device=cpu)
        measurements.append(self._run_dir, row)
        grace = grace_steps(config.optim, plan.steps_per_epoch)
        if why := collapsed(measurements.read(self._run_dir), uniform_loss(config.model), grace):
            raise TrialCollapsed(why)
        return top1
