"""How well label-free objectives rank trials, and what ASHA would have saved: one JSON line.

`python -m benchmarks.sweep_objectives SWEEP_DIR [--trials 16 --recipe quickstart --section.field VALUE ...]`

Trains random points of tune_spaces/assignment.py to their end, one after the other, in this process and without Ray:
the same crops, steps and measurements as a sweep's trials, without the start of their workers. Trials that SWEEP_DIR
already has are kept, so it goes on where it was stopped, and `--trials 0` only reads a sweep that was run with
`--scheduler none`. As in a sweep a trial that diverges has failed, and a collapsed one ends early. Then:
- each objective's rank correlation (Spearman) with kNN over the finished trials, at their end and halfway;
- ASHA, replayed: its scheduler is fed the curves one trial after the other, as a machine that fits one trial would.
  Images spent and the kNN of what it finds, beside the trials that no scheduler could train with the same images; over
  many orders of the trials, since with one order luck decides;
- the share of the trials' time that went into decode and crops, which is all that trials could share (only where this
  script has trained them).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from scipy.stats import spearmanr

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.data import manifest as manifests
from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.holdout import split
from swav_ray.data.manifest import Manifest
from swav_ray.data.quarantine import Quarantine
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.evaluate import label_free
from swav_ray.evaluate.collapse import collapsed, grace_steps, uniform_loss
from swav_ray.evaluate.probe import knn
from swav_ray.launch.dataset import images_of
from swav_ray.launch.sweep.choice import default_grace
from swav_ray.launch.sweep.schedulers import Asha
from swav_ray.launch.sweep.space import Values, check, config_of, describe, draw
from swav_ray.launch.sweep.trial import TrialCollapsed
from swav_ray.model.swav import Trunk
from swav_ray.recipes import RECIPES
from swav_ray.report.sweep.record import TrialRecord, read_sweep
from swav_ray.run import measurements
from swav_ray.run.layout import CONFIG, SWEEP, TRIAL, TRIALS
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import place
from swav_ray.training.control import Request
from swav_ray.training.distributed import World
from swav_ray.training.learner import Diverged, Learner
from swav_ray.training.loop import Hooks, train
from tune_spaces.assignment import SPACE

COLUMNS = ("rankme", "code_agreement", "code_information", "prototype_entropy", "loss")
ORDERS = 200


def train_trials(sweep_dir: Path, base: Config, count: int) -> None:
    """Trains what is missing of `count` random points, writing what a sweep's trials leave behind."""
    manifest = manifests.load_or_build(images_of(base), place(sweep_dir.parent / "manifests"))
    train_ids, _ = split(manifest, base.data)

    def accept(values: Values) -> Config:
        return check(config_of(base, values), len(train_ids), base)

    points = draw(SPACE, accept, count, seed=0)
    search = {"objective": ["knn"], "searcher": "random", "scheduler": "none", "num_samples": count}
    search |= {"grace_epochs": default_grace(base.train.epochs), "seed": 0, "space": describe(SPACE)}
    document = {"search": search, "seconds": 0.0}
    place(sweep_dir / SWEEP).write_bytes(yaml.safe_dump(document, sort_keys=False).encode())
    for number, values in enumerate(points.values):
        run_dir = sweep_dir / TRIALS / f"t_{number:03d}"
        if not (run_dir / TRIAL).exists():
            train_one(run_dir, config_of(base, values), values, manifest)


def train_one(run_dir: Path, config: Config, values: Values, manifest: Manifest) -> None:
    """One trial, measured every epoch; trial.json, which says that it is done, is written last."""
    began, where = time.monotonic(), place(run_dir)
    train_ids, held_out = split(manifest, config.data)
    plan = SamplePlan(train_ids, config.run.seed, config.train.global_batch_size)
    maker = BatchMaker(manifest, plan, MultiCrop(config.crops, config.augment, config.run.seed))
    learner = Learner(config, plan.steps_per_epoch)
    end = config.train.epochs * plan.steps_per_epoch
    ln_k, grace = uniform_loss(config.model), grace_steps(config.optim, plan.steps_per_epoch)
    losses: list[float] = []
    crop_seconds = 0.0

    def feed() -> Iterator[Batch]:
        nonlocal crop_seconds
        for step, ids in enumerate(plan.batches(0, end)):
            started = time.monotonic()
            batch = maker.make(step, ids)
            crop_seconds += time.monotonic() - started
            yield batch

    def measure(step: int) -> float:
        cpu, world = torch.device("cpu"), World()
        trunk = {"trained": Trunk(learner.model)}
        top1 = knn(trunk, manifest, train_ids, held_out, config.eval, device=cpu, world=world)["trained"]
        row = {"step": step, "epochs": step / plan.steps_per_epoch, "samples_seen": step * plan.global_batch_size}
        row |= {"loss": float(np.mean(losses)) if losses else None, "knn_top1": top1}
        losses.clear()
        row |= label_free.measure(learner.model, manifest, train_ids, config.eval, device=cpu)
        measurements.append(where, row)
        if why := collapsed(measurements.read(where), ln_k, grace):
            raise TrialCollapsed(why)
        return top1

    def record(step: StepRecord) -> None:
        if step.loss is not None:  # None: the step was refused
            losses.append(step.loss)

    measurements.keep_until(where, 0)
    hooks = Hooks(
        record=record,
        save=lambda *_: None,
        evaluate=measure,
        request=lambda: Request.NONE,
        poll=lambda: None,
        ready=lambda _: True,
        usage=dict,
        quarantine=Quarantine(where, len(train_ids), 0.0, writes=True),
    )
    state, reason = "finished", ""
    try:
        train(learner, feed(), hooks, start=0, end=end)
        measure(end)
    except TrialCollapsed as error:
        state, reason = "collapsed", str(error)
    except (Diverged, FloatingPointError) as error:
        state, reason = "failed", str(error)
    (where / CONFIG).write_bytes(settings.to_yaml(config).encode())
    about = {"trial": run_dir.name, "generation": 0, "values": values, "origin": None, "reason": reason}
    about |= {"state": state, "seconds": time.monotonic() - began}
    about["crop_seconds"] = crop_seconds
    (where / TRIAL).write_bytes(json.dumps(about, indent=1).encode())
    rows = measurements.read(where)
    figure = f"kNN {rows[-1]['knn_top1']:.1f}" if rows else "not measured"
    print(f"{run_dir.name}: {values}: {figure}, {state} {reason}", file=sys.stderr)


