"""What every training worker runs: find the place in the run, train, save, measure. Rank 0 also writes and tells."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch

from swav_ray.config import Config
from swav_ray.data import manifest as manifests
from swav_ray.data.bad_images import TooManyBadImages
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.holdout import split
from swav_ray.data.manifest import Manifest
from swav_ray.data.quarantine import Quarantine
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.evaluate import label_free
from swav_ray.evaluate.probe import knn
from swav_ray.launch.crop_task import BatchFailed
from swav_ray.launch.feed import Feed, release_earlier_segments
from swav_ray.model.swav import Trunk
from swav_ray.run import measurements
from swav_ray.run.history import History, goodput, read_history
from swav_ray.run.layout import MANIFEST, SUMMARY
from swav_ray.run.metrics_log import MetricsLog, logged_steps, read_metrics
from swav_ray.storage.place import Place, persistently
from swav_ray.training import checkpoint
from swav_ray.training.distributed import World
from swav_ray.training.learner import Diverged, Learner, build_model
from swav_ray.training.loop import Hooks, Record, Wish, train

_TELL_SECONDS = 0.25  # between records to the terminal
_ASK_SECONDS = 1.0  # between questions to the monitor
_LOOK_SECONDS = 2.0  # between looks for a node that is to be taken away
_LAST_PATIENCE = 600.0  # seconds that a checkpoint may take which the run cannot go on without
_NOTICE_SECONDS = 120.0  # that Ray Train gives a node whose cloud names no time
_MARGIN_SECONDS = 4.0  # before a node goes, beyond the time that a checkpoint takes


class _NodeLeaves(RuntimeError):
    """The workers leave a node that is about to be taken away; Ray starts them elsewhere."""


def run(payload: dict[str, Any]) -> None:
    """The training function of Ray Train.

    Args:
        payload: `config`, `run_dir` (a Place) and `monitor` (a Monitor actor).
    """
    monitor = payload["monitor"]
    # Ray Train may start workers once more for a resize that it had decided when the last step was done.
    if ray.get(monitor.given_up.remote()) or (payload["run_dir"] / SUMMARY).exists():
        return
    try:
        _Worker(payload["config"], payload["run_dir"], monitor).run()
    except _NodeLeaves:
        raise
    except (Diverged, FloatingPointError, TooManyBadImages, BatchFailed, checkpoint.BadCheckpoint) as error:
        # Told before raising: another try would end the same way, so the next start of the workers returns at once.
        ray.get(monitor.give_up.remote(str(error)))
        raise
    except Exception as error:
        group = ray.util.get_current_placement_group()
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        ray.get(monitor.note_failure.remote(group.id.hex() if group is not None else "", why))
        raise


class _Worker:
    def __init__(self, config: Config, run_dir: Place, monitor: Any) -> None:
        self.config, self.run_dir, self.monitor = config, run_dir, monitor
        self.world = World.current()
        self.chief = self.world.rank == 0
        self.device = ray.train.torch.get_device()
        if self.device.type == "cpu":
            torch.set_num_threads(max(1, round(config.scaling.cpus_per_worker)))
        if config.train.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for
            torch.use_deterministic_algorithms(True)
        self.manifest: Manifest = manifests.load(run_dir / MANIFEST)
        self.train_ids, self.held_out = split(self.manifest, config.data)
        self.plan = SamplePlan(self.train_ids, config.run.seed, config.train.global_batch_size)
        self.learner = Learner(config, self.plan.steps_per_epoch, device=self.device, world=self.world)
        self.end = config.train.epochs * self.plan.steps_per_epoch
        self._control = _Control(monitor, self.chief)
        self._log: MetricsLog | None = None
        self._history: History | None = None
        self._writer: checkpoint.CheckpointWriter | None = None
        self._quarantine = Quarantine(run_dir, len(self.train_ids), config.data.max_bad_fraction, writes=self.chief)
        self._measured = measurements.Journal(run_dir)
        self._told = 0.0
        self._losses: list[float] = []

    def run(self) -> None:
        start = self._restore()
        if self._history is not None:
            self._open(start, self._history)
        reached, wish = start, Wish.NONE
        measured = []
        if self.chief:
            measured = persistently(lambda: measurements.keep_until(self.run_dir, start), self._warn)
        if self._measured_at(start) and start < self.end:
            # Killed after a checkpoint and before its measurement: made up for, so that no curve has a gap.
            missing = start not in [row["step"] for row in measured]
            if any(self.world.gather_objects(missing and self.chief)):
                self._evaluate(start)
        feed = self._feed(start) if start < self.end else None
        if feed is not None:
            hooks = Hooks(
                record=self._record,
                save=self._save,
                evaluate=self._evaluate,
                wish=self._control.wish,
                look=self._control.look,
                ready=feed.ready,
                usage=feed.usage if self.chief else dict,
                quarantine=self._quarantine,
            )
            reached, wish = train(self.learner, feed, hooks, start=start, end=self.end)
        if self._log is not None:
            self._log.close()
        if reached == self.end:
            self._finish()
        elif wish & Wish.STOP:
            if self._history is not None:
                self._history.stop(reached)
                self._last_word(stopped=reached)
        elif wish & Wish.PARK:
            self._park(reached)
        else:
            if self.chief:
                self._last_word(leaving=reached, nodes=self._control.nodes)
            self.world.gather_objects(reached)  # Ray ends all workers as soon as one leaves
            raise _NodeLeaves(f"leaving before step {reached}, with a checkpoint: a node is to be taken away")
        if feed is not None:
            # Not before: it may take seconds, which a node that goes does not have. Ray ends those that park or leave.
            feed.close()

    def _restore(self) -> int:
        """Loads the newest sound checkpoint, the same on every worker; the step to go on from."""
        found = None
        if self.chief:
            # Before looking for it: an earlier start that still lives may otherwise commit another one meanwhile.
            self._history = History(self.run_dir, warn=self._warn)
            found, problems = checkpoint.load_newest(self.run_dir, logged_steps(self.run_dir))
            for problem in problems:
                self._tell(warning=f"a checkpoint is of no use, going on from the one before: {problem}")
        step = self.world.gather_objects(found.step if found else 0)[0]
        if step and found is None:
            try:
                found = checkpoint.load(self.run_dir, step)
            except checkpoint.BadCheckpoint as error:
                # Sound a moment ago, on rank 0's node: a fault of this node or of the way to it, worth another try.
                raise RuntimeError(f"rank {self.world.rank} cannot read what rank 0 could: {error}") from error
        if found is not None:
            checkpoint.restore(self.learner, found)
            if self.chief:
                self._tell(resumed=step, workers=self.world.size)
        return step

    def _open(self, start: int, history: History) -> None:
        """Takes the files of the run; gives up where it has begun from here too often."""
        if reason := ray.get(self.monitor.begin.remote(start)):
            raise RuntimeError(reason)
        self._log = log = MetricsLog(self.run_dir, start, warn=self._warn)
        history.start(start, self.world.size, log.dropped)
        kept = self.config.checkpoint

        def before_commit() -> None:
            history.check()
            log.flush()
            self._quarantine.flush()
            self._measured.flush()

        self._writer = checkpoint.CheckpointWriter(
            self.run_dir,
            checkpoint.Retention(
                last=kept.keep_last,
                every_steps=kept.keep_every_epochs * self.plan.steps_per_epoch,
                best=kept.keep_best,
            ),
            before_commit,
            report=self._warn,
            last=start or None,
        )

    def _park(self, reached: int) -> None:
        """Waits to be replaced by another number of workers."""
        if self.chief:
            self._tell(resizing=reached)
            ray.get(self.monitor.note_parked.remote())
        time.sleep(_LAST_PATIENCE)
        raise RuntimeError("the number of workers was to change, and did not")

    def _feed(self, start: int) -> Feed:
        config, scaling = self.config, self.config.scaling
        multi_crop = MultiCrop(config.crops, config.augment, config.run.seed)
        if self.chief:
            release_earlier_segments(self.run_dir.uri)
        maker = BatchMaker(self.manifest, self.plan, multi_crop, config.data.max_bad_fraction)
        return Feed(
            maker,
            self.world,
            start,
            self.end,
            owner=self.run_dir.uri,
            cpus=scaling.crop_cpus,
            training_cpus=self.world.size * scaling.cpus_per_worker,
        )

    def _record(self, record: Record) -> None:
        if self._log is None:
            return
        self._log.append(record)
        if record["loss"] is not None:
            self._losses.append(record["loss"])
        now = time.monotonic()
        if now - self._told > _TELL_SECONDS or record["step"] + 1 == self.end or "refused" in record:
            self._told = now
            self._tell(record=record)

    def _save(self, step: int, knn_top1: float | None, wait: bool) -> None:
        if self._writer is not None:
            self._writer.submit(checkpoint.snapshot(self.learner, step, knn_top1))
            if wait and not self._writer.wait(_LAST_PATIENCE):
                raise RuntimeError(f"the checkpoint of step {step} could not be written for {_LAST_PATIENCE:.0f} s")
            self._control.save_seconds = self._writer.seconds
        if wait:
            # The others may leave after this, and Ray ends all workers as soon as one leaves.
            self.world.gather_objects(step)

    def _measured_at(self, step: int) -> bool:
        every = self.config.eval.knn_every_epochs * self.plan.steps_per_epoch
        return step > 0 and every > 0 and step % every == 0

    def _evaluate(self, step: int) -> float | None:
        result = self._knn({"trained": Trunk(self.learner.model)})
        self._keep(step, result)
        if not result:
            return None
        if self._log is not None:
            self._tell(knn={"step": step, "top1": result["trained"]})
            self._log.scalar("eval/knn_top1", result["trained"], step)
        return result["trained"]

    def _keep(self, step: int, knn: dict[str, float]) -> None:
        """A line of measurements.jsonl: kNN where there are labels, and the label-free figures if asked for.

        Written with the next checkpoint.
        """
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
        self._measured.add(row)
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

    def _finish(self) -> None:
        """Measures the result and writes summary.json, which marks the run as done."""
        if self.chief:
            self._tell(phase="kNN on held-out images")
        untrained = build_model(self.config).to(self.device)
        result = self._knn({"trained": Trunk(self.learner.model), "untrained": Trunk(untrained)})
        self._keep(self.end, result)
        if not self.chief:
            return
        records = read_metrics(self.run_dir)
        last = records[-self.plan.steps_per_epoch :]
        summary = {
            "steps": self.end,
            "epochs": self.config.train.epochs,
            "images": len(self.train_ids),
            "dropped_per_epoch": self.plan.dropped_per_epoch,
            "loss_first": records[0]["loss"],
            "loss_last_epoch": float(np.mean([record["loss"] for record in last if record["loss"] is not None])),
            "ln_k": float(np.mean(np.log(self.config.model.prototypes))),
            "images_per_second": float(np.median([record["images_per_second"] for record in records])),
            "data_wait": float(np.mean([record["data_wait"] for record in records])),
            "bad_images": len(self._quarantine.entries),
            "refused_steps": self.learner.refused_steps,
            "seconds": goodput(records, read_history(self.run_dir)),
            "knn_top1": result,
        }
        assert self._history is not None
        self._history.check()
        persistently(self._measured.flush, self._warn)
        text = json.dumps(summary, indent=1)
        persistently(lambda: (self.run_dir / SUMMARY).write_bytes(text.encode()), self._warn)
        self._last_word(done=True)

    def _warn(self, text: str) -> None:
        self._tell(warning=text)

    def _tell(self, **message: Any) -> None:
        self.monitor.tell.remote(message)

    def _last_word(self, **message: Any) -> None:
        """Tells, and waits until it has arrived: what this process has not yet sent when it ends is lost."""
        ray.get([self.monitor.tell.remote(message), self.monitor.note_parked.remote()])


class _Control:
    """What rank 0 would have all workers do, learned from the monitor and from Ray without ever waiting for either."""

    def __init__(self, monitor: Any, chief: bool) -> None:
        self._monitor, self._chief = monitor, chief
        self._pending: ray.ObjectRef | None = None
        self._asked = self._looked = time.monotonic()
        self._save_now = False
        self._leave_at: float | None = None
        self.save_seconds = 0.0
        self.nodes: list[str] = []

    def wish(self) -> Wish:
        """Asked each step; only rank 0 wishes."""
        if not self._chief:
            return Wish.NONE
        wish = {"stop": Wish.STOP, "park": Wish.PARK, "": Wish.NONE}[self._ask()]
        now = time.monotonic()
        if now - self._looked > _LOOK_SECONDS:
            self._looked = now
            wish |= Wish.LOOK
        if self._save_now:
            self._save_now = False
            wish |= Wish.SAVE
        if self._leave_at is not None and time.time() > self._leave_at - _MARGIN_SECONDS - 2 * self.save_seconds:
            wish |= Wish.QUIT
        return wish

    def _ask(self) -> str:
        if self._pending is not None:
            ready, _ = ray.wait([self._pending], timeout=0)
            if not ready:
                return ""
            answer: str = ray.get(self._pending)
            self._pending = None
            return answer
        now = time.monotonic()
        if now - self._asked > _ASK_SECONDS:
            self._asked = now
            self._pending = self._monitor.wish.remote()
        return ""

    def look(self) -> None:
        """Whether a node of ours is to be taken away; a collective of Ray Train's, with one answer for all."""
        found = ray.train.get_preemption_info()
        if self._chief and found is not None and set(found.preempted_node_ids) - set(self.nodes):
            self.nodes = found.preempted_node_ids
            self._save_now = True
            leave_at = found.deadline_ms / 1000 if found.deadline_ms else time.time() + _NOTICE_SECONDS
            self._leave_at = min(leave_at, self._leave_at or leave_at)
            self._monitor.tell.remote({"notice": self.nodes, "seconds": self._leave_at - time.time()})
