"""A run starts from anybody's weights: what fits is taken, what does not is named, and what it began with is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from swav_ray.config import Config, ConfigError, replace
from swav_ray.model.swav import is_trunk
from swav_ray.recipes import quickstart
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner, build_model
from swav_ray.weights.initial import Initial, check, initial, record, restore
from tests.weights import foreign


def config_of(file: Path, **sections: dict[str, object]) -> Config:
    """A run whose network has the shapes of `foreign.model()`, and other random weights."""
    own: dict[str, dict[str, Any]] = {
        "run": {"seed": 1},
        "model": {"width": 0.125, "hidden_dim": 6, "output_dim": 4, "prototypes": (5,)},
        "train": {"global_batch_size": 4, "init_from": str(file)},
    }
    return replace(quickstart(), **{name: fields | sections.get(name, {}) for name, fields in own.items()})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The published script's checkpoint of a small network."""
    file = tmp_path / "weights.pth"
    file.write_bytes(foreign.saved(foreign.published(foreign.model().state_dict())))
    return file


@pytest.fixture
def run_dir(tmp_path: Path) -> Place:
    return place(tmp_path / "run")


def begin(config: Config, run_dir: Place) -> Initial:
    found = initial(build_model(config), config, run_dir)
    assert found is not None
    return found


def kinds(config: Config, start: Initial) -> dict[str, set[str]]:
    """Which of trunk, projection head and prototypes come from the weights, and which are the run's random ones."""
    theirs, own = foreign.model().state_dict(), build_model(config).state_dict()
    found: dict[str, set[str]] = {}
    for name, value in start.state.items():
        if value.is_floating_point() and "running" not in name:
            part = "trunk" if is_trunk(name) else name.partition(".")[0]
            if name in theirs and torch.equal(value, theirs[name]) and not torch.equal(value, own[name]):
                found.setdefault(part, set()).add("taken")
            elif torch.equal(value, own[name]):
                found.setdefault(part, set()).add("random" if value.ndim > 1 else "either")
    return {part: seen - {"either"} for part, seen in found.items()}


def test_trunk_head_and_prototypes_are_taken_if_all_shapes_match(weights: Path, run_dir: Place) -> None:
    config = config_of(weights)
    start = begin(config, run_dir)
    theirs = foreign.model().state_dict()
    assert start.state.keys() == theirs.keys()
    assert all(torch.equal(start.state[name], theirs[name]) for name in theirs)
    assert [line.partition(" (sha256")[0] for line in start.lines] == [
        f"starting from {weights}",
        "the projection head is taken",
        "the prototypes are taken",
    ]
    assert start.lines[0].endswith("SwAV as published: the trunk is taken")


def test_prototypes_of_another_number_begin_anew_and_are_named(weights: Path, run_dir: Place) -> None:
    config = config_of(weights, model={"prototypes": (7,)})
    start = begin(config, run_dir)
    assert kinds(config, start) == {"trunk": {"taken"}, "projection_head": {"taken"}, "prototypes": {"random"}}
    assert start.lines[-1] == (
        "the prototypes begin anew: of another shape: prototypes.weight (5, 4) instead of (7, 4)"
    )


def test_prototypes_do_not_come_without_their_head(weights: Path, run_dir: Place) -> None:
    config = config_of(weights, model={"hidden_dim": 9})
    start = begin(config, run_dir)
    assert kinds(config, start) == {"trunk": {"taken"}, "projection_head": {"random"}, "prototypes": {"random"}}
    assert start.lines[1].startswith("the projection head begins anew: of another shape: projection_head.0.bias (6,)")
    assert start.lines[2] == "the prototypes begin anew: they belong to the projection head, which does"
    assert start.lines[3].startswith("warning: the trunk learns from a new head's first steps on")
    held = begin(config_of(weights, model={"hidden_dim": 9}, train={"init_trunk_epochs": 1.0}), run_dir)
    assert held.lines == start.lines[:3]


def test_a_head_can_be_left_and_may_be_missing(weights: Path, run_dir: Place) -> None:
    config = config_of(weights, train={"init_head": False})
    start = begin(config, run_dir)
    assert kinds(config, start) == {"trunk": {"taken"}, "projection_head": {"random"}, "prototypes": {"random"}}
    assert start.lines[1] == "train.init_head is false: projection head and prototypes begin anew"
    trunk, _ = foreign.split(foreign.model().state_dict())
    weights.write_bytes(foreign.saved(trunk))
    start = begin(config_of(weights), run_dir)
    assert start.lines[1] == "the weights hold no head: projection head and prototypes begin anew"


