"""The main job through real Ray: it learns, repeats bit for bit, stops, resumes, and survives a killed worker."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from swav_ray import settings
from swav_ray.config import Config, ConfigError, ScalingConfig, replace
from swav_ray.data import manifest
from swav_ray.data.sample_plan import SamplePlan, digest
from swav_ray.launch.monitor import Monitor
from swav_ray.launch.train import _begin, _check_data, train
from swav_ray.launch.workers import RunFailed, check_room, make_trainer
from swav_ray.report.terminal import Terminal
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import PlaceError, place
from swav_ray.training import checkpoint
from tests.data.test_batches import write_images
from tests.launch.conftest import tiny

pytestmark = pytest.mark.ray
STEPS = 27


def metrics(config: Config) -> list[dict[str, Any]]:
    return read_metrics(place(config.run.storage) / config.run.name)


def losses(config: Config) -> list[float]:
    return [record["loss"] for record in metrics(config)]


def assert_exactly_once(config: Config, data: Path, steps: int) -> None:
    """Every step of the file once, with the samples that the plan names and no other."""
    records = metrics(config)
    assert [record["step"] for record in records] == list(range(steps))
    plan = SamplePlan(manifest.build(str(data)).train_ids(), config.run.seed, config.train.global_batch_size)
    assert [record["ids"] for record in records] == [digest(batch) for batch in plan.batches(0, steps)]


@pytest.fixture(scope="module")
def undisturbed(cluster: None, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = tiny(shapes, tmp_path_factory.mktemp("runs"), "undisturbed")
    assert train(config) is not None
    return config


def test_a_run_leaves_what_the_readme_names(undisturbed: Config, shapes: Path) -> None:
    run_dir = place(undisturbed.run.storage) / "undisturbed"
    assert_exactly_once(undisturbed, shapes, STEPS)
    assert all(np.isfinite(losses(undisturbed)))
    summary = json.loads((run_dir / "summary.json").read_bytes())
    assert set(summary["knn_top1"]) == {"trained", "untrained", "pixels", "chance"}
    assert summary["ln_k"] == pytest.approx(np.log(6))
    assert summary["images"] == 72
    assert settings.from_yaml((run_dir / "config.yaml").read_bytes().decode(), Config(), "x") == undisturbed
    assert checkpoint.steps(run_dir) == [18, 27]
    assert any(entry.name.startswith("events.out") for entry in (run_dir / "events").list())
    assert b"Prototype " in (run_dir / "report.html").read_bytes()
    assert json.loads((run_dir / "environment.json").read_bytes())["cluster, CPU"] > 0


def test_a_finished_run_says_so_and_trains_no_further(undisturbed: Config, capfd: pytest.CaptureFixture[str]) -> None:
    before = metrics(undisturbed)
    assert train(undisturbed) is not None
    assert "is finished" in capfd.readouterr().out
    assert metrics(undisturbed) == before


def test_the_same_seed_gives_the_same_losses_bit_for_bit(undisturbed: Config) -> None:
    again = replace(undisturbed, run={"name": "again"})
    train(again)
    assert losses(again) == losses(undisturbed)


def test_three_workers_train_as_one_does(cluster: None, shapes: Path, tmp_path: Path) -> None:
    """Eight rows over three workers: uneven shares, the same samples, the same losses to float32 rounding.

    At a low rate, since a net this small magnifies rounding tenfold every few steps; in float64, at a high one, gloo
    workers are compared in tests/training.
    """
    slow = {"base_lr": 0.002, "final_lr": 0.0}
    one = tiny(shapes, tmp_path, "one", optim=slow, train={"epochs": 2})
    wide = replace(one, run={"name": "wide"}, scaling={"num_workers": (3,)})
    for config in (one, wide):
        train(config)
        assert_exactly_once(config, shapes, 18)
    assert losses(wide) == pytest.approx(losses(one), rel=1e-4)


def test_colour_on_the_training_device_trains_too(undisturbed: Config) -> None:
    config = replace(undisturbed, run={"name": "device"}, augment={"color_device": "train"}, train={"epochs": 1})
    train(config)
    assert all(np.isfinite(losses(config)))


def test_going_on_with_another_config_is_refused_by_field(undisturbed: Config) -> None:
    with pytest.raises(ConfigError, match=r"optim.base_lr = 0.123: run undisturbed .* began with"):
        train(replace(undisturbed, optim={"base_lr": 0.123, "final_lr": 0.0}))


def test_a_refused_start_decides_nothing_for_the_next_one(tmp_path: Path) -> None:
    folder, terminal = tmp_path / "images", Terminal(0.0)
    folder.mkdir()
    write_images(folder, 5)
    config, run_dir = tiny(folder, tmp_path, "few"), place(tmp_path / "few")
    with pytest.raises(ConfigError, match=r"train\.global_batch_size"):
        _check_data(config, run_dir, terminal)
    assert not run_dir.exists()
    write_images(folder, 40)
    _begin(config, run_dir, _check_data(config, run_dir, terminal), terminal)
    assert len(manifest.load(run_dir / "manifest.parquet")) == 40
    write_images(folder, 50)
    _begin(config, run_dir, _check_data(config, run_dir, terminal), terminal)  # it resumes with its list
    assert len(manifest.load(run_dir / "manifest.parquet")) == 40


def test_a_killed_worker_costs_no_sample(undisturbed: Config, shapes: Path) -> None:
    config = replace(undisturbed, run={"name": "killed"}, checkpoint={"every_epochs": 0.34})
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            if len(metrics(config)) > 5:
                workers = [
                    process
                    for process in psutil.Process().children(recursive=True)
                    if "RayTrainWorker" in " ".join(process.cmdline())
                ]
                for worker in workers:
                    worker.kill()
                    killed.append(worker.pid)
            time.sleep(0.002)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    assert train(config) is not None
    thread.join(timeout=10)
    assert killed
    assert_exactly_once(config, shapes, STEPS)
    assert losses(config) == losses(undisturbed)


class DiesAtStart(_TorchBackend):
    """A worker dies while the process group is set up, the first time."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        if not backend_config.marker.exists():
            backend_config.marker.touch()
            ray.kill(worker_group.get_workers()[0].actor)
        super().on_start(worker_group, backend_config)


