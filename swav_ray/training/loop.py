"""The loop over steps: load, step, record, save. One path for a start, a resumption and a resize.

Knows nothing of the source of batches or of the files that records go to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from swav_ray.data.batch import Batch
from swav_ray.data.quarantine import Quarantine
from swav_ray.run.step_record import StepRecord
from swav_ray.training.control import Request, Tally, agree, tally
from swav_ray.training.device_batches import DeviceBatches, SentBatch, to_device
from swav_ray.training.learner import Diverged, Learner, StepResult

_READY_SECONDS = 0.5  # between questions to the other workers while batches are late
_REMEDY = "A lower optim.base_lr or a longer warm-up usually helps"


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the loop needs of the world outside; every function is called on every worker at the same time.

    Attributes:
        record: is given each step's figures.
        save: writes the state before a step, with a kNN accuracy if there is one; `wait`: until it is durable.
        evaluate: measures the state before a step, or has it measured; the kNN accuracy in percent if it is known.
        measures_checkpoints: whether what `evaluate` has measured is the checkpoint, which must then be saved.
        request: what this worker asks of all; the requests of all workers are united.
        poll: carries out Request.POLL: asks whether a node is preempted, which `request` knows from then on.
        ready: waits so many seconds for this worker's next batch; whether it is there.
        usage: figures of the cluster that go into each record.
        quarantine: takes the unreadable images.
        observe: is given a step, its result and its crops, normalised, one tensor a resolution.
        refused: is given a batch that was refused, the first time; the state is still that before it.
        changed: is given how many images of a step were written after the list of images was made, if any.
    """

    record: Callable[[StepRecord], None]
    save: Callable[[int, float | None, bool], None]
    evaluate: Callable[[int], float | None]
    measures_checkpoints: Callable[[], bool]
    request: Callable[[], Request]
    poll: Callable[[], None]
    ready: Callable[[float], bool]
    usage: Callable[[], Mapping[str, float]]
    quarantine: Quarantine
    observe: Callable[[int, StepResult, list[Tensor]], None] = lambda *_: None
    refused: Callable[[Batch, StepResult], None] = lambda *_: None
    changed: Callable[[int], None] = lambda _: None


def train(learner: Learner, feed: Iterator[Batch], hooks: Hooks, *, start: int, end: int) -> tuple[int, Request]:
    """Trains from step `start` up to `end` (excluded); on every worker at once.

    Args:
        feed: this worker's batches, in order, from `start`.

    Returns:
        The step that comes next, `end` or less, and the request that ended it.

    Raises:
        Diverged: more than `train.max_refused_steps` steps were refused, and the last good state is saved; or the
            state that was due to be saved is not one that can be trained on.
    """
    loop = _Loop(learner, feed, hooks, start, end)
    for step in range(start, end):
        if (request := loop.wait(step)).ends:
            return step, request
        sent, waited = loop.load(step)
        result, batch = loop.step(sent, step), sent.batch
        total = loop.agree(batch, waited)
        loop.record(step, batch, result, total)
        loop.save(step + 1, result, total.request)
        if total.request.ends and step + 1 < end:
            return step + 1, total.request
    return end, Request.NONE


