"""One worker of an evaluation that trains, from restore to finish. Rank 0 also writes files and reports.

Saves as pretraining does: on request, when a node is preempted, before a resize, and every minute. Knows no Ray and
nothing of what is trained.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from swav_ray.config import CheckpointConfig
from swav_ray.data.quarantine import Quarantine
from swav_ray.data.sample_plan import digest
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.fit.task import MOMENTUM, Fit, FitFeed, State, Task
from swav_ray.run import messages
from swav_ray.run.about import About
from swav_ray.run.fit_record import FitRecord
from swav_ray.run.layout import SUMMARY
from swav_ray.storage.place import Place
from swav_ray.training import checkpoint
from swav_ray.training.control import Request, Requests, Totals, totals
from swav_ray.training.coordinator import Coordinator, failures_reported, leave
from swav_ray.training.distributed import World
from swav_ray.training.run_files import RunFiles, on_all_workers

_REPORT_SECONDS = 0.25  # between records that are reported
_READY_SECONDS = 0.5  # between questions to the other workers while batches are late


@dataclass(frozen=True)
class Saves:
    """When a checkpoint is written beside those that are requested: every so many seconds, or steps; 0: not so."""

    seconds: float = 60.0
    steps: int = 0


def run(
    fit: Fit,
    folder: Place,
    coordinator: Coordinator,
    saves: Saves,
    *,
    cpus: float = 1.0,
    world: World | None = None,
) -> None:
    """Trains as one worker of an evaluation until its end, or until the workers are asked to stop, resize or leave.

    Args:
        folder: the evaluation's directory.
        cpus: that torch may use, without a GPU.
        world: the workers; None: the default process group.

    Raises:
        NodeLeaves: a node is preempted. Any error that ends the worker, after the coordinator has heard of it.
    """
    # Workers may be started once more for a resize that was decided when the last step was done.
    if coordinator.given_up() or (folder / SUMMARY).exists():
        return
    with failures_reported(coordinator, EvaluationError):
        _Worker(fit, folder, coordinator, saves, cpus, world or World.current()).run()


class _Worker:
    def __init__(
        self, fit: Fit, folder: Place, coordinator: Coordinator, saves: Saves, cpus: float, world: World
    ) -> None:
        self._folder, self._coordinator, self._saves, self._world = folder, coordinator, saves, world
        self._chief = world.rank == 0
        self._device = coordinator.device
        _set_up_torch(self._device, cpus)
        self._task: Task = fit.task(self._device, world)
        self._requests = Requests(coordinator.request, coordinator.preemption, self._report_preemption)
        task = self._task
        self._quarantine = Quarantine(folder, task.images, task.max_bad_fraction, writes=self._chief)
        self._files: RunFiles | None = None  # of rank 0
        self._late = True
        self._reported = self._saved = self._began = time.monotonic()

    def run(self) -> None:
        start = self._restore()
        task = self._task
        if start and start % task.steps_per_epoch == 0 and self._unjudged(start):
            self._judge(start)  # a kill or a request came between its last step and its judgement
        reached, request = start, Request.NONE
        if start < task.steps:
            feed = task.feed(self._coordinator, self._world, start, task.steps)
            reached, request = self._train(feed, start)
            if reached == task.steps:
                self._finish()
            else:
                self._leave(reached, request)
            # Not before: it may take seconds, which a preempted node does not have.
            feed.close()
        else:
            self._finish()

    def _restore(self) -> int:
        """Loads the newest sound checkpoint, the same on every worker; the step to resume from."""
        found = None
        if self._chief:
            self._files = RunFiles(self._folder, self._quarantine, self._warn)
            found = self._files.newest()
        found = on_all_workers(found, self._folder, self._world)
        start = found.step if found else 0
        if found is not None:
            self._task.load_state(State({**found.model, **found.training}, found.meta["progress"]))
        if self._files is not None:
            if found is not None:
                self._coordinator.report(messages.Resumed(start, self._world.size))
            if reason := self._coordinator.begin(start):
                raise RuntimeError(reason)
            self._files.open(start, self._world.size, CheckpointConfig(), self._task.steps_per_epoch)
        return start

    def _train(self, feed: FitFeed, start: int) -> tuple[int, Request]:
        """Trains from step `start`; the step that comes next, and the request that ended it before the last one."""
        steps = self._task.steps
        self._began = time.monotonic()
        for step in range(start, steps):
            if (request := self._wait(feed, step)).ends:
                return step, request
            batch = next(feed)
            if batch.step != step:
                raise RuntimeError(f"the batch of step {batch.step} came when step {step} was due")
            waited = time.monotonic() - self._began
            figures = self._task.step(step, batch)
            total = self._agree(feed, batch)
            self._record(step, figures, total, waited)
            self._after(step + 1, total.request)
            if total.request.ends and step + 1 < steps:
                return step + 1, total.request
        return steps, Request.NONE

    def _wait(self, feed: FitFeed, step: int) -> Request:
        """Waits until every worker has its next batch; the request that ends the workers meanwhile, if any."""
        while self._late:
            there = feed.ready(_READY_SECONDS)
            if not there:
                self._waiting_for("images")
            total = totals(self._world, self._device, [int(not there)], self._next_request())
            if total.request & Request.POLL:
                self._requests.poll()
            if total.request.ends or total.request & Request.SAVE:
                self._save(step, wait=True)
            if total.request.ends:
                return total.request
            self._late = total.sums[0] > 0
        return Request.NONE

    def _agree(self, feed: FitFeed, batch: Any) -> Totals:
        """Sums over all workers: images, digest, unreadable ones; and what any of them asks of all."""
        own = [len(batch.sample_ids), int(not feed.ready(0.0)), len(batch.bad), _signed(digest(batch.sample_ids))]
        total = totals(self._world, self._device, own, self._next_request())
        self._late = total.sums[1] > 0
        if total.sums[2]:
            everyone = self._world.gather_objects(list(batch.bad))
            self._quarantine.add([entry for part in everyone for entry in part])
        return total

    def _record(self, step: int, figures: Mapping[str, float], total: Totals, waited: float) -> None:
        now = time.monotonic()
        seconds, self._began = now - self._began, now
        if self._files is None:
            return
        record = FitRecord(
            step=step,
            steps=self._task.steps,
            epoch=step // self._task.steps_per_epoch,
            figures=dict(figures),
            images_per_second=total.sums[0] / seconds,
            data_wait=min(waited / seconds, 1.0),
            bad_images=len(self._quarantine.entries),
            workers=self._world.size,
            ids=f"{total.sums[3] % 2**64:016x}",
            time=round(time.time(), 3),
            seconds=round(seconds, 6),
        )
        self._files.append(record)
        if now - self._reported > _REPORT_SECONDS or step + 1 == self._task.steps:
            self._reported = now
            self._coordinator.report(record)

    def _after(self, done: int, request: Request) -> None:
        """What is due after `done` steps: a poll, a judgement, a checkpoint."""
        if request & Request.POLL:
            self._requests.poll()
        last = done == self._task.steps
        if last or request.ends or request & Request.SAVE:
            self._save(done, wait=True)
        # One that ends before its last step is judged when it resumes: a preempted node has no time for it.
        if done % self._task.steps_per_epoch == 0 and (last or not request.ends):
            self._judge(done)
        if not last and self._due(done):
            self._save(done, wait=False)
        self._began = time.monotonic()

    def _due(self, done: int) -> bool:
        every = self._saves
        by_steps = every.steps > 0 and done % every.steps == 0
        return by_steps or (every.seconds > 0 and time.monotonic() - self._saved > every.seconds)

    def _save(self, done: int, *, wait: bool) -> None:
        if self._files is not None:
            if wait:
                self._waiting_for(f"the checkpoint before step {done}")
            self._saved = time.monotonic()
            self._requests.save_seconds = self._files.save(_snapshot(self._task.state(), done), wait=wait)
        if wait:
            # The others may leave after this, and all workers are ended as soon as one leaves.
            self._world.gather_objects(done)

    def _unjudged(self, step: int) -> bool:
        missing = self._files is not None and step not in self._files.measured
        return any(self._world.gather_objects(missing))

    def _judge(self, done: int) -> None:
        epochs = done // self._task.steps_per_epoch
        self._waiting_for(f"the figures of epoch {epochs}")
        found = self._task.judge(epochs)
        if self._files is None or not found:
            return
        self._files.measure({"step": done, "epoch": epochs, "loss": self._files.mean_loss(done), **found})
        numbers = {name: value for name, value in found.items() if isinstance(value, int | float)}
        self._coordinator.report(messages.Judged(epochs, numbers))
        for name, value in numbers.items():
            self._files.scalar(f"eval/{name}", value, done)

    def _leave(self, reached: int, request: Request) -> None:
        """Ends before the last step, as requested; the state is saved."""
        if self._files is not None:
            self._files.close_log()
            if request & Request.STOP:
                self._files.stop(reached)
        leave(self._coordinator, self._world, reached, request)

    def _finish(self) -> None:
        """Writes summary.json, which marks the training as finished."""
        if self._files is not None:
            self._files.close_log()
            self._waiting_for("the last figures")
        found = self._task.finish()
        if self._files is not None:
            self._files.finish(lambda: found)
            self._coordinator.saved()

    def _next_request(self) -> Request:
        return self._requests.next() if self._chief else Request.NONE

    def _report_preemption(self, nodes: tuple[str, ...], seconds: float) -> None:
        if self._chief:
            self._coordinator.report(messages.Preempted(nodes, seconds))

    def _waiting_for(self, what: str) -> None:
        if self._chief:
            self._coordinator.report(messages.Waiting(what))

    def _warn(self, text: str) -> None:
        self._coordinator.report(messages.Warned(text))


def _snapshot(state: State, step: int) -> checkpoint.Snapshot:
    meta = {"schema": checkpoint.SCHEMA, "step": step, "samples_seen": 0, "progress": dict(state.progress)}
    tensors = checkpoint.copied(state.tensors)
    model = {name: tensor for name, tensor in tensors.items() if not name.startswith(MOMENTUM)}
    training = {name: tensor for name, tensor in tensors.items() if name not in model}
    return checkpoint.Snapshot(step, model, training, meta, About(step=step))


def _signed(digits: str) -> int:
    """A digest as int64, whose sums wrap as the digest's do."""
    own = int(digits, 16)
    return own - 2**64 if own >= 2**63 else own


def _set_up_torch(device: torch.device, cpus: float) -> None:
    if device.type == "cpu":
        torch.set_num_threads(max(1, round(cpus)))
    else:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for
    # Some of a detector's kernels exist in no form that repeats; those that do are taken.
    torch.use_deterministic_algorithms(True, warn_only=True)
