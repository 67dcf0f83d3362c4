"""The services' real libraries without a network: MLflow's database, and what W&B and Comet keep to be uploaded."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from swav_ray.report.trackers.process import Home, RemoteService
from swav_ray.report.trackers.services import Point, Run
from tests.report.trackers.mlflow_database import Database

SETTINGS = {"optim.base_lr": 2.0, "model.prototypes": [100], "run.name": "mine"}
POINTS = [Point(step, 1e9 + step, {"train/loss": 3.0 - step, "train/lr": 0.5}) for step in range(3)]


def opened(name: str, run: Run) -> RemoteService:
    service = RemoteService(name, Home.here())
    service.open(run)
    return service


def filled(name: str, folder: Path) -> RemoteService:
    page = folder / "report.html"
    page.write_text("<p>what it learned</p>")
    service = opened(name, Run("mine", SETTINGS))
    service.log(POINTS)
    service.log([])
    service.note("health", "healthy")
    service.end("finished", page)
    service.kill()
    return service


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "shapes")
    monkeypatch.chdir(tmp_path)
    return Database(tmp_path / "mlflow.db")


def test_mlflow(tmp_path: Path, mlflow: Database) -> None:
    service = filled("mlflow", tmp_path)
    assert service.where == f"run {service.id} in sqlite:///{tmp_path}/mlflow.db"
    assert mlflow.rows("select run_uuid, name, status from runs") == [(service.id, "mine", "FINISHED")]
    assert ("shapes",) in mlflow.rows("select name from experiments")
    assert ("model.prototypes", "[100]") in mlflow.rows("select key, value from params")
    tags = dict(mlflow.rows("select key, value from tags"))
    assert (tags["health"], tags["state"]) == ("healthy", "finished")
    losses = "select step, value, timestamp from metrics where key = 'train/loss' order by step, value"
    assert mlflow.rows(losses) == [(0, 3.0, 10**12), (1, 2.0, 10**12 + 1000), (2, 1.0, 10**12 + 2000)]
    (page,) = tmp_path.glob("mlruns/*/*/artifacts/report.html")
    assert "what it learned" in page.read_text()
    # A run that resumes has the same settings, and figures that were sent before may come again.
    again = opened("mlflow", Run("mine", SETTINGS, service.id))
    again.log([POINTS[-1], Point(3, 1e9 + 3, {"train/loss": 0.5})])
    assert mlflow.rows("select status from runs") == [("RUNNING",)]
    again.end("stopped", None)
    again.kill()
    assert mlflow.rows("select status from runs") == [("KILLED",)]
    assert mlflow.rows("select value from latest_metrics where key = 'train/loss'") == [(0.5,)]


def test_mlflow_takes_more_settings_and_figures_than_fit_a_request(mlflow: Database) -> None:
    service = opened("mlflow", Run("mine", {f"a.b{number}": number for number in range(250)}))
    service.log([Point(step, 1e9, {"x": step, "y": step}) for step in range(700)])
    service.kill()
    assert mlflow.rows("select count(*) from params") == [(250,)]
    assert mlflow.rows("select key, count(*), max(value) from metrics group by key") == [
        ("x", 700, 699),
        ("y", 700, 699),
    ]


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    service = filled("wandb", tmp_path)
    (file,) = tmp_path.glob(f"wandb/offline-run-*-{service.id}/run-{service.id}.wandb")
    assert service.where == f"run {service.id} in {file.parent}, for `wandb sync`"
    written = file.read_bytes()
    for text in (b"train/loss", b"optim.base_lr", b"healthy", b"finished"):
        assert text in written
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/html/page_*.html"))


def test_comet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMET_START_ONLINE", "0")
    monkeypatch.setenv("COMET_OFFLINE_DIRECTORY", str(tmp_path / "comet"))
    service = filled("comet", tmp_path)
    assert service.where == f"run {service.id} in a file, for `comet upload`"
    (archive,) = (tmp_path / "comet").glob(f"{service.id}*.zip")
    with zipfile.ZipFile(archive) as found:
        written = b"".join(found.read(name) for name in found.namelist())
    for text in (b"train/loss", b"optim.base_lr", b"healthy", b"finished", b"what it learned"):
        assert text in written
