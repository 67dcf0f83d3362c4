"""Sweeps through real Ray on two CPUs: refused, stopped, collapsed, failed, killed and resumed, copied weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

from swav_ray import settings
from swav_ray.config import Config, ConfigError, replace
from swav_ray.launch.sweep.choice import concurrency
from swav_ray.launch.sweep.space import Values
from swav_ray.launch.sweep.sweep import sweep
from swav_ray.launch.workers import make_trainer
from swav_ray.report.sweep.record import SweepRecord, TrialRecord, read_sweep
from swav_ray.run import measurements
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from tests.launch.conftest import tiny

# Whole sweeps, a quarter of an hour and more: with -m slow.
pytestmark = [pytest.mark.ray, pytest.mark.slow]
EPOCHS = 4
STEPS = 9


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    """As small as a machine gets: a training worker and one task. The GPU is a number that nothing uses."""
    ray.init(
        address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    yield
    ray.shutdown()


def recipe(images: Path, storage: Path, **sections: dict[str, object]) -> Config:
    """A net that hardly learns, so that what a trial is worth is decided by its width and not by luck."""
    config = tiny(images, storage, "tiny")
    base = replace(
        config,
        model={"prototypes": (4,)},
        queue={"length": 0, "start_epoch": 0},
        optim={"base_lr": 1e-6, "final_lr": 0.0, "start_warmup_lr": 0.0, "freeze_prototypes_steps": 30},
        train={"epochs": EPOCHS},
        eval={"label_free_images": 64},
        scaling={"device": "cpu"},
        checkpoint={"keep_last": 20},
    )
    return replace(base, **sections)


KINDS: dict[str, dict[str, Any]] = {
    "wide": {"model.width": 0.25},
    "narrow": {"model.width": 0.05},
    "diverges": {"optim.base_lr": 1e30},
    # So hot that every prototype is predicted alike: the loss is ln K from the first step. Long, since it trains on
    # while its measurements are looked at.
    "flat": {
        "train.temperature": 1e6,
        "train.epochs": 40,
        "optim.freeze_prototypes_steps": 0,
        "optim.warmup_epochs": 0.0,
    },
    "no such queue": {"queue.length": 3},
}


def translate(values: Values, _: Config) -> dict[str, Any]:
    return KINDS[values["kind"]]


def four_kinds(images: Path, storage: Path) -> tune.ResultGrid:
    return sweep(
        recipe(images, storage),
        {"kind": tune.grid_search(list(KINDS))},
        name="kinds",
        objective="rankme",
        searcher="grid",
        scheduler="asha",
        grace_epochs=2,  # a collapse takes two measurements to show; after one ASHA would already have stopped it
        translate=translate,
    )


def placement_groups() -> list[dict[str, Any]]:
    return [group for group in ray.util.placement_group_table().values() if group["state"] != "REMOVED"]


class Outcome:
    """A sweep whose process is killed in its second trial, and what it is once it was run again."""

    def __init__(self, images: Path, storage: Path) -> None:
        self._images, self._storage = images, storage
        code = "from pathlib import Path\nfrom tests.launch.sweep.test_sweep import four_kinds\n"
        code += f"four_kinds(Path({str(images)!r}), "
        command = [sys.executable, "-u", "-c", code + f"Path({str(storage)!r}))"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ.copy()
        )
        assert process.stdout is not None
        self.first: list[str] = []
        self.second = ""
        for line in process.stdout:
            self.first.append(line)
            if "starts:" in line and not self.second:
                self.second = self._refused()
            if "epoch 1:" in line and sum("starts:" in said for said in self.first) == 2:
                process.send_signal(signal.SIGKILL)
                break
        process.wait(timeout=60)
        process.stdout.close()
        assert process.returncode == -signal.SIGKILL, "".join(self.first)
        self.sweep_dir = place(storage) / "sweeps" / "kinds"
        self.killed = read_sweep(self.sweep_dir)
        self.before = self._log().stat()

    def _refused(self) -> str:
        """What the same sweep says while this one runs."""
        try:
            four_kinds(self._images, self._storage)
        except ConfigError as error:
            return str(error)
        return "was let in"

    def resume(self) -> None:
        self.results = four_kinds(self._images, self._storage)
        self.after = self._log().stat()
        self.found = read_sweep(self.sweep_dir)

    def _log(self) -> Place:
        return self.sweep_dir / "trials" / self.trial("wide", self.killed).name / "metrics.jsonl"

    def trial(self, kind: str, of: SweepRecord | None = None) -> TrialRecord:
        (trial,) = [trial for trial in (of or self.found).trials if trial.values["kind"] == kind]
        return trial


@pytest.fixture(scope="module")
def killed(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return Outcome(shapes, tmp_path_factory.mktemp("sweeps"))


@pytest.fixture(scope="module")
def outcome(killed: Outcome, two_cpus: None) -> Outcome:
    killed.resume()
    return killed


def test_a_mix_that_cannot_be_is_refused_before_any_trial(outcome: Outcome) -> None:
    first_start = next(number for number, line in enumerate(outcome.first) if "starts:" in line)
    assert any("refused: queue.length = 3: must be 0 or at least" in line for line in outcome.first[:first_start])
    assert {trial.values["kind"] for trial in outcome.found.trials} == {"wide", "narrow", "diverges", "flat"}


def test_while_a_sweep_lives_another_of_its_name_is_refused(outcome: Outcome) -> None:
    assert outcome.second.startswith("name = 'kinds': is running already (process ")


def test_a_killed_sweep_resumes_with_the_same_trials(outcome: Outcome) -> None:
    assert outcome.trial("wide", outcome.killed).state == "finished"
    assert outcome.trial("narrow", outcome.killed).state == "running"
    assert outcome.before == outcome.after  # what was finished is not trained again
    assert outcome.trial("narrow").name == outcome.trial("narrow", outcome.killed).name
    assert outcome.trial("narrow").rows[0] == outcome.trial("narrow", outcome.killed).rows[0]
    assert len(outcome.results) == 4


def test_a_trial_that_lags_is_stopped_early_and_the_other_trains_to_the_end(outcome: Outcome) -> None:
    """ASHA knows the rungs of the trial that was finished before the sweep was killed."""
    wide, narrow = outcome.trial("wide"), outcome.trial("narrow")
    assert wide.state == "finished"
    assert [row["epochs"] for row in wide.rows] == [1, 2, 3, 4]
    assert narrow.state == "stopped"
    (last,) = [found.metrics for found in outcome.results if found.config and found.config["kind"] == "narrow"]
    assert last is not None
    assert last["epochs"] < EPOCHS  # at the time of the decision; it trains on until it is stopped
    assert outcome.found.best == wide


def test_a_collapsed_trial_ends_early_and_has_no_score(outcome: Outcome) -> None:
    flat = outcome.trial("flat")
    assert flat.state == "collapsed"
    assert "the loss is stuck at 1.386, ln K is 1.386" in flat.reason
    assert 2 <= len(flat.rows) < 40
    assert flat not in outcome.found.ranked()


def test_a_failed_trial_says_why_and_does_not_end_the_sweep(outcome: Outcome) -> None:
    diverges = outcome.trial("diverges")
    assert diverges.state == "failed"
    assert "not finite" in diverges.reason
    assert len(outcome.results.errors) == 2


def test_trials_leave_no_placement_group_and_every_cpu_free(outcome: Outcome) -> None:
    assert placement_groups() == []
    assert ray.available_resources()["CPU"] == 2


def test_the_best_config_is_one_that_pretrain_takes(outcome: Outcome, capfd: pytest.CaptureFixture[str]) -> None:
    from swav_ray.pretrain import parse

    file = outcome.sweep_dir / "best.yaml"
    config = parse(["--config", str(file)])
    assert config.model.width == 0.25
    assert config.eval == replace(config, eval={"label_free_images": 64, "knn_every_epochs": 2}).eval
    assert config.run.name == "kinds_best"
    assert config.run.storage == str(outcome.sweep_dir.parent.parent)


def test_the_page_and_its_pictures_are_there(outcome: Outcome) -> None:
    page = (outcome.sweep_dir / "sweep.html").read_bytes().decode()
    for word in ("1 finished, 1 stopped, 1 collapsed, 1 failed", "best.yaml", "data:image/png;base64,", "ln K"):
        assert word in page, word
    for name in ("sweep_curves", "sweep_cost", "sweep_parallel"):
        assert (outcome.sweep_dir / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_another_sweep_of_that_name_is_refused_by_what_differs(outcome: Outcome, shapes: Path) -> None:
    storage = outcome.sweep_dir.parent.parent.local_path
    with pytest.raises(ConfigError, match=r"search num_samples = 1: the sweep in .* began with 4"):
        sweep(
            recipe(shapes, storage),
            {"kind": tune.grid_search(["wide"])},
            name="kinds",
            objective="rankme",
            searcher="grid",
            translate=translate,
        )


def test_population_based_training_copies_the_weights_of_the_better_trial(
    two_cpus: None, shapes: Path, tmp_path: Path
) -> None:
    """Two trials that take turns; the one that lags continues from the other's weights, in a new run directory."""
    base = recipe(shapes, tmp_path, optim={"warmup_epochs": 0.0, "base_lr": 1.0})
    sweep(
        base,
        {"optim.base_lr": tune.grid_search([1e-6, 2.0])},
        name="pbt",
        objective="rankme",
        searcher="grid",
        scheduler="pbt",
        grace_epochs=1,
    )
    trials = tmp_path / "sweeps" / "pbt" / "trials"
    found = read_sweep(place(tmp_path / "sweeps" / "pbt"))
    assert [trial.state for trial in found.trials] == ["finished", "finished"]
    copies = sorted(folder.name for folder in trials.iterdir() if "-g" in folder.name)
    steps = EPOCHS * STEPS
    # On a fast machine the source may be at its end when it is copied; tests/test_worker.py has copies of either kind.
    assert copies
    for copy in (place(trials / name) for name in copies):
        origin = json.loads((copy / "trial.json").read_bytes())["origin"]
        source, step = place(origin["run_dir"]), origin["step"]
        assert source.name.partition("-g")[0] != copy.name.partition("-g")[0]
        weights, original = checkpoint.load(copy, step).model, checkpoint.load(source, step).model
        assert weights.keys() == original.keys()
        assert all(tensor.equal(original[name]) for name, tensor in weights.items())
        # Trained from there on, unless the other was at its end; what was measured before the first step is what the
        # source's weights are worth.
        assert [row["step"] for row in read_metrics(copy)[:1]] == ([step] if step < steps else [])
        both = [{row["step"]: row["rankme"] for row in measurements.read(run)} for run in (copy, source)]
        assert both[0].get(step) == both[1].get(step)
    assert settings.from_yaml((copy / "config.yaml").read_bytes().decode(), base, "x").run.name == copy.name
    assert placement_groups() == []


