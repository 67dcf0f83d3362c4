"""A detector trained by a real worker in this process: a kill costs nothing, and each image's draws are its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.parts.gloo import GlooPool
from swav_ray.data.bad_images import TooManyBadImages
from swav_ray.evaluate.detect.annotations import Annotated
from swav_ray.evaluate.detect.feed import DetectionFeed
from swav_ray.evaluate.detect.protocol import protocol
from swav_ray.evaluate.detect.settings import COCO_1X, PUBLISHED, VOC, Settings
from swav_ray.evaluate.detect.task import Detect, DetectFit
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.fit import worker
from swav_ray.evaluate.fit.worker import Saves
from swav_ray.run import measurements
from swav_ray.run.events import Events
from swav_ray.run.layout import SUMMARY
from swav_ray.run.messages import Resumed
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.control import Request
from swav_ray.training.distributed import World
from tests.evaluate.fit.toy import InProcess
from tests.evaluate.protocols.given import backbone

STEPS = 5


@pytest.fixture(autouse=True)
def torch_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker sets torch up for its process. TensorBoard takes seconds to import."""
    monkeypatch.setattr(Events, "write", lambda *_: None)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def small(variant: str, **changes: Any) -> Settings:
    """A few steps of 4 images of 32 to 64 pixels."""
    short = PUBLISHED[variant].changed(iterations=STEPS, batch_size=4, lr=0.02, image_size=64)
    return replace(short, rois=16, anchors=16, **changes)


def fit_of(train: Annotated, val: Annotated, variant: str, **changes: Any) -> DetectFit:
    settings = small(variant, **changes)
    return DetectFit(
        protocol=protocol(settings, variant, masks=settings.has_masks),
        settings=settings,
        backbone=backbone(),
        train=train,
        val=val,
        published={},
        max_bad_fraction=0.5,
        notes=[],
    )