class _Loop:
    """The parts of a step. Every time in a record is that since the part before it."""

    def __init__(self, learner: Learner, feed: Iterator[Batch], hooks: Hooks, start: int, end: int) -> None:
        self._learner, self._hooks, self._end = learner, hooks, end
        self._world, self._device, self._config = learner.world, learner.device, learner.config
        self._batches = DeviceBatches(feed, hooks.ready, self._config, self._device, count=end - start)
        if self._device.type == "cuda":  # a CPU would gain nothing, and hold one batch more
            learner.meanwhile = self._batches.send_next
        self._untried: tuple[Batch, int] | None = None  # what made the present state, until that was tried
        self._late = True
        self._saving = self._evaluating = 0.0  # seconds, after the last step
        self._began = time.perf_counter()

    def wait(self, step: int) -> Request:
        """Waits until every worker has its next batch; the request that ends the workers meanwhile, if any.

        Batches are late if storage is unavailable, or if a preempted node has the only CPUs for crops. Workers that
        wait for them must not miss that notice, a person's request, or the time to leave. To agree costs a collective,
        so they do only while some worker waits.
        """
        while self._late:
            ready = self._batches.ready(_READY_SECONDS)
            ready, request = agree(self._world, self._device, ready, self._hooks.request())
            if request & Request.POLL:
                self._hooks.poll()
            if request.ends or request & Request.SAVE:
                self._save(step, None, wait=True)
            if request.ends:
                return request
            self._late = not ready
        return Request.NONE

    def load(self, step: int) -> tuple[SentBatch, float]:
        """This worker's batch of the step, and the seconds that it was waited for."""
        sent = self._batches.next()
        if sent.batch.step != step:
            raise RuntimeError(f"the batch of step {sent.batch.step} came when step {step} was due")
        return sent, time.perf_counter() - self._began

    def step(self, sent: SentBatch, step: int) -> StepResult:
        crops = sent.crops(self._config)
        result = self._learner.step(crops, step)
        if result.refused:
            self._hooks.refused(sent.batch, result)
        else:
            self._untried = sent.batch, step
        self._hooks.observe(step, result, crops)
        return result

    def agree(self, batch: Batch, waited: float) -> Tally:
        """Sums the step over all workers."""
        total = tally(self._world, self._device, batch, waited, self._batches.ready(0.0), self._hooks.request())
        self._late = total.late
        if total.changed:
            self._hooks.changed(total.changed)
        if total.bad:
            self._hooks.quarantine.add([entry for part in self._world.gather_objects(batch.bad) for entry in part])
        return total

    def record(self, step: int, batch: Batch, result: StepResult, total: Tally) -> None:
        batch_size = self._config.train.global_batch_size
        seconds = time.perf_counter() - self._began
        sample_ids: list[int] = []
        if result.refused:
            sample_ids = [i for part in self._world.gather_objects(batch.sample_ids.tolist()) for i in part]
        record = StepRecord(
            step=step,
            steps=self._end,
            epoch=step // self._learner.steps_per_epoch,
            samples_seen=(step + 1) * batch_size,
            loss=None if result.refused else result.loss,
            lr=result.lr,
            images_per_second=batch_size / seconds,
            data_wait=min(total.wait / seconds, 1.0),
            crop_seconds=batch.seconds,
            bytes_read=total.bytes_read,
            retries=total.retries,
            bad_images=len(self._hooks.quarantine.entries),
            workers=self._world.size,
            ids=total.ids,
            time=round(time.time(), 3),
            seconds=round(seconds, 6),
            checkpoint_seconds=round(self._saving, 6),
            evaluate_seconds=round(self._evaluating, 6),
            usage=dict(self._hooks.usage()),
            refused=result.refused,
            sample_ids=tuple(sample_ids),
        )
        self._hooks.record(record)
        self._began = time.perf_counter()

    def save(self, done: int, result: StepResult, request: Request) -> None:
        """What is due after `done` steps: a poll, a measurement, a checkpoint. Raises Diverged."""
        if request & Request.POLL:
            self._hooks.poll()
        too_many = self._learner.refused_steps > self._config.train.max_refused_steps
        ending = request.ends or too_many
        top1 = None
        measure = self._every(self._config.eval.knn_every_epochs, done) and done < self._end and not ending
        if measure:
            top1 = self._hooks.evaluate(done)
        self._evaluating = self._lap()
        at_once = done == self._end or ending or bool(request & Request.SAVE)
        keep = measure and (self._config.checkpoint.keep_best > 0 or self._hooks.measures_checkpoints())
        if at_once or self._due(done) or keep:
            self._save(done, top1, wait=at_once)
        if too_many:
            raise Diverged(
                f"step {done - 1} was refused, {result.refused}, as {self._learner.refused_steps - 1} before it; "
                f"train.max_refused_steps = {self._config.train.max_refused_steps} is spent. The state before it is "
                f"saved; metrics.jsonl names the images. {_REMEDY}"
            )
        self._saving = self._lap()

    def _due(self, done: int) -> bool:
        """Whether a checkpoint is due after so many steps."""
        kept = self._config.checkpoint
        every = max(1, round(kept.every_epochs * self._learner.steps_per_epoch))
        return done % every == 0 or self._every(kept.keep_every_epochs, done)

    def _every(self, epochs: int, done: int) -> bool:
        """Whether so many epochs, or a multiple of them, are done; never for 0."""
        return epochs > 0 and done % (epochs * self._learner.steps_per_epoch) == 0

    def _save(self, done: int, top1: float | None, *, wait: bool) -> None:
        """Saves the state, which must be one that can be trained on."""
        if self._untried is not None:
            batch, step = self._untried
            if why := self._learner.trial(to_device(batch, self._config, self._device), step):
                raise Diverged(
                    f"step {step} blew up the weights: after it, on its own images, {why}. That state is not "
                    f"saved; the last checkpoint is the last good one. {_REMEDY}"
                )
        self._untried = None
        self._hooks.save(done, top1, wait)

    def _lap(self) -> float:
        """Seconds since the last part of the step."""
        before, self._began = self._began, time.perf_counter()
        return self._began - before
