"""However a run ends, its directory says how: state, reason, events and a page, and so do the commands that read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swav_ray import pretrain, runs, settings, watch
from swav_ray.config import Config, replace
from swav_ray.data.shapes import write_shapes
from swav_ray.recipes import quickstart
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


def test_a_run_that_no_remedy_helps(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At such a temperature every prediction is uniform, whatever else is changed."""
    hot = {"epochs": 20, "global_batch_size": 8, "temperature": 100.0}
    config = long(shapes, tmp_path, "lost", health={"on_collapse": "remedy"}, train=hot)
    status, run_dir = ended(config, tmp_path)
    out, err = capsys.readouterr()
    assert status == 1
    assert out.count("remedy: stuck (") == 3
    assert err.startswith("swav_ray: no remedy is left: stuck: ")
    acts = [entry for entry in read_history(run_dir) if entry["event"] == "remedy"]
    assert [act["name"] for act in acts] == ["freeze the prototypes longer", "lower epsilon", "lower the rate"]
    line, watched, page = seen(run_dir, capsys)
    assert (line["state"], line["health"]) == (UNHEALTHY, "stuck")
    assert watched.startswith("lost: stopped by health")
    assert "remedy for stuck: back to step 0 with assignment.epsilon = 0.01" in page


def test_a_run_that_is_rescued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A quarter of the quickstart with codes that are uniform: freezing longer does not help, a lower epsilon does."""
    write_shapes(place(tmp_path / "shapes"), train=1500, test=200, size=48, seed=0, rows_per_shard=1024)
    config = replace(
        quickstart(),
        run={"name": "rescued", "storage": str(tmp_path)},
        data={"uri": str(tmp_path / "shapes")},
        crops={"sizes": (32,), "counts": (2,), "min_scales": (0.4,), "max_scales": (1.0,)},
        model={"prototypes": (30,)},
        assignment={"epsilon": 0.5},
        train={"epochs": 12, "global_batch_size": 64},
        eval={"knn_every_epochs": 0},
        health={"on_collapse": "remedy"},
    )
    status, run_dir = ended(config, tmp_path)
    out, _ = capsys.readouterr()
    assert status == 0
    acts = [entry for entry in read_history(run_dir) if entry["event"] == "remedy"]
    assert [act["name"] for act in acts] == ["freeze the prototypes longer", "lower epsilon"]
    assert out.count("remedy: stuck (") == 2
    assert "failed" not in out
    line, _, page = seen(run_dir, capsys)
    assert (line["state"], line["health"]) == (FINISHED, "healthy")
    assert line["loss"] < 0.98 * line["ln_k"]
    assert "remedy for stuck: back to step 0 with assignment.epsilon = 0.03" in page


def test_a_run_that_is_given_up(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rate = {"base_lr": 1e6, "trust_coefficient": 1.0, "warmup_epochs": 0}
    config = tiny(shapes, tmp_path, "diverges", optim=rate, train={"epochs": 3, "global_batch_size": 8})
    status, run_dir = ended(config, tmp_path)
    _, err = capsys.readouterr()
    assert status == 1
    assert "blew up the weights" in err
    line, watched, page = seen(run_dir, capsys)
    assert line["state"] == FAILED
    assert "blew up the weights" in line["why"]
    assert watched.startswith("diverges: failed")
    assert "Failed: step" in page