def test_what_fits_decides_how_many_trials_run_at_once(two_cpus: None, shapes: Path, tmp_path: Path) -> None:
    config = recipe(shapes, tmp_path)
    assert concurrency(config, 0, grows=False, warn=pytest.fail) == 1
    with pytest.raises(ConfigError, match=r"concurrent = 2: must be 0 .* or at most 1"):
        concurrency(config, 2, grows=False, warn=pytest.fail)
    with pytest.raises(ConfigError, match=r"cpus_per_worker = 2.0: a trial needs 3 CPUs .* the cluster has 2"):
        concurrency(replace(config, scaling={"cpus_per_worker": 2.0}), 0, grows=False, warn=pytest.fail)


def test_a_part_of_a_gpu_lets_trials_share_it(two_cpus: None, shapes: Path, tmp_path: Path) -> None:
    small = {"device": "gpu", "cpus_per_worker": 0.25}
    whole = recipe(shapes, tmp_path, scaling=small)
    half = replace(whole, scaling={"gpus_per_worker": 0.5, "cpus_per_worker": 0.01})
    assert concurrency(whole, 0, grows=False, warn=pytest.fail) == 1
    assert (
        make_trainer(print, half.scaling, place(tmp_path), {"monitor": None}).scaling_config.resources_per_worker["GPU"]
        == 0.5
    )
    with pytest.raises(ConfigError, match=r"gpus_per_worker = 0.5: must be 1 if scaling.num_workers is above 1"):
        replace(half, scaling={"num_workers": (2,)})
