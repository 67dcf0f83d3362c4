"""The protocols that train, each through a real worker in this process: a kill costs nothing, nor do more workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.parts.gloo import GlooPool
from swav_ray.evaluate.backbones import _pixels, _untrained
from swav_ray.evaluate.protocols import ON_IMAGES
from swav_ray.run import measurements
from swav_ray.run.events import Events
from swav_ray.run.layout import SUMMARY, checkpoint_folder
from swav_ray.run.messages import Resumed
from swav_ray.run.metrics_log import MetricsLog, read_metrics
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.control import Request
from swav_ray.training.distributed import World
from swav_ray.weights.backbone import load_backbone
from tests.evaluate.fit.classify import small
from tests.evaluate.protocols.given import backbone as narrow

WORDS = {
    "linear": ("--epochs", "3", "--batch", "8"),
    "linear, a sweep": ("--sweep", "--epochs", "3", "--batch", "8"),
    "transfer": ("--epochs", "4", "--batch", "9"),
    "semisup": ("--percent", "10", "--epochs", "10", "--batch", "2", "--lr", "0.05"),
    "finetune": ("--epochs", "2", "--batch", "8"),
}


@pytest.fixture(autouse=True)
def torch_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker sets torch up for its process, before anything runs in it. TensorBoard takes seconds to import."""
    monkeypatch.setattr(Events, "write", lambda *_: None)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)  # here features are made in this process, and round otherwise with two
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "colors"
    small.write_images(folder, 12, 6)
    return folder


def fit_of(which: str, images: Path, *more: str) -> Any:
    name = which.partition(",")[0]
    return ON_IMAGES[name].fit(small.options(name, *WORDS[which], *more), small.material(images))


def outcome(folder: Place) -> tuple[Any, ...]:
    """What a finished training left, but for times: steps, judgements, end, and every tensor."""
    records = [(record["step"], record["loss"], record["ids"]) for record in read_metrics(folder)]
    state, _ = checkpoint.load_newest(folder)
    assert state is not None
    tensors = {name: tensor.numpy().tobytes() for name, tensor in (state.model | state.training).items()}
    return records, measurements.read(folder), json.loads((folder / SUMMARY).read_bytes()), tensors