@pytest.mark.parametrize(
    "write", [foreign.vissl, foreign.solo_learn, foreign.lightly], ids=["vissl", "solo-learn", "lightly"]
)
def test_other_libraries_trunks_are_taken(weights: Path, run_dir: Place, write: Any) -> None:
    weights.write_bytes(foreign.saved(write(foreign.model().state_dict())))
    config = config_of(weights)
    assert kinds(config, begin(config, run_dir))["trunk"] == {"taken"}


def test_another_architecture_says_which_settings_would_fit(weights: Path, run_dir: Place) -> None:
    config = config_of(weights, model={"backbone": "resnet34", "width": 0.25})
    with pytest.raises(ConfigError) as refused:
        initial(build_model(config), config, run_dir)
    line = str(refused.value)
    assert line.startswith(f"train.init_from = '{weights}': ")
    assert "use --model.backbone resnet18 --model.width 0.125 --model.small_image_stem false" in line
    assert "missing: layer1.2.bn1.bias, " in line
    assert "conv1.weight (8, 3, 7, 7) instead of (16, 3, 7, 7)" in line
    assert "\n" not in line


def test_a_trunk_that_lacks_a_tensor_is_refused_by_its_name(weights: Path, run_dir: Place) -> None:
    state = foreign.model().state_dict()
    del state["layer2.0.bn1.running_var"]
    weights.write_bytes(foreign.saved(state))
    with pytest.raises(ConfigError, match=r"its trunk is not this run's; missing: layer2\.0\.bn1\.running_var$"):
        begin(config_of(weights), run_dir)


def test_solo_learns_wider_padding_is_told(weights: Path, run_dir: Place) -> None:
    weights.write_bytes(foreign.saved(foreign.solo_learn(foreign.model(small=True).state_dict())))
    start = begin(config_of(weights, model={"small_image_stem": True}), run_dir)
    assert start.lines[1].startswith("its first convolution pads by 2 pixels, this run's by 1")


@pytest.mark.parametrize("where", ["nothing.pth", "s4://bucket/x"])
def test_a_place_without_weights_is_told(tmp_path: Path, run_dir: Place, where: str) -> None:
    config = config_of(tmp_path / where if "/" not in where else Path("x"), train={"init_from": where})
    for act in (lambda: initial(build_model(config), config, run_dir), lambda: check(config)):
        with pytest.raises(ValueError, match=r"holds no weights|the scheme s4:// is not known"):
            act()


def test_a_run_that_has_begun_keeps_what_it_began_with(weights: Path, run_dir: Place) -> None:
    config = config_of(weights)
    start = begin(config, run_dir)
    start.save(run_dir)
    assert record(run_dir) == start.record
    assert initial(build_model(config), config, run_dir) is None
    model = build_model(config)
    restore(model, run_dir)
    assert all(torch.equal(value, start.state[name]) for name, value in model.state_dict().items())


def test_changed_weights_are_refused_until_there_is_a_checkpoint_and_not_needed_after(
    weights: Path, run_dir: Place
) -> None:
    config = config_of(weights)
    begin(config, run_dir).save(run_dir)
    weights.write_bytes(foreign.saved(foreign.model(prototypes=(5, 3)).state_dict()))
    with pytest.raises(ConfigError, match=r"holds other weights \(sha256 \w{12}\) than those that this run began with"):
        initial(build_model(config), config, run_dir)
    checkpoint.write(run_dir, checkpoint.snapshot(Learner(config, 3), 3))
    weights.unlink()
    assert initial(build_model(config), config, run_dir) is None


def test_of_several_networks_in_a_file_one_is_chosen(weights: Path, run_dir: Place) -> None:
    state = foreign.model().state_dict()
    weights.write_bytes(foreign.saved({"teacher": state, "student": foreign.model(prototypes=(3,)).state_dict()}))
    for act in (lambda: begin(config_of(weights), run_dir), lambda: check(config_of(weights))):
        with pytest.raises(ConfigError, match=r"holds 2 networks; give prefix= one of 'teacher\.', 'student\.'"):
            act()
    start = begin(config_of(weights, train={"init_prefix": "teacher."}), run_dir)
    assert all(torch.equal(start.state[name], value) for name, value in state.items())
