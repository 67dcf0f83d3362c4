"""However a run ends, its directory says how: state, reason, events and a page, and so do the commands that read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swav_ray import pretrain, runs, settings, watch
from swav_ray.config import Config
from swav_ray.run.history import read_history
from swav_ray.run.layout import PAGE
from swav_ray.run.state import FAILED, FINISHED, UNHEALTHY
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from tests.launch.conftest import tiny

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("cluster")]
COLLAPSES = {"epsilon": 5.0}


def ended(config: Config, folder: Path) -> tuple[int, Place]:
    """Runs the command; its exit status and the run's directory."""
    file = folder / f"{config.run.name}.yaml"  # a config.yaml would be a run
    file.write_text(settings.to_yaml(config))
    return pretrain.main(["--config", str(file)]), place(folder) / config.run.name


def long(images: Path, storage: Path, name: str, **sections: Any) -> Config:
    """More steps than a window of the rules has."""
    mine: dict[str, Any] = {"train": {"epochs": 20, "global_batch_size": 8}, "queue": {"length": 0}}
    return tiny(images, storage, name, **mine | sections)


def seen(run_dir: Place, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str, str]:
    """What `runs` and `watch` say of a run, and its page."""
    assert runs.main([run_dir.parent.uri, "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert watch.main([run_dir.uri, "--once"]) == 0
    return line, capsys.readouterr().out, (run_dir / PAGE).read_bytes().decode()


def test_a_run_that_is_to_stop_for_its_health(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = long(shapes, tmp_path, "stop", health={"on_collapse": "stop"}, assignment=COLLAPSES)
    status, run_dir = ended(config, tmp_path)
    out, err = capsys.readouterr()
    assert status == 1
    assert "warning: step 60: collapsing: " in out
    assert f"the run's page: {run_dir}/report.html" in out
    assert err.startswith("swav_ray: collapsing: ")
    assert err.count("\n") == 1
    (reached,) = [entry["step"] for entry in read_history(run_dir) if entry["event"] == "collapsed"]
    assert checkpoint.steps(run_dir)[-1] == reached
    line, watched, page = seen(run_dir, capsys)
    assert (line["state"], line["health"], line["step"]) == (UNHEALTHY, "collapsing", reached)
    assert line["why"] in watched
    assert watched.startswith("stop: stopped by health")
    assert "Stopped by health: collapsing: the loss is" in page


def test_a_run_that_is_remedied(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = long(shapes, tmp_path, "remedy", health={"on_collapse": "remedy"}, assignment=COLLAPSES)
    status, run_dir = ended(config, tmp_path)
    out, _ = capsys.readouterr()
    assert status == 0
    acts = [entry for entry in read_history(run_dir) if entry["event"] == "remedy"]
    assert [act["name"] for act in acts] == ["freeze the prototypes longer", "lower epsilon"]
    assert out.count("remedy: collapsing (") == 2
    assert out.count("starting") == 1, "a remedy is no failure"
    line, _, page = seen(run_dir, capsys)
    assert (line["state"], line["health"]) == (FINISHED, "healthy")
    assert page.count("remedy for collapsing: back to step 0 with assignment.epsilon = 0.03") >= 1


def test_a_run_that_is_given_up(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rate = {"base_lr": 1e6, "trust_coefficient": 1.0, "warmup_epochs": 0}
    config = tiny(shapes, tmp_path, "diverges", optim=rate, train={"max_refused_steps": 0, "global_batch_size": 8})
    status, run_dir = ended(config, tmp_path)
    _, err = capsys.readouterr()
    assert status == 1
    assert "train.max_refused_steps = 0 is spent" in err
    line, watched, page = seen(run_dir, capsys)
    assert line["state"] == FAILED
    assert "train.max_refused_steps = 0 is spent" in line["why"]
    assert watched.startswith("diverges: failed")
    assert "Failed: step" in page