def correlations(trials: list[TrialRecord], row: int) -> dict[str, list[float]]:
    """Spearman's rho with kNN at a measurement (counted from the end), and its p-value."""
    found = {}
    for column in COLUMNS:
        rows = [trial.rows[row] for trial in trials if trial.rows[row][column] is not None]
        rho, p = spearmanr([row[column] for row in rows], [row["knn_top1"] for row in rows])
        found[column] = [round(float(rho), 2), round(float(p), 3)]
    return found


def asha(trials: list[TrialRecord], grace: int, reduction: float) -> tuple[float, float]:
    """Images that ASHA spends on these trials one after the other, and the best kNN of those that it lets finish."""
    epochs = max(row["epochs"] for trial in trials for row in trial.rows)
    scheduler = Asha(time_attr="epochs", max_t=round(epochs), grace_period=grace, reduction_factor=reduction)
    scheduler.set_search_properties("knn_top1", "max")
    images, best = 0.0, 0.0
    for trial in trials:
        stand_in: Any = types.SimpleNamespace(trial_id=trial.name, status="RUNNING", last_result={})
        scheduler.on_trial_add(None, stand_in)
        for row in trial.rows:
            stopped = scheduler.on_trial_result(None, stand_in, row) == "STOP" and row is not trial.rows[-1]
            if stopped:
                break
        else:
            best = max(best, trial.rows[-1]["knn_top1"])
        images += row["samples_seen"]
    return images, best


def same_budget(trials: list[TrialRecord], images: float) -> float:
    """The best kNN of the trials that can be trained to the end, in order, with so many images; the last is cut."""
    best = 0.0
    for trial in trials:
        images -= trial.rows[-1]["samples_seen"]
        if images < 0:
            break
        best = max(best, trial.rows[-1]["knn_top1"])
    return best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sweep_dir")
    parser.add_argument(
        "--grace", type=int, default=0, help="epochs before ASHA stops a trial; 0: as a sweep's default"
    )
    parser.add_argument("--reduction", type=float, default=3)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--recipe", default="quickstart")
    words, rest = parser.parse_known_args()
    if words.trials:
        torch.set_num_threads(1)
        base = settings.with_values(RECIPES[words.recipe](), {"eval.knn_every_epochs": 1})
        base = settings.with_values(base, settings.parse_arguments(rest))
        train_trials(Path(words.sweep_dir), base, words.trials)
    sweep = read_sweep(place(words.sweep_dir))
    trials = [trial for trial in sweep.trials if trial.state == "finished"]
    if not trials:
        sys.exit(f"{words.sweep_dir}: none of {len(sweep.trials)} trials has finished, so there is nothing to compare")
    grace = words.grace or default_grace(round(trials[0].rows[-1]["epochs"]))
    generator = np.random.default_rng(0)
    results = []
    for _ in range(ORDERS):
        order = [trials[index] for index in generator.permutation(len(trials))]
        images, best = asha(order, grace, words.reduction)
        results.append((images, best, same_budget(order, images)))
    whole = sum(trial.rows[-1]["samples_seen"] for trial in trials)
    spent, found, without = np.mean(results, axis=0)
    knn = sorted(trial.rows[-1]["knn_top1"] for trial in trials)
    middle = -(len(trials[0].rows) // 2) - 1
    figures = {
        "benchmark": "sweep_objectives",
        "trials": len(trials),
        "left_out": {t.name: t.state for t in sweep.trials if t.state != "finished"},
        "knn": {"worst": round(knn[0], 1), "median": round(float(np.median(knn)), 1), "best": round(knn[-1], 1)},
        "spearman_with_knn_at_the_end": correlations(trials, -1),
        "spearman_with_knn_halfway": correlations(trials, middle),
        "asha": {
            "orders": ORDERS,
            "grace_epochs": grace,
            "share_of_images": round(float(spent) / whole, 3),
            "mean_best_knn": round(float(found), 2),
            "mean_best_knn_without_in_the_same_images": round(float(without), 2),
            "finds_the_best_of_all": round(float(np.mean([best == knn[-1] for _, best, _ in results])), 3),
            "without_finds_it": round(float(np.mean([best == knn[-1] for _, _, best in results])), 3),
        },
    }
    about = [json.loads(path.read_bytes()) for path in sorted(Path(words.sweep_dir).glob("trials/*/trial.json"))]
    if timed := [trial for trial in about if "crop_seconds" in trial]:
        share = sum(trial["crop_seconds"] for trial in timed) / sum(trial["seconds"] for trial in timed)
        figures["crops_share_of_time"] = round(share, 3)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
