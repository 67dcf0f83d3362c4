"""The loop over steps: next batch, step, record, checkpoint. One path for a start, a resumption and a resize.

Knows neither where batches come from nor where records go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from swav_ray.config import Config
from swav_ray.data.batches import Batch
from swav_ray.data.quarantine import Quarantine
from swav_ray.data.sample_plan import digest
from swav_ray.training.device_color import color_and_blur
from swav_ray.training.distributed import World
from swav_ray.training.learner import Learner
from swav_ray.training.normalize import normalize

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


def _tally(
    world: World, device: torch.device, batch: Batch, wait: float, stop: bool
) -> tuple[str, float, bool, int, int, int]:
    """Over all workers: the digest of the step's ids, the mean wait in seconds, whether to stop, images replaced, bytes
    read and retries."""
    own = int(digest(batch.sample_ids), 16)
    signed = own - 2**64 if own >= 2**63 else own  # int64 sums wrap as the digest's do
    own_values = [signed, round(wait * 1e6), int(stop), len(batch.bad), batch.bytes_read, batch.retries]
    values = torch.tensor(own_values, dtype=torch.int64, device=device)
    total, waited, stops, bad, bytes_read, retries = world.sum(values).tolist()
    return f"{total % 2**64:016x}", waited / 1e6 / world.size, stops > 0, bad, bytes_read, retries


def train(
    learner: Learner,
    feed: Iterator[Batch],
    *,
    start: int,
    end: int,
    record: Callable[[Record], None],
    save: Callable[[int], None],
    evaluate: Callable[[int], None],
    should_stop: Callable[[], bool],
    quarantine: Quarantine,
    usage: Callable[[], Record] = dict,
) -> int:
    """Trains from step `start` up to `end` (excluded); on every worker at once.

    Args:
        feed: this worker's batches, in order, from `start`.
        record: is given each step's figures. save: writes the state before a step. evaluate: measures it.
        should_stop: asked each step; one worker's yes stops all, with a checkpoint.
        quarantine: takes the unreadable images.
        usage: figures of the machines that go into each record.

    Returns:
        The step that comes next: `end`, or less after a stop.
    """
    config, world = learner.config, learner.world
    batch_size, steps_per_epoch = config.train.global_batch_size, learner.steps_per_epoch
    save_every = max(1, round(config.checkpoint.every_epochs * steps_per_epoch))
    knn_every = config.eval.knn_every_epochs * steps_per_epoch
    began = time.perf_counter()
    for step in range(start, end):
        batch = next(feed)
        if batch.step != step:
            raise RuntimeError(f"the batch of step {batch.step} came where step {step} was due")
        wait = time.perf_counter() - began
        result = learner.step(to_device(batch, config, learner.device), step)
        ids, wait, stop, bad, bytes_read, retries = _tally(world, learner.device, batch, wait, should_stop())
        if bad:
            quarantine.add([entry for part in world.gather_objects(batch.bad) for entry in part])
        now = time.perf_counter()
        seconds, began = now - began, now
        record(
            {
                "step": step,
                "steps": end,
                "epoch": step // steps_per_epoch,
                "samples_seen": (step + 1) * batch_size,
                "loss": result.loss,
                "lr": result.lr,
                "images_per_second": batch_size / seconds,
                "data_wait": min(wait / seconds, 1.0),
                "crop_seconds": batch.seconds,
                "bytes_read": bytes_read,
                "retries": retries,
                "bad_images": len(quarantine.entries),
                "workers": world.size,
                "ids": ids,
                **usage(),
            }
        )
        done = step + 1
        if done % save_every == 0 or done == end or stop:
            save(done)
        if stop and done < end:
            return done
        if knn_every and done % knn_every == 0 and done < end:
            evaluate(done)
        began = time.perf_counter()
    return end
