"""What a sweep's trials say about its objectives, and what ASHA would have saved: one JSON line from its directory.

`python benchmarks/sweep_objectives.py SWEEP_DIR [--reduction 3] [--grace 1]`

The sweep must have been run with `--scheduler none`, so that every trial has its whole curve. Then:
- each objective's rank correlation (Spearman) with kNN over the finished trials, at their end and halfway;
- ASHA, replayed: its scheduler is fed the curves one trial after the other, as a machine that fits one trial would.
  Images spent and the kNN of what it finds, beside the trials that no scheduler could train with the same images; over
  many orders of the trials, since with one order luck decides.
"""

from __future__ import annotations

import argparse
import json
import types
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from swav_ray.data.storage import place
from swav_ray.launch.tune_search import Asha
from swav_ray.report.sweep import TrialRecord, read_sweep

COLUMNS = ("rankme", "code_agreement", "code_information", "prototype_entropy", "loss")
ORDERS = 200


def correlations(trials: list[TrialRecord], row: int) -> dict[str, list[float]]:
    """Spearman's rho with kNN at a measurement (counted from the end), and its p-value."""
    knn = [trial.rows[row]["knn_top1"] for trial in trials]
    found = {}
    for column in COLUMNS:
        rho, p = spearmanr([trial.rows[row][column] for trial in trials], knn)
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
    parser.add_argument("--grace", type=int, default=1)
    parser.add_argument("--reduction", type=float, default=3)
    words = parser.parse_args()
    sweep = read_sweep(place(words.sweep_dir))
    trials = [trial for trial in sweep.trials if trial.state == "finished"]
    generator = np.random.default_rng(0)
    results = []
    for _ in range(ORDERS):
        order = [trials[index] for index in generator.permutation(len(trials))]
        images, best = asha(order, words.grace, words.reduction)
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
            "share_of_images": round(float(spent) / whole, 3),
            "mean_best_knn": round(float(found), 2),
            "mean_best_knn_without_in_the_same_images": round(float(without), 2),
            "finds_the_best_of_all": round(float(np.mean([best == knn[-1] for _, best, _ in results])), 3),
            "without_finds_it": round(float(np.mean([best == knn[-1] for _, _, best in results])), 3),
        },
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