@dataclass
class DiesAtStartConfig(TorchConfig):
    marker: Path = Path()

    @property
    def backend_cls(self) -> type:
        return DiesAtStart


def note_the_start(payload: dict[str, Any]) -> None:
    payload["trained"].touch()


def test_a_worker_that_dies_while_workers_start_leaves_room_for_the_next_ones(
    cluster: None, shapes: Path, tmp_path: Path
) -> None:
    # Of eight CPUs a worker takes five: what the first start held must be free before the second.
    config = tiny(shapes, tmp_path, "start", scaling={"cpus_per_worker": 5.0})
    payload = {"monitor": Monitor.remote(), "trained": tmp_path / "trained"}  # type: ignore[attr-defined]
    trainer = make_trainer(note_the_start, config.scaling, place(tmp_path / "start"), payload)
    trainer.backend_config = DiesAtStartConfig("gloo", marker=tmp_path / "died")
    trainer.fit()
    assert (tmp_path / "died").exists()
    assert (tmp_path / "trained").exists()


@pytest.mark.slow
def test_what_fails_before_the_first_step_is_told_after_a_few_tries(
    cluster: None, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(shapes, tmp_path, "nothing", scaling={"cpus_per_worker": 0.5})
    monkeypatch.setattr("swav_ray.launch.train._begin", lambda *_: None)  # as on a node without the shared disk
    with pytest.raises(
        RunFailed, match=r"the workers failed 5 times in a row, last with: FileNotFoundError: .*manifest"
    ):
        train(config)


def test_workers_that_leave_no_cpu_for_crops_are_refused_where_none_can_come(
    cluster: None, shapes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tiny(shapes, tmp_path, "full", scaling={"num_workers": (8,)})
    terminal = Terminal(0.0)
    with pytest.raises(ConfigError, match=r"num_workers = 8: 8 workers need 9 CPUs, those for crops included, .* 8$"):
        check_room(config.scaling, terminal, grows=False)
    check_room(config.scaling, terminal, grows=True)
    assert "warning: 8 workers need 9 CPUs" in capfd.readouterr().out
    check_room(ScalingConfig(num_workers=(7,)), terminal, grows=False)
    assert "warning" not in capfd.readouterr().out


def test_a_run_that_waits_for_room_stops_at_once(
    cluster: None,
    shapes: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny(shapes, tmp_path, "waits", scaling={"num_workers": (2, 3), "cpus_per_worker": 5.0})
    untouched = signal.getsignal(signal.SIGINT)

    def begin_and_interrupt(*given: Any) -> None:
        _begin(*given)
        os.kill(os.getpid(), signal.SIGINT)  # sooner, there would be no training to stop

    monkeypatch.setattr("swav_ray.launch.train._begin", begin_and_interrupt)
    assert train(config) is None
    output = capfd.readouterr().out
    assert "warning: 2 workers need" in output
    assert "stopped while there were no workers; the same command resumes" in output
    assert signal.getsignal(signal.SIGINT) == untouched


def test_unreadable_images_are_quarantined_and_past_the_budget_named(cluster: None, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    write_images(folder, 40, broken=(3, 17))
    config = tiny(folder, tmp_path, "bad", data={"uri": str(folder), "max_bad_fraction": 0.1}, train={"epochs": 2})
    assert train(config) is not None
    quarantined = (tmp_path / "bad" / "quarantine.jsonl").read_text()
    assert "003.jpg" in quarantined
    assert "017.jpg" in quarantined
    assert_exactly_once(config, folder, 10)
    strict = replace(config, run={"name": "strict"}, data={"max_bad_fraction": 0.0})
    with pytest.raises(RunFailed, match=r"images cannot be read, data.max_bad_fraction = 0 allows 0: .*\.jpg"):
        train(strict)


def test_a_finished_run_leaves_no_lease_and_no_snapshot_of_ray(undisturbed: Config) -> None:
    left = {path.name for path in (Path(undisturbed.run.storage) / "undisturbed").iterdir()}
    assert {"config.yaml", "summary.json", "checkpoints"} <= left
    assert not left & {"running.json", "ray"}


def test_a_refused_run_leaves_no_directory(cluster: None, shapes: Path, tmp_path: Path) -> None:
    """Whether its data or its machine is refused; a folder that was there before stays."""
    folder = tmp_path / "storage"
    too_large = tiny(shapes, folder / "below", "large", train={"global_batch_size": 80}, queue={"length": 0})
    with pytest.raises(ConfigError, match=r"train\.global_batch_size"):
        train(too_large)
    assert not (folder / "below" / "large").exists()
    folder.mkdir(exist_ok=True)
    nowhere = tiny(tmp_path / "nowhere", folder, "nowhere")
    with pytest.raises(PlaceError, match="does not exist"):
        train(nowhere)
    assert list(folder.glob("nowhere*")) == []
    assert folder.exists()


def test_a_run_starts_from_anothers_weights_and_says_what_it_took(
    undisturbed: Config, shapes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = place(undisturbed.run.storage) / "undisturbed"
    train_section = {"epochs": 1, "init_from": source.uri, "init_trunk_epochs": 1.0}
    config = tiny(shapes, tmp_path, "continued", model={"prototypes": (5,)}, train=train_section)
    summary = train(config)
    out = capfd.readouterr().out
    assert "the projection head is taken\n" in out
    assert "the prototypes begin anew: of another shape: prototypes.weight (6, 8) instead of (5, 8)" in out
    assert summary is not None
    found = summary["knn_top1"]
    assert found["init"] == json.loads((source / "summary.json").read_bytes())["knn_top1"]["trained"]
    assert re.search(r"kNN top-1, the weights that it started from +│ +" + f"{found['init']:.1f}%", out)
