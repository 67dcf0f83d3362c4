"""The loop over steps: next batch, step, record, checkpoint. One path for a start, a resumption and a resize.

Knows neither where batches come from nor where records go.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swav_ray.config import Config
from swav_ray.data.batch import Batch
from swav_ray.data.quarantine import Quarantine
from swav_ray.data.sample_plan import digest
from swav_ray.model.normalize import normalize
from swav_ray.training.device_color import color_and_blur
from swav_ray.training.distributed import World
from swav_ray.training.learner import Diverged, Learner

Record = dict[str, Any]


def to_device(batch: Batch, config: Config, device: torch.device) -> list[Tensor]:
    """A batch as the network takes it: one (count x rows, 3, size, size) normalised tensor a resolution."""
    colors = batch.colors(config.crops)
    crops = []
    for index, group in enumerate(batch.groups(config.crops)):
        pixels = _send(torch.from_numpy(group).flatten(0, 1), device)
        if colors is None:
            crops.append(normalize(pixels))
        else:
            parameters = _send(torch.from_numpy(colors[index]), device)
            crops.append(normalize(color_and_blur(pixels, parameters, config.augment.blur_sigma[1])))
    return crops


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    # From pinned memory the copy overlaps with what the device is doing.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class Wish(enum.IntFlag):
    """What one worker, which asks the world outside, would have all of them do after a step."""

    NONE = 0
    LOOK = 1  # call `look`, a collective
    SAVE = 2  # write a checkpoint at once and go on
    STOP = 4  # write a checkpoint and leave: a person asked for it
    PARK = 8  # the same, since the number of workers is about to change
    QUIT = 16  # the same, since a node is about to be taken away


_LEAVE = Wish.STOP | Wish.PARK | Wish.QUIT
_READY_SECONDS = 0.5  # between questions to the other workers while batches are late
_REMEDY = "A lower optim.base_lr or a longer warm-up usually helps"


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the loop needs of the world outside; every function is called on every worker at the same time.

    Attributes:
        record: is given each step's figures.
        save: writes the state before a step, with a kNN accuracy if there is one; `wait`: until it is durable.
        evaluate: measures the state before a step; the kNN accuracy in percent, or None.
        wish: what this worker would have all do; the wishes of all workers are united.
        look: answers Wish.LOOK: looks whether a node is to be taken away, which `wish` tells from then on.
        ready: waits so many seconds for this worker's next batch; whether it is there.
        usage: figures of the machines that go into each record.
        quarantine: takes the unreadable images.
    """

    record: Callable[[Record], None]
    save: Callable[[int, float | None, bool], None]
    evaluate: Callable[[int], float | None]
    wish: Callable[[], Wish]
    look: Callable[[], None]
    ready: Callable[[float], bool]
    usage: Callable[[], Record]
    quarantine: Quarantine


@dataclass(frozen=True, kw_only=True)
class _Tally:
    """Over all workers: digest of the step's ids, mean wait in seconds, what to do, whether any has yet to wait for its
    next batch, and what reading took."""

    ids: str
    late: bool
    wait: float
    wish: Wish
    bad: int
    bytes_read: int
    retries: int


def _tally(world: World, device: torch.device, batch: Batch, wait: float, ready: bool, wish: Wish) -> _Tally:
    own = int(digest(batch.sample_ids), 16)
    signed = own - 2**64 if own >= 2**63 else own  # int64 sums wrap as the digest's do
    bits = [int(bool(wish & flag)) for flag in Wish]
    reading = [len(batch.bad), batch.bytes_read, batch.retries]
    values = [signed, round(wait * 1e6), int(not ready), *reading, *bits]
    summed = world.sum(torch.tensor(values, dtype=torch.int64, device=device))
    total, waited, late, bad, bytes_read, retries, *wishes = summed.tolist()
    return _Tally(
        late=late > 0,
        ids=f"{total % 2**64:016x}",
        wait=waited / 1e6 / world.size,
        wish=Wish(sum(flag for flag, count in zip(Wish, wishes, strict=True) if count)),
        bad=bad,
        bytes_read=bytes_read,
        retries=retries,
    )


def _agree(world: World, device: torch.device, ready: bool, wish: Wish) -> tuple[bool, Wish]:
    """Whether every worker is ready, and what any of them would have all do."""
    values = torch.tensor([int(ready), *(int(bool(wish & flag)) for flag in Wish)], dtype=torch.int64, device=device)
    count, *wishes = world.sum(values).tolist()
    return count == world.size, Wish(sum(flag for flag, count in zip(Wish, wishes, strict=True) if count))


