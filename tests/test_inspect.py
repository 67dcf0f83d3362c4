"""`python -m swav_ray.inspect` says what weights are, how far they were trained, and what to do with them next."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from swav_ray import command_line, export, settings
from swav_ray.config import replace
from swav_ray.data import manifest
from swav_ray.data.shapes import write_shapes
from swav_ray.embed import __main__ as embed
from swav_ray.evaluate import __main__ as evaluate
from swav_ray.inspect import describe, main
from swav_ray.recipes import quickstart
from swav_ray.run import layout, measurements
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner, build_model
from swav_ray.weights.initial import initial
from swav_ray.weights.read import WeightsError
from tests.weights import foreign

PARSERS = {"evaluate": evaluate.parser, "embed": embed.parser, "export": export.parser}


def tiny(**train: object):  # type: ignore[no-untyped-def]
    return replace(
        quickstart(),
        model={"width": 0.125, "hidden_dim": 6, "output_dim": 4, "prototypes": (5,)},
        train={"global_batch_size": 4} | train,
        eval={"image_size": 40},
    )


def make_run(folder: Path, **train: object) -> Place:
    """A run with a checkpoint before step 20 in which the stem has doubled, and nothing else moved."""
    run_dir, config = place(folder) / "quickstart", tiny(**train)
    learner = Learner(config, 10)
    if (start := initial(build_model(config), config, run_dir)) is not None:
        start.save(run_dir)
        learner.model.load_state_dict(start.state)
    (run_dir / layout.CONFIG).write_bytes(settings.to_yaml(config).encode())
    with torch.no_grad():
        learner.model.conv1.weight.mul_(2)
        learner.model.bn1.weight.mul_(2)
    checkpoint.write(run_dir, checkpoint.snapshot(learner, 20, None))
    measurements.append(run_dir, {"step": 20, "knn_top1": 54.36})
    images = place(folder) / "_data" / "shapes"  # where 0.1.0 drew them
    write_shapes(images, train=4, test=0, size=16)
    manifest.save(manifest.build(images.uri), run_dir / layout.MANIFEST)
    return run_dir


def rows(lines: list[str]) -> dict[str, str]:
    return {line[:12].strip(): line[13:] for line in lines[: lines.index("")]}


def test_a_run_says_how_far_it_is_and_how_its_weights_moved_since_its_random_ones(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    found = rows(describe(run_dir.uri))
    assert found["file"] == f"{run_dir}/checkpoints/step-000000020/model.safetensors"
    files = json.loads((layout.checkpoint_folder(run_dir, 20) / layout.CHECKPOINT_MANIFEST).read_bytes())
    assert found["sha256"] == files[layout.MODEL]["sha256"]
    assert found["trunk"].startswith("resnet18, 0.125 times as wide: 64 features, ")
    assert found["head"] == "projection 64 -> 6 -> 4; prototypes 5"
    assert found["images"] == "40 x 40 pixels; mean 0.485 0.456 0.406, std 0.228 0.224 0.225"
    assert found["trained"] == "run quickstart, step 20, 2 epochs, 80 images seen"
    assert found["kNN top-1"] == "54.4% on the run's held-out images"
    assert found["began with"] == "random weights of seed 0"
    assert found["moved by"] == (
        "stem 100%, layer1 0%, layer2 0%, layer3 0%, layer4 0%, projection_head 0%, prototypes 0% of their norm then"
    )


def test_movement_counts_from_the_weights_that_a_run_started_from(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(foreign.saved(foreign.model().state_dict()))
    run_dir = make_run(tmp_path, init_from=str(file))
    file.unlink()
    found = rows(describe(run_dir.uri))
    assert found["moved by"].startswith("stem 100%, layer1 0%")
    assert found["began with"].startswith("the weights of ")


@pytest.mark.parametrize("write", [foreign.published, foreign.vissl, foreign.solo_learn, foreign.lightly])
def test_other_peoples_files_say_what_they_are(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "x.pth"
    file.write_bytes(foreign.saved(write(foreign.model().state_dict())))
    found = rows(describe(str(file)))
    assert found["head"] == "projection 64 -> 6 -> 4; prototypes 5"
    assert {"trained", "kNN top-1", "began with", "moved by"}.isdisjoint(found)
    assert found["images"].startswith("224 x 224 pixels, as usual: the file does not say")


def test_every_name_in_the_file_is_told_if_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    file.write_bytes(foreign.saved(foreign.solo_learn(foreign.model().state_dict())))
    lines = describe(str(file), with_keys=True)
    assert "state_dict.backbone.conv1.weight -> conv1.weight" in lines
    assert "state_dict.queue: left out, a queue of embeddings" in lines
    assert rows(lines)["left out"] == "2 tensors; --keys names them"


def test_the_next_commands_can_be_pasted(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "my runs")
    lines = describe(run_dir.uri)
    commands = [shlex.split(line) for line in lines[lines.index("next:") + 1 :]]
    assert [command[:3] for command in commands] == [["python", "-m", f"swav_ray.{name}"] for name in PARSERS]
    for parser, command in zip(PARSERS.values(), commands, strict=True):
        assert command_line.read(parser(), command[3:]).checkpoint == run_dir.uri
    assert "--train" not in lines[-3], "its own images have labels"
    assert commands[1][commands[1].index("--data") + 1] == f"{run_dir.parent}/_data/shapes"


def test_a_file_of_unknown_origin_is_judged_on_images_that_are_given(tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    file.write_bytes(foreign.saved(foreign.model().state_dict()))
    assert "--train PLACE --val PLACE" in describe(str(file))[-3]


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(WeightsError, match="holds no weights"):
        describe(str(tmp_path))


def test_it_needs_no_ray() -> None:
    code = "import sys, swav_ray.inspect; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