class Requested(InProcess):
    """Requests what it is told to after a step of a detector."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, requests: Mapping[int, Request]) -> None:
        super().__init__(requests)
        whole = DetectionFeed.__next__

        def noted(feed: DetectionFeed) -> Any:
            self.given = whole(feed)
            return self.given

        monkeypatch.setattr(DetectionFeed, "__next__", noted)


def run(fit: DetectFit, folder: Place, coordinator: InProcess | None = None) -> InProcess:
    coordinator = coordinator or InProcess()
    worker.run(fit, folder, coordinator, Saves(seconds=0))
    return coordinator


def outcome(folder: Place) -> tuple[Any, ...]:
    """Everything that training left, but for times."""
    records = [(record["step"], record["loss"], record["ids"]) for record in read_metrics(folder)]
    state, _ = checkpoint.load_newest(folder)
    assert state is not None
    tensors = {name: tensor.numpy().tobytes() for name, tensor in (state.model | state.training).items()}
    return records, measurements.read(folder), json.loads((folder / SUMMARY).read_bytes()), tensors


@pytest.mark.parametrize("variant", [VOC, COCO_1X])
def test_stopped_and_resumed_it_is_equal_bit_for_bit(
    variant: str, train: Annotated, val: Annotated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fit_of(train, val, variant)
    run(fit, place(tmp_path / "whole"))
    with monkeypatch.context() as patched:
        run(fit, place(tmp_path / "stopped"), Requested(patched, {2: Request.STOP}))
    assert Resumed(3, 1) in run(fit, place(tmp_path / "stopped")).events
    whole = outcome(place(tmp_path / "whole"))
    assert outcome(place(tmp_path / "stopped")) == whole
    judged = fit.judged(whole[2], whole[1])
    names = {
        "voc": {"AP", "AP50", "AP75"},
        "coco-1x": {f"{kind} AP{at}" for kind in ("box", "mask") for at in ("", "50", "75")},
    }
    assert set(judged.figures) >= names[variant]
    assert judged.picture.startswith(b"\x89PNG")


def test_every_layer_is_trained_and_batch_norm_follows(train: Annotated, val: Annotated) -> None:
    for variant in (VOC, COCO_1X):
        fit = fit_of(train, val, variant)
        task = fit.task(torch.device("cpu"), World())
        before = {name: tensor.clone() for name, tensor in task.state().tensors.items()}
        feed = task.feed(InProcess(), World(), 0, 2)
        for batch in feed:
            task.step(batch.step, batch)
        after = task.state().tensors
        still = [name for name, tensor in before.items() if torch.equal(tensor, after[name])]
        assert still == []
        trunk = dict(fit.backbone.trunk.state_dict())
        assert torch.equal(trunk["conv1.weight"], backbone().trunk.state_dict()["conv1.weight"])


def _two_steps(world: World, fit: DetectFit) -> tuple[list[float], bytes]:
    task = fit.task(torch.device("cpu"), world)
    feed = task.feed(InProcess(), world, 0, 2)
    losses = [task.step(batch.step, batch)["loss"] for batch in feed]
    weights = torch.cat([tensor.double().flatten() for tensor in task.state().tensors.values()])
    return losses, weights.numpy().tobytes()


def test_two_workers_see_the_batch_of_one_and_agree(gloo_pool: GlooPool, train: Annotated, val: Annotated) -> None:
    fit = fit_of(train, val, VOC)
    alone, _ = _two_steps(World(), fit)
    first, second = gloo_pool.run(2, _two_steps, fit)
    assert first == second
    # torchvision takes its means over the boxes of one worker, so the losses are close and not equal.
    assert first[0] == pytest.approx(alone, rel=0.1)


def test_unreadable_images_are_replaced_in_training_and_listed_in_validation(
    train: Annotated, val: Annotated, tmp_path: Path
) -> None:
    fit = fit_of(
        replace(train, names=["gone.jpg", *train.names[1:]]), replace(val, names=["no.jpg", *val.names[1:]]), VOC
    )
    run(fit, place(tmp_path))
    _, rows, summary, _ = outcome(place(tmp_path))
    assert list(summary["unreadable"]) == ["no.jpg"]
    (note,) = fit.judged(summary, rows).notes
    assert "1 images of" in note
    assert "no.jpg" in note
    assert read_metrics(place(tmp_path))[-1]["bad_images"] == 1


def test_images_that_all_cannot_be_read_end_it(train: Annotated, val: Annotated) -> None:
    fit = fit_of(replace(train, names=["gone.jpg"] * len(train)), replace(val, names=["no.jpg"] * len(val)), VOC)
    task = fit.task(torch.device("cpu"), World())
    with pytest.raises(TooManyBadImages, match=r"17 images in a row cannot be read.*gone\.jpg"):
        next(task.feed(InProcess(), World(), 0, 2))
    with pytest.raises(EvaluationError, match="none of its images can be read"):
        task.finish()


def test_a_batch_that_the_images_do_not_fill_is_told(train: Annotated, val: Annotated) -> None:
    fit = replace(fit_of(train, val, VOC), settings=small(VOC).changed(batch_size=9))
    with pytest.raises(EvaluationError, match=r"a step takes 9 images, and 8 have annotations; give --batch 8 or less"):
        _ = fit.plan


def test_a_diverged_training_names_the_remedy(train: Annotated, val: Annotated) -> None:
    fit = fit_of(train, val, VOC)
    task = fit.task(torch.device("cpu"), World())
    assert isinstance(task, Detect)
    feed = task.feed(InProcess(), World(), 0, 1)
    task.load_state(
        replace(
            task.state(),
            tensors={
                name: tensor * float("nan") if tensor.is_floating_point() else tensor
                for name, tensor in task.state().tensors.items()
            },
        )
    )
    with pytest.raises((FloatingPointError, AssertionError), match=r"lower --lr|not finite"):
        task.step(0, next(feed))
