"""How well label-free objectives rank trials, and what ASHA would have saved: one JSON line.

`python -m benchmarks.sweep_objectives SWEEP_DIR [--trials 16 --recipe quickstart --section.field VALUE ...]`

Trains random points of tune_spaces/assignment.py to their end, one after the other, in this process and without Ray.
Trials that SWEEP_DIR already has are not trained again, so it resumes. `--trials 0` only reads a sweep that was run
with `--scheduler none`. As in a sweep, a trial that diverges has failed, and a collapsed one ends early. Then:
- each objective's rank correlation (Spearman) with kNN over the finished trials, at their end and halfway;
- ASHA, replayed: its scheduler gets the curves of one trial after the other, as on a machine that fits one trial. The
  images that it spends and the kNN of what it finds, beside what training without a scheduler finds with the same
  images. Over many orders of the trials, since with one order luck decides;
- the fraction of the trials' time that went into decode and crops, which is all that trials could have in common (only
  if this script has trained them).
"""

from __future__ import annotations

import json
import sys
import types
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.parts.sweep_trials import train_trials
from swav_ray import command_line, settings
from swav_ray.command_line import Parser, whole_number
from swav_ray.launch.sweep.choice import default_grace
from swav_ray.launch.sweep.schedulers import Asha
from swav_ray.report.complaint import complain
from swav_ray.report.sweep.record import SweepRecord, TrialRecord, read_sweep
from swav_ray.run.layout import TRIAL, TRIALS
from swav_ray.storage.place import Place, place
from tune_spaces.assignment import SPACE

COLUMNS = ("rankme", "code_agreement", "code_information", "prototype_entropy", "loss")
ORDERS = 200


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


def replay(trials: list[TrialRecord], grace: int, reduction: float) -> dict[str, float]:
    """ASHA over many orders of these trials, beside no scheduler with the same images."""
    generator = np.random.default_rng(0)
    results = []
    for _ in range(ORDERS):
        order = [trials[index] for index in generator.permutation(len(trials))]
        images, best = asha(order, grace, reduction)
        results.append((images, best, same_budget(order, images)))
    whole = sum(trial.rows[-1]["samples_seen"] for trial in trials)
    best_of_all = max(trial.rows[-1]["knn_top1"] for trial in trials)
    spent, found, without = np.mean(results, axis=0)
    return {
        "orders": ORDERS,
        "grace_epochs": grace,
        "share_of_images": round(float(spent) / whole, 3),
        "mean_best_knn": round(float(found), 2),
        "mean_best_knn_without_in_the_same_images": round(float(without), 2),
        "finds_the_best_of_all": round(float(np.mean([best == best_of_all for _, best, _ in results])), 3),
        "without_finds_it": round(float(np.mean([best == best_of_all for _, _, best in results])), 3),
    }


def crops_share(sweep_dir: Place, sweep: SweepRecord) -> dict[str, float]:
    """Fraction of the trials' time that went into decode and crops; empty if it was not measured."""
    abouts = [json.loads((sweep_dir / TRIALS / trial.name / TRIAL).read_bytes()) for trial in sweep.trials]
    timed = [about for about in abouts if "crop_seconds" in about]
    if not timed:
        return {}
    share = sum(about["crop_seconds"] for about in timed) / sum(about["seconds"] for about in timed)
    return {"crops_share_of_time": round(share, 3)}


def compare(sweep_dir: Place, grace: int, reduction: float) -> dict[str, Any]:
    """All figures; raises ValueError if no trial has finished."""
    sweep = read_sweep(sweep_dir)
    trials = [trial for trial in sweep.trials if trial.state == "finished"]
    if not trials:
        raise ValueError(f"{sweep_dir}: none of {len(sweep.trials)} trials has finished: there is nothing to compare")
    knn = sorted(trial.rows[-1]["knn_top1"] for trial in trials)
    middle = -(len(trials[0].rows) // 2) - 1
    return {
        "benchmark": "sweep_objectives",
        "trials": len(trials),
        "left_out": {trial.name: trial.state for trial in sweep.trials if trial.state != "finished"},
        "knn": {"worst": round(knn[0], 1), "median": round(float(np.median(knn)), 1), "best": round(knn[-1], 1)},
        "spearman_with_knn_at_the_end": correlations(trials, -1),
        "spearman_with_knn_halfway": correlations(trials, middle),
        "asha": replay(trials, grace or default_grace(round(trials[0].rows[-1]["epochs"])), reduction),
        **crops_share(sweep_dir, sweep),
    }


def main() -> int:
    parser = Parser(prog="python -m benchmarks.sweep_objectives")
    parser.add_argument("sweep_dir")
    parser.add_argument(
        "--grace", type=int, default=0, help="epochs before ASHA stops a trial; 0: as a sweep's default"
    )
    parser.add_argument("--reduction", type=float, default=3)
    parser.add_argument("--trials", type=whole_number, default=16)
    parser.add_config(default="quickstart")
    try:
        options = command_line.read(parser, sys.argv[1:])
        sweep_dir = place(options.sweep_dir)
        if options.trials:
            torch.set_num_threads(1)
            base = settings.with_values(options.config, {"eval.knn_every_epochs": 1})
            train_trials(sweep_dir, sweep_dir.parent / "manifests", base, SPACE, options.trials)
        print(json.dumps(compare(sweep_dir, options.grace, options.reduction)))
    except (ValueError, OSError) as error:
        return complain(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