def train(learner: Learner, feed: Iterator[Batch], hooks: Hooks, *, start: int, end: int) -> tuple[int, Wish]:
    """Trains from step `start` up to `end` (excluded); on every worker at once.

    Args:
        feed: this worker's batches, in order, from `start`.

    Returns:
        The step that comes next, `end` or less, and the wish that ended it.

    Raises:
        Diverged: more than `train.max_refused_steps` steps were refused, and the last good state is saved; or the
            state that was due to be saved is not one that can be trained on.
    """
    config, world = learner.config, learner.world
    batch_size, steps_per_epoch = config.train.global_batch_size, learner.steps_per_epoch
    save_every = max(1, round(config.checkpoint.every_epochs * steps_per_epoch))
    keep_every = config.checkpoint.keep_every_epochs * steps_per_epoch
    knn_every = config.eval.knn_every_epochs * steps_per_epoch
    saving = evaluating = 0.0
    untried: tuple[Batch, int] | None = None  # what made the present state, until that was tried
    late = True
    began = time.perf_counter()

    def save(done: int, top1: float | None, wait: bool) -> None:
        nonlocal untried
        if untried and (why := learner.trial(to_device(untried[0], config, learner.device), untried[1])):
            raise Diverged(
                f"step {untried[1]} blew up the weights: after it, on its own images, {why}. That state is not "
                f"saved; the last checkpoint is the last good one. {_REMEDY}"
            )
        untried = None
        hooks.save(done, top1, wait)

    for step in range(start, end):
        # Who waits for a batch, as where storage is away or the node that goes has the only CPUs for crops, must not
        # miss a notice, a person's wish, or the time to leave. Only where some worker waits: it costs a collective.
        while late:
            ready, wish = _agree(world, learner.device, hooks.ready(_READY_SECONDS), hooks.wish())
            if wish & Wish.LOOK:
                hooks.look()
            if wish & (_LEAVE | Wish.SAVE):
                save(step, None, True)
            if wish & _LEAVE:
                return step, wish
            late = not ready
        batch = next(feed)
        if batch.step != step:
            raise RuntimeError(f"the batch of step {batch.step} came where step {step} was due")
        wait = time.perf_counter() - began
        result = learner.step(to_device(batch, config, learner.device), step)
        if not result.refused:
            untried = batch, step
        tally = _tally(world, learner.device, batch, wait, hooks.ready(0.0), hooks.wish())
        wish, late = tally.wish, tally.late
        if tally.bad:
            hooks.quarantine.add([entry for part in world.gather_objects(batch.bad) for entry in part])
        seconds = time.perf_counter() - began
        figures = {
            "step": step,
            "steps": end,
            "epoch": step // steps_per_epoch,
            "samples_seen": (step + 1) * batch_size,
            "loss": result.loss,
            "lr": result.lr,
            "images_per_second": batch_size / seconds,
            "data_wait": min(tally.wait / seconds, 1.0),
            "crop_seconds": batch.seconds,
            "bytes_read": tally.bytes_read,
            "retries": tally.retries,
            "bad_images": len(hooks.quarantine.entries),
            "workers": world.size,
            "ids": tally.ids,
            "time": round(time.time(), 3),
            "seconds": round(seconds, 6),
            "checkpoint_seconds": round(saving, 6),
            "evaluate_seconds": round(evaluating, 6),
            **hooks.usage(),
        }
        if result.refused:
            parts = world.gather_objects(batch.sample_ids.tolist())
            # JSON has no NaN; the reason has the figure.
            figures |= {"loss": None, "refused": result.refused, "sample_ids": [i for part in parts for i in part]}
        hooks.record(figures)
        began = time.perf_counter()
        done = step + 1
        if wish & Wish.LOOK:
            hooks.look()
        leave = bool(wish & _LEAVE)
        too_many = learner.refused_steps > config.train.max_refused_steps
        top1 = None
        measure = bool(knn_every) and done % knn_every == 0 and done < end and not leave and not too_many
        if measure:
            top1 = hooks.evaluate(done)
        evaluating, began = time.perf_counter() - began, time.perf_counter()
        keep_best = measure and config.checkpoint.keep_best > 0
        due = done % save_every == 0 or keep_best or bool(keep_every and done % keep_every == 0)
        if due or done == end or leave or too_many or wish & Wish.SAVE:
            save(done, top1, done == end or leave or too_many or bool(wish & Wish.SAVE))
        if too_many:
            raise Diverged(
                f"step {step} was refused, {result.refused}, as {learner.refused_steps - 1} before it; "
                f"train.max_refused_steps = {config.train.max_refused_steps} is spent. The state before it is saved; "
                f"metrics.jsonl names the images. {_REMEDY}"
            )
        saving, began = time.perf_counter() - began, time.perf_counter()
        if leave and done < end:
            return done, wish
    return end, Wish.NONE
