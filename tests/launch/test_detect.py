"""Detection on Ray: the command from annotations to a result, killed as pretraining is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.compose_detection import compose
from swav_ray.evaluate.__main__ import main
from swav_ray.model.swav import SwAVModel
from swav_ray.run import measurements
from swav_ray.run.history import read_history
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner
from tests.evaluate.detect.digits import digits
from tests.launch.conftest import tiny
from tests.launch.test_fit import folder_of, kill_workers, steps_of, when

STEPS = 8


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A checkpoint of a narrow network."""
    folder = tmp_path_factory.mktemp("weights")
    config = tiny(folder, folder, "run")
    return checkpoint.write(place(folder), checkpoint.snapshot(Learner(config, 9), 9))


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 training and 8 validation images of about 64 pixels."""
    folder = tmp_path_factory.mktemp("composed")
    compose(place(folder), digits(2), train=8, val=8, side=64, seed=0)
    return folder


def words(layout: Path, weights: Place, out: Path, *more: str) -> list[str]:
    size = ["--iterations", str(STEPS), "--batch", "4", "--lr", "0.02", "--image-size", "64"]
    given = ["--checkpoint", weights.uri, "--train", str(layout), "--out", str(out)]
    return ["detect", *given, *size, "--scaling.cpus_per_worker", "0.5", *more]


def outcome(folder: Place) -> tuple[Any, ...]:
    """Everything that it left, but for times."""
    records = [(record["step"], record["loss"], record["ids"]) for record in read_metrics(folder)]
    state, _ = checkpoint.load_newest(folder)
    assert state is not None
    tensors = {name: tensor.numpy().tobytes() for name, tensor in (state.model | state.training).items()}
    figures = json.loads((folder / "results.json").read_bytes())["figures"]
    return records, measurements.read(folder), figures, (folder / "picture.png").read_bytes(), tensors


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_killed_workers_cost_nothing(weights: Place, composed: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(words(composed / "voc", weights, whole)) == 0
    thread = when(lambda: steps_of(killed) > 2, kill_workers)
    assert main(words(composed / "voc", weights, killed, "--save-seconds", "0.05")) == 0
    thread.join(timeout=10)
    assert len([entry for entry in read_history(folder_of(killed)) if entry["event"] == "start"]) == 2
    assert outcome(folder_of(killed)) == outcome(folder_of(whole))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_two_workers_leave_a_result_that_a_second_command_shows(
    weights: Place, composed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = words(composed / "coco", weights, tmp_path, "--scaling.num_workers", "2")
    assert main(asked) == 0
    folder = folder_of(tmp_path)
    before = outcome(folder)
    document = json.loads((folder / "results.json").read_bytes())
    assert (document["protocol"], document["settings"]["variant"]) == ("detect", "coco-1x")
    assert {f"{kind} AP{at}" for kind in ("box", "mask") for at in ("", "50", "75")} <= set(document["figures"])
    assert not document["settings"]["as published"]
    assert any("not the published protocol" in note for note in document["notes"])
    assert folder.name == f"detect-coco-1x-{document['hash']}"
    assert main(asked) == 0
    assert "mask AP50" in capsys.readouterr().out
    assert outcome(folder) == before


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("cluster")
def test_a_small_set_is_learned_by_heart_with_boxes_and_masks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SwAVModel("resnet18", width=0.25, hidden_dim=0, output_dim=8, prototypes=(8,))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    compose(place(tmp_path / "set"), digits(3), train=24, val=1, side=128, seed=0)
    truth = str(tmp_path / "set" / "coco" / "annotations" / "instances_train.json")
    asked = ["detect", "--checkpoint", str(tmp_path / "weights.pth"), "--train", truth, "--val", truth]
    asked += ["--iterations", "2500", "--batch", "4", "--lr", "0.02", "--image-size", "128"]
    assert main([*asked, "--out", str(tmp_path / "out")]) == 0
    figures = json.loads((folder_of(tmp_path / "out") / "results.json").read_bytes())["figures"]
    assert figures["box AP50"]["value"] > 90
    assert figures["mask AP50"]["value"] > 90


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--train", ""], "--train: is missing; give a COCO JSON file"),
        (["--checkpoint", "pixels:x"], "pixels:x: pixels have no layers to train; untrained:C is the baseline here"),
        (["--train", "/nowhere"], "--train /nowhere: does not exist; give a COCO JSON file"),
        (["--image-size", "9"], "--image-size 9: must be at least 32 pixels"),
        (["--batch", "9"], "a step takes 9 images, and 8 have annotations; give --batch 8 or less"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(
    weights: Place,
    composed: Path,
    tmp_path: Path,
    more: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(composed / "voc", weights, tmp_path, *more)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("swav_ray:")]
    assert message in line
    assert not list(tmp_path.iterdir())
