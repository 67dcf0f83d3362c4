"""What a run does about its health: warn, stop, or go back; the whole worker in this process, judged by a stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from swav_ray import worker
from swav_ray.config import Config
from swav_ray.health import monitor
from swav_ray.health.guard import Collapsed
from swav_ray.health.rules import Evidence, Judgement
from swav_ray.run import layout
from swav_ray.run.events import Events
from swav_ray.run.health_log import HEALTHY, STUCK, read_health
from swav_ray.run.history import read_history
from swav_ray.run.messages import HealthChanged, Remedied, Stopped
from swav_ray.run.metrics_log import read_metrics
from swav_ray.run.state import UNHEALTHY, state_of, why_ended
from swav_ray.storage.place import Place
from swav_ray.training import checkpoint, refusal
from swav_ray.training.control import Request
from swav_ray.training.coordinator import Restart
from tests.in_process import STEPS, InProcess, make_run, run, tiny

RESCUED_BY = 0.01  # the epsilon that the stand-in is content with


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run is stuck after step 2 until its epsilon is low enough. Torch is left as it was."""

    def judge(evidence: Evidence) -> Judgement:
        ill = evidence.step >= 2 and evidence.config.assignment.epsilon > RESCUED_BY
        return Judgement(STUCK, "the loss stays at ln K") if ill else Judgement(HEALTHY)

    monkeypatch.setattr(monitor, "judge", judge)
    monkeypatch.setattr(Events, "write", lambda *_: None)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def run_dir(tmp_path: Path) -> Place:
    return make_run(tmp_path / "run")


def what_to_do(on_collapse: str) -> Config:
    return tiny(health={"on_collapse": on_collapse})


def until_it_ends(config: Config, run_dir: Place, coordinator: InProcess) -> int:
    """Starts the worker as often as it restarts; how often that was."""
    restarts = 0
    while True:
        try:
            worker.run(config, run_dir, coordinator)
        except Restart:
            restarts += 1
            continue
        return restarts


def losses(run_dir: Place) -> list[float]:
    return [record["loss"] for record in read_metrics(run_dir)]


def test_a_run_that_is_to_warn_says_so_and_trains_to_its_end(run_dir: Place) -> None:
    coordinator = run(what_to_do("warn"), run_dir)
    changed = [event for event in coordinator.events if isinstance(event, HealthChanged)]
    assert [(event.step, event.word) for event in changed] == [(0, HEALTHY), (2, STUCK)]
    assert "freeze_prototypes_steps" in changed[1].remedy
    assert [line["word"] for line in read_health(run_dir)] == [HEALTHY, STUCK]
    verdict = json.loads((run_dir / layout.SUMMARY).read_bytes())["verdict"]
    assert (verdict["health"], verdict["word"]) == (STUCK, "nothing")


def test_a_run_that_is_to_stop_ends_with_a_checkpoint_and_one_line(run_dir: Place) -> None:
    coordinator = InProcess(what_to_do("stop"))
    with pytest.raises(Collapsed):
        worker.run(what_to_do("stop"), run_dir, coordinator)
    assert coordinator.reason.startswith("stuck: the loss stays at ln K. try a larger optim.freeze_prototypes_steps")
    assert "\n" not in coordinator.reason
    assert checkpoint.steps(run_dir)[-1] == 3, "before the step after the one that raised the alarm"
    assert not (run_dir / layout.SUMMARY).exists()
    assert state_of(run_dir) == UNHEALTHY
    assert why_ended(read_history(run_dir)) == "stuck: the loss stays at ln K"
    run(what_to_do("warn"), run_dir)
    assert len(losses(run_dir)) == STEPS, "with another setting the same run resumes"


def test_a_remedy_goes_back_with_other_settings_until_one_helps(run_dir: Place, tmp_path: Path) -> None:
    coordinator = InProcess(what_to_do("remedy"))
    assert until_it_ends(what_to_do("remedy"), run_dir, coordinator) == 2
    acts = [entry for entry in read_history(run_dir) if entry["event"] == "remedy"]
    assert [act["changes"] for act in acts] == [{"optim.freeze_prototypes_steps": 3}, {"assignment.epsilon": 0.01}]
    assert [(act["word"], act["step"], act["back_to"]) for act in acts] == [(STUCK, 3, 0)] * 2
    assert len([event for event in coordinator.events if isinstance(event, Remedied)]) == 2
    changed = {"assignment": {"epsilon": 0.01}, "optim": {"freeze_prototypes_steps": 3, "warmup_epochs": 1.0}}
    same = make_run(tmp_path / "same")
    run(tiny(**changed), same)
    assert losses(run_dir) == losses(same), "as if it had begun with them"
    assert json.loads((run_dir / layout.SUMMARY).read_bytes())["verdict"]["health"] == HEALTHY


def test_a_stopped_run_keeps_its_remedies_when_it_resumes(run_dir: Place) -> None:
    config = what_to_do("remedy")
    coordinator = InProcess(config)
    for _ in range(2):
        with pytest.raises(Restart):
            worker.run(config, run_dir, coordinator)
    run(config, run_dir, {4: Request.STOP})
    stopped = losses(run_dir)
    run(config, run_dir)
    assert losses(run_dir)[: len(stopped)] == stopped
    assert len([entry for entry in read_history(run_dir) if entry["event"] == "remedy"]) == 2


def test_a_person_who_stops_a_run_comes_before_a_remedy(run_dir: Place) -> None:
    coordinator = run(what_to_do("remedy"), run_dir, {2: Request.STOP})
    assert coordinator.events[-2:] == [Stopped(3), "saved"]
    assert [entry["event"] for entry in read_history(run_dir)] == ["claim", "start", "stop"]


def test_a_run_that_no_remedy_helps_ends_with_one_line(run_dir: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "judge", lambda _: Judgement(STUCK, "it is"))
    coordinator = InProcess(what_to_do("remedy"))
    with pytest.raises(Collapsed):
        until_it_ends(what_to_do("remedy"), run_dir, coordinator)
    assert coordinator.reason.startswith("no remedy is left: stuck: it is.")


def test_a_run_that_diverges_goes_back_too(run_dir: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "judge", lambda _: Judgement(HEALTHY))
    whole = refusal.most_loss

    def most_loss(config: Config) -> float:
        return -1.0 if config.assignment.epsilon > RESCUED_BY else whole(config)

    monkeypatch.setattr(refusal, "most_loss", most_loss)
    config = tiny(health={"on_collapse": "remedy"}, train={"epochs": 2, "max_refused_steps": 1})
    assert until_it_ends(config, run_dir, InProcess(config)) == 3
    acts = [entry for entry in read_history(run_dir) if entry["event"] == "remedy"]
    assert [(act["word"], act["step"], act["back_to"]) for act in acts] == [("diverging", 2, 0)] * 3
    assert acts[0]["name"] == "lower the rate"
    assert len(losses(run_dir)) == STEPS


def test_watching_moves_no_loss(run_dir: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tiny(), run_dir)
    unwatched = make_run(tmp_path / "unwatched")
    monkeypatch.setattr("swav_ray.health.guard.Guard.watch", lambda *_: None)
    run(tiny(), unwatched)
    assert losses(run_dir) == losses(unwatched)
    assert read_health(unwatched) == []