@pytest.mark.parametrize("which", WORDS)
def test_stopped_and_killed_it_ends_bit_for_bit_as_if_it_had_not_been(
    which: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.run(fit_of(which, images), place(tmp_path / "whole"))
    whole = outcome(place(tmp_path / "whole"))
    folder = place(tmp_path / "disturbed")
    small.run(fit_of(which, images), folder, {2: Request.STOP})

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    fit = fit_of(which, images)
    steps = fit.task(torch.device("cpu"), World()).steps
    with monkeypatch.context() as patch:
        patch.setattr(small.Worker, "saved", dies)  # after the last step and its checkpoint, before the end is known
        patch.setattr(MetricsLog, "close", dies)
        with pytest.raises(KeyboardInterrupt):
            small.run(fit, folder)
    last = small.run(fit_of(which, images), folder)
    assert Resumed(steps, 1) in last.events
    assert outcome(folder) == whole


# A net this small magnifies rounding a thousandfold within a few steps at a rate that it learns at.
SLOWLY = {"linear": (), "finetune": ("--batch", "9", "--lr", "0.002", "--trunk-lr", "0.0002")}


def work(world: World, which: str, images: str, folder: str) -> None:
    small.run(fit_of(which, Path(images), *SLOWLY[which]), place(folder), world=world)


@pytest.mark.parametrize("which", SLOWLY)
def test_two_workers_train_as_one_does(which: str, images: Path, tmp_path: Path, gloo_pool: GlooPool) -> None:
    """Uneven slices of nine images; in the second one, BatchNorm over both workers."""
    for workers in (1, 2):
        gloo_pool.run(workers, work, which, str(images), str(tmp_path / str(workers)))
    one, two = outcome(place(tmp_path / "1")), outcome(place(tmp_path / "2"))
    assert [(step, ids) for step, _, ids in two[0]] == [(step, ids) for step, _, ids in one[0]]
    losses = [[loss for _, loss, _ in records] for records in (one[0], two[0])]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert two[2]["ids"] == one[2]["ids"]


def test_a_fine_tuned_network_learns_the_classes(images: Path, tmp_path: Path) -> None:
    fit = fit_of("finetune", images, "--epochs", "6")
    small.run(fit, place(tmp_path))
    _, rows, summary, _ = outcome(place(tmp_path))
    judged = fit.judged(summary, rows)
    assert list(judged.figures) == ["top-1, last epoch", "top-1, best epoch"]
    assert judged.figures["top-1, last epoch"].value > 80  # chance is 33
    assert sum(judged.correct.values()) == round(18 * judged.figures["top-1, last epoch"].value / 100)
    assert judged.picture.startswith(b"\x89PNG")


def test_the_trunk_of_a_linear_classifier_stays_as_it_is(images: Path, tmp_path: Path) -> None:
    fit = fit_of("linear", images)
    before = {name: tensor.clone() for name, tensor in fit.backbone.state_dict().items()}
    small.run(fit, place(tmp_path))
    assert all(torch.equal(before[name], tensor) for name, tensor in fit.backbone.state_dict().items())
    saved, _ = checkpoint.load_newest(place(tmp_path))
    assert saved is not None
    assert (set(saved.model), set(saved.training)) == ({"weight", "bias"}, {"momentum.weight", "momentum.bias"})


def test_a_fine_tuned_trunk_is_a_backbone_like_any(images: Path, tmp_path: Path) -> None:
    fit = fit_of("finetune", images)
    small.run(fit, place(tmp_path))
    (step,) = checkpoint.steps(place(tmp_path))[-1:]
    tuned = load_backbone(checkpoint_folder(place(tmp_path), step), image_size=16)
    saved = checkpoint.load(place(tmp_path), step)
    assert torch.equal(tuned.trunk.conv1.weight, saved.model["trunk.conv1.weight"])
    assert not torch.equal(tuned.trunk.conv1.weight, fit.backbone.trunk.conv1.weight)
    assert tuned.origin.parts.left_out == dict.fromkeys(
        ("head.bias", "head.weight"), "a classifier, which is no part of a backbone"
    )


def test_a_sweep_chooses_by_images_that_it_neither_trains_on_nor_is_judged_by(images: Path, tmp_path: Path) -> None:
    fit = fit_of("linear, a sweep", images)
    assert len(fit.lrs) == 35
    assert not set(fit.held_out.ids) & (set(fit.images.split.ids) | set(fit.val.ids))
    assert len(fit.held_out.ids) + len(fit.images.split.ids) == 36
    small.run(fit, place(tmp_path))
    _, rows, summary, _ = outcome(place(tmp_path))
    assert len(summary["heads"]) == 35
    assert summary["held_out"] == max(summary["heads"])
    assert "of 35 heads, lr " in fit.judged(summary, rows).notes[0]


def test_an_unreadable_image_gives_its_place_to_another_with_its_own_label(tmp_path: Path) -> None:
    small.write_images(tmp_path / "i", 40, 4)
    (tmp_path / "i" / "train" / "red" / "003.png").write_bytes(b"no image")
    fit = fit_of("linear", tmp_path / "i")
    labels: dict[int, int] = dict(zip(fit.images.split.ids.tolist(), fit.images.split.labels.tolist(), strict=True))
    seen = []
    feed = small.Feed(fit.images.maker(), World(), 0, 15)
    for batch in feed:
        _, found = fit.images.tensors(batch, torch.device("cpu"))
        if batch.bad:
            seen.append(batch.bad[0])
            shown = batch.shown_ids()
            assert seen[0].replaced_by in shown
            assert seen[0].sample_id not in shown
            assert found.tolist() == [labels[sample] for sample in shown.tolist()]
    assert len(seen) == 1


def test_unreadable_images_of_the_validation_split_are_left_out_and_noted(tmp_path: Path) -> None:
    small.write_images(tmp_path / "i", 12, 4)
    (tmp_path / "i" / "val" / "red" / "003.png").write_bytes(b"no image")
    for which in ("linear", "finetune"):
        fit = fit_of(which, tmp_path / "i")
        small.run(fit, place(tmp_path / which))
        _, rows, summary, _ = outcome(place(tmp_path / which))
        assert len(summary["ids"]) == 11
        judged = fit.judged(summary, rows)
        assert "1 images of " in " ".join([*judged.notes, *fit.notes])


def test_pixels_take_a_linear_classifier_and_no_fine_tuning(images: Path, tmp_path: Path) -> None:
    pixels = _pixels(narrow())
    material = small.material(images, pixels)
    fit = ON_IMAGES["linear"].fit(small.options("linear", *WORDS["linear"]), material)
    small.run(fit, place(tmp_path))
    assert len(measurements.read(place(tmp_path))) == 3
    for name in ("semisup", "finetune"):
        with pytest.raises(ValueError, match=r"pixels of 16 x 16: has no network to fine-tune; linear and transfer"):
            ON_IMAGES[name].fit(small.options(name, *WORDS[name]), material)


def test_an_untrained_network_is_fine_tuned_like_any(images: Path, tmp_path: Path) -> None:
    material = small.material(images, _untrained(narrow()))
    small.run(ON_IMAGES["finetune"].fit(small.options("finetune", *WORDS["finetune"]), material), place(tmp_path))
    assert len(measurements.read(place(tmp_path))) == 2


def test_a_list_of_names_chooses_the_labelled_images(images: Path, tmp_path: Path) -> None:
    names = [f"train/{color}/{index:03d}.png" for color in small.COLORS for index in (1, 5)]
    (tmp_path / "list.txt").write_text("\n".join([*names, "val/red/001.png", "nothing.png"]))
    fit = fit_of("semisup", images, "--subset", str(tmp_path / "list.txt"))
    chosen = fit.images.split
    assert sorted(chosen.manifest.table["uri"].take(chosen.ids).to_pylist()) == sorted(names)
    assert "1 names are no image" in fit.notes[1]
    assert "1 of its images have no label or are not to be learned from" in fit.notes[2]
    assert fit.protocol.settings["labels"] == "10%, a list of names"


def test_labels_are_chosen_by_class_and_by_seed(images: Path) -> None:
    first, again, other = (fit_of("semisup", images, "--seed", seed).images.split for seed in ("0", "0", "1"))
    assert np.bincount(first.labels).tolist() == [1, 1, 1]
    assert first.ids.tolist() == again.ids.tolist() != other.ids.tolist()


CHANGES = (("--min-area", "0.3"), ("--epochs", "3"), ("--batch", "32"), ("--lr", "0.7"), ("--seed", "1"))


def test_an_option_makes_another_protocol_of_it_that_is_not_the_published_one() -> None:
    for name, on_images in ON_IMAGES.items():
        words = ("--subset", "list.txt") if name == "semisup" else ()
        published = on_images.protocol(small.options(name, *words))
        assert published.settings["as published"]
        changed = [on_images.protocol(small.options(name, *words, *more)) for more in CHANGES]
        assert len({published.digest(), *(one.digest() for one in changed)}) == len(CHANGES) + 1
        assert not any(one.settings["as published"] for one in changed)


def test_what_was_changed_is_told_in_a_note(images: Path) -> None:
    assert fit_of("linear", images).notes == [
        "not the published protocol: epochs 3 instead of 100; batch 8 instead of 256"
    ]


def test_crops_are_as_large_as_they_should_be(images: Path) -> None:
    crops = fit_of("linear", images).images.maker().multi_crop.crops
    assert (crops.counts, crops.min_scales, crops.max_scales) == ((1,), (0.08,), (1.0,))
    assert fit_of("linear", images, "--min-area", "0.3").images.maker().multi_crop.crops.min_scales == (0.3,)
    for wrong in ("0", "1.1"):
        with pytest.raises(ValueError, match=rf"--min-area {wrong}: must be above 0 and at most 1"):
            fit_of("linear", images, "--min-area", wrong)


def test_a_learning_rate_that_is_too_high_is_told(images: Path, tmp_path: Path) -> None:
    fit = fit_of("linear", images, "--lr", "1000")
    small.run(fit, place(tmp_path))
    _, rows, summary, _ = outcome(place(tmp_path))
    assert "the learning rate is too high for this network's features" in fit.judged(summary, rows).notes[-1]


def test_weights_that_are_no_longer_finite_end_it_in_one_line(images: Path, tmp_path: Path) -> None:
    worker = small.Worker()
    with pytest.raises(FloatingPointError, match=r"the loss of step \d is not finite; a lower --lr usually helps"):
        small.worker.run(fit_of("linear", images, "--lr", "1e38"), place(tmp_path), worker, small.Saves())
    assert "is not finite; a lower --lr" in worker.reason
