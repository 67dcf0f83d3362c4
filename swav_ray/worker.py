"""One worker of a run, from restore to finish: resume, train, save, measure. Rank 0 also writes files and reports.

Knows no Ray. What it needs of whoever started it is training/coordinator.py; launch/worker.py implements that over Ray.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from torch import Tensor

from swav_ray.config import Config
from swav_ray.data import manifest as manifests
from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.holdout import split_ids, twins
from swav_ray.data.quarantine import Quarantine
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.evaluate.in_training.measurer import Measurer
from swav_ray.evaluate.in_training.probe import Knn
from swav_ray.health.guard import Collapsed, Guard
from swav_ray.measuring.beside import Start
from swav_ray.measuring.in_run import MeasuredRun
from swav_ray.model.swav import SwAVModel
from swav_ray.run import messages
from swav_ray.run.layout import MANIFEST, SUMMARY
from swav_ray.run.step_record import StepRecord
from swav_ray.run.summary import summarize
from swav_ray.storage.node_cache import NodeCache
from swav_ray.storage.place import Place, persistently
from swav_ray.training import checkpoint
from swav_ray.training.control import Request, Requests
from swav_ray.training.coordinator import Coordinator, Feed, failures_reported, leave
from swav_ray.training.decode_share import DecodeShare
from swav_ray.training.description import about_of, describe
from swav_ray.training.distributed import World
from swav_ray.training.event_pictures import EventPictures
from swav_ray.training.learner import Diverged, Learner, StepResult, build_model
from swav_ray.training.loop import Hooks, train
from swav_ray.training.run_files import RunFiles, on_all_workers
from swav_ray.training.torch_setup import set_up_torch
from swav_ray.weights import initial

_REPORT_SECONDS = 0.25  # between records that are reported


class PretrainingCoordinator(Coordinator, Protocol):
    """What a worker that pretrains needs more."""

    def beside_training(self, workers: int) -> Start | None:
        """Starts measurements that training does not wait for; None if so many workers leave no room. Of rank 0."""


def run(config: Config, run_dir: Place, coordinator: PretrainingCoordinator) -> None:
    """Trains as one worker of a run until its end, or until the workers are asked to stop, to resize or to leave.

    Raises:
        NodeLeaves: a node is preempted. Any error that ends the worker, after the coordinator has heard of it.
    """
    # Workers may be started once more for a resize that was decided when the last step was done.
    if coordinator.given_up() or (run_dir / SUMMARY).exists():
        return
    with failures_reported(coordinator, Diverged, Collapsed):
        _Worker(config, run_dir, coordinator).run()


class _Worker:
    def __init__(self, config: Config, run_dir: Place, coordinator: PretrainingCoordinator) -> None:
        self._run_dir, self._coordinator = run_dir, coordinator
        self._world = World.current()
        self._chief = self._world.rank == 0
        self._guard = Guard(config, run_dir, self._world, coordinator)
        self._config = config = self._guard.config
        set_up_torch(config, coordinator.device)
        self._manifest = manifests.load(run_dir / MANIFEST)
        train_ids, self._held_out = split_ids(self._manifest, config.data)
        self._plan = SamplePlan.of(config, train_ids)
        self._end = config.train.epochs * self._plan.steps_per_epoch
        self._learner = Learner(config, self._plan.steps_per_epoch, device=coordinator.device, world=self._world)
        data = self._manifest, train_ids, self._held_out
        self._measurer = Measurer(config, *data, device=coordinator.device, world=self._world)
        self._requests = Requests(coordinator.request, coordinator.preemption, self._report_preemption)
        self._changed_images = 0  # written since they were listed, each time that one is read
        self._quarantine = Quarantine(run_dir, len(train_ids), config.data.max_bad_fraction, writes=self._chief)
        self._files: RunFiles | None = None  # of rank 0
        init = initial.record(run_dir) if config.train.init_from else {}
        self._about = about_of(config, self._learner.model, self._manifest.decoding, init)
        self._pictures: EventPictures | None = None  # of rank 0
        self._reported = 0.0
        self._decode_share = DecodeShare(config.crops, self._manifest.root)

    def run(self) -> None:
        start = self._restore()
        if self._files is not None:
            self._open(self._files, start)
        self._measured = self._measure()
        self._measured.make_up(start)
        if start < self._end:
            self._train(start)
        else:
            self._finish()

    def _restore(self) -> int:
        """Loads the newest sound checkpoint, the same on every worker; the step to resume from."""
        found = None
        if self._chief:
            self._files = RunFiles(self._run_dir, self._quarantine, self._warn)
            if self._guard.back_to is not None:
                self._files.go_back(self._guard.back_to)
            found = self._files.newest()
        found = on_all_workers(found, self._run_dir, self._world)
        if found is None:
            if self._config.train.init_from:
                initial.restore(self._learner.model, self._run_dir)
            return 0
        checkpoint.restore(self._learner, found)
        if self._chief:
            self._coordinator.report(messages.Resumed(found.step, self._world.size))
        return found.step

    def _open(self, files: RunFiles, start: int) -> None:
        """Opens the run's files at `start`, unless workers have started there too often."""
        if reason := self._coordinator.begin(start):
            raise RuntimeError(reason)
        persistently(lambda: describe(self._run_dir, self._about, self._manifest, self._held_out), self._warn)
        steps = self._plan.steps_per_epoch
        every = self._config.eval.knn_every_epochs * steps
        held = self._guard.held()
        files.open(start, self._world.size, self._config.checkpoint, steps, every, health=True, held=held)
        self._guard.watch(self._learner, files)
        self._pictures = EventPictures(self._learner, files.draw)

    def _measure(self) -> MeasuredRun:
        beside = self._chief and self._config.eval.knn_every_epochs > 0 and self._measurer.has_work()
        return MeasuredRun(
            self._config,
            self._run_dir,
            self._measurer,
            self._learner,
            quarantine=self._quarantine,
            files=self._files,
            start=self._coordinator.beside_training(self._world.size) if beside else None,
            report=self._coordinator.report,
        )

    def _train(self, start: int) -> None:
        multi_crop = MultiCrop(self._config.crops, self._config.augment, self._config.run.seed)
        scaling = self._config.scaling
        cache = NodeCache(scaling.cache_dir, scaling.cache_bytes) if scaling.cache_dir else None
        bad = self._config.data.max_bad_fraction
        maker = BatchMaker(self._manifest, self._plan, multi_crop, bad, cache=cache)
        feed = self._coordinator.feed(maker, self._world, start, self._end)
        hooks = Hooks(
            record=self._record,
            save=self._save,
            evaluate=self._measured.due,
            measures_checkpoints=self._measured.is_beside,
            request=self._request if self._chief else lambda: Request.NONE,
            poll=self._requests.poll,
            ready=lambda seconds: self._ready(feed, seconds),
            usage=feed.usage if self._chief else dict,
            quarantine=self._quarantine,
            observe=self._observe,
            refused=self._refused,
            changed=self._changed,
        )
        watched = self._decode_share.watched(feed)
        try:
            reached, request = train(self._learner, watched, hooks, start=start, end=self._end)
        except Diverged as error:
            self._guard.diverged(str(error), self._plan.steps_per_epoch)
            raise
        if reached == self._end:
            self._finish()
        else:
            self._leave(reached, request)
        # Not before: it may take seconds, which a preempted node does not have. Those that resize or leave are ended.
        feed.close()

    def _request(self) -> Request:
        return self._requests.next() | self._guard.request()

    def _refused(self, batch: Batch, result: StepResult) -> None:
        if self._learner.refused_steps == 1:  # of the whole run: a checkpoint has the count
            self._guard.keep_refused(self._learner, batch, result)

    def _observe(self, step: int, result: StepResult, crops: list[Tensor]) -> None:
        self._guard.observe(step, result, crops)
        if self._pictures is not None:
            self._pictures.observe(step, result, crops)

    def _changed(self, images: int) -> None:
        if not self._changed_images and self._chief:
            self._warn(
                f"{images} images of a step were written to S3 after the list of images was made; the run trains on "
                "what is there now, and does not cache it. A new run lists the place again (--data.recheck true)"
            )
        self._changed_images += images

    def _ready(self, feed: Feed, seconds: float) -> bool:
        there = feed.ready(seconds)
        if seconds and not there:
            self._waiting_for("crops")
        return there

    def _record(self, record: StepRecord) -> None:
        if self._files is None:
            return
        self._files.append(record)
        self._measured.poll()
        if advice := self._decode_share.advice(record.seconds, record.data_wait):
            self._warn(advice)
        if newest := self._quarantine.newest():
            self._coordinator.report(newest)
        now = time.monotonic()
        if now - self._reported > _REPORT_SECONDS or record.step + 1 == self._end or record.refused:
            self._reported = now
            self._coordinator.report(record)

    def _save(self, step: int, knn_top1: float | None, wait: bool) -> None:
        if self._files is not None:
            if wait:
                self._waiting_for(f"the checkpoint before step {step}")
            state = checkpoint.snapshot(self._learner, step, knn_top1, self._about)
            self._guard.saving(step)
            self._requests.save_seconds = self._files.save(state, wait=wait)
        if wait:
            # The others may leave after this, and all workers are ended as soon as one leaves.
            self._world.gather_objects(step)

    def _leave(self, reached: int, request: Request) -> None:
        """Ends before the last step, as requested; the state is saved."""
        self._measured.leave()
        if self._files is not None:
            self._files.close_log()
            if request & Request.STOP:
                self._files.stop(reached)
        self._guard.leave(reached, request, self._plan.steps_per_epoch)
        leave(self._coordinator, self._world, reached, request)

    def _finish(self) -> None:
        """Measures the result and writes summary.json, which marks the run as finished."""
        if self._files is not None:
            self._coordinator.report(messages.Finishing())
            if self._changed_images:
                self._warn(f"images that were written after they were listed were read {self._changed_images:,} times")
        found = self._measured.finish(init=self._initial())
        if self._files is not None:
            if self._pictures is not None:
                self._pictures.finish(self._end)
            self._files.close_log()
            self._files.finish(lambda: self._summary(found))
            self._coordinator.saved()

    def _initial(self) -> SwAVModel | None:
        """The network that the run started with, if not with random weights."""
        if not self._about.init:
            return None
        model = build_model(self._config)
        initial.restore(model, self._run_dir)
        return model

    def _summary(self, knn: Knn) -> dict[str, Any]:
        others = [top1 for name, top1 in knn.top1.items() if name.startswith("untrained_")]
        knn_top1 = {name: top1 for name, top1 in knn.top1.items() if not name.startswith("untrained_")}
        verdict = self._guard.verdict(knn_top1, queries=knn.classified, others=others, steps=self._end)
        return summarize(
            self._run_dir,
            epochs=self._config.train.epochs,
            steps_per_epoch=self._plan.steps_per_epoch,
            images=len(self._plan.ids),
            dropped_per_epoch=self._plan.dropped_per_epoch,
            prototypes=self._config.model.prototypes,
            bad_images=len(self._quarantine.entries),
            refused_steps=self._learner.refused_steps,
            knn_top1=knn_top1,
            knn_queries=knn.classified,
            knn_untrained=others,
            why_no_knn=knn.why_none(),
            held_out_images=knn.queries,
            held_out_unreadable=len(knn.unreadable),
            held_out_twins=knn.twins + twins(self._manifest, self._config.data),
            verdict=verdict,
        )

    def _report_preemption(self, nodes: tuple[str, ...], seconds: float) -> None:
        if self._chief:
            self._coordinator.report(messages.Preempted(nodes, seconds))

    def _waiting_for(self, what: str) -> None:
        if self._files is not None:
            self._coordinator.report(messages.Waiting(what))

    def _warn(self, text: str) -> None:
        self._coordinator.report(messages.Warned(text))
