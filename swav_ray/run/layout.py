"""The name of every file that a run, a sweep and a storage hold, once. The names are a format: older runs have them.

STORAGE/
  _data/manifests/           cached manifests      _data/shapes-3/  the built-in data set
  NAME/                      a run
    config.yaml              feeds `--config`; with it the run has begun
    manifest.parquet         the samples
    held_out.parquet         those of them that it does not train on
    environment.json         versions and machines that it was started with
    about.json               architecture, preprocessing and settings, as in the header of model.safetensors
    init.safetensors         the network before the first step, if it starts from given weights
    running.json             who runs it (the lease), while it runs
    metrics.jsonl            a line a step            events/       the same for TensorBoard
    measurements.jsonl       a line for each time that the backbone was measured
    health.jsonl             a line for each observed step: one word, and the figures behind it
    history.jsonl            launches, starts and stops of its workers, remedies
    quarantine.jsonl         unreadable images
    refused/step-000000123/  the first step that was refused: batch, state and random numbers, for `swav_ray.replay`
    checkpoints/step-000000123/   model.safetensors, training.safetensors, meta.json; manifest.json, written last
    evaluations/WEIGHTS/PROTOCOL/results.json     what the weights of that checksum were judged
    ray/                     Ray Train's own snapshot, while it runs
    summary.json             marks the run as finished
    trackers/SERVICE         what a service of `run.trackers` calls the run
    report.html              what it learned, for people; gallery.json: its pictures, cached
  sweeps/NAME/               a sweep
    sweep.yaml manifest.parquet running.json sweep.html best.yaml
    tune/                    Ray Tune's own snapshot
    trials/TRIAL/            a run directory, with trial.json
"""

from __future__ import annotations

import re

from swav_ray.storage.place import Place

# A run directory.
CONFIG = "config.yaml"
MANIFEST = "manifest.parquet"
HELD_OUT = "held_out.parquet"
ABOUT = "about.json"
ENVIRONMENT = "environment.json"
INIT = "init.safetensors"
LEASE = "running.json"
METRICS = "metrics.jsonl"
EVENTS = "events"
MEASUREMENTS = "measurements.jsonl"
HEALTH = "health.jsonl"
HISTORY = "history.jsonl"
QUARANTINE = "quarantine.jsonl"
SUMMARY = "summary.json"
PAGE = "report.html"
GALLERY = "gallery.json"
RAY = "ray"
CHECKPOINTS = "checkpoints"
EVALUATIONS = "evaluations"
REFUSED = "refused"
TRACKERS = "trackers"

# A checkpoint.
MODEL = "model.safetensors"
TRAINING = "training.safetensors"
META = "meta.json"
CHECKPOINT_MANIFEST = "manifest.json"

# An evaluation of a backbone by one protocol.
RESULTS = "results.json"

# A sweep directory, and what its trials have more than other runs.
SWEEP = "sweep.yaml"
BEST = "best.yaml"
SWEEP_PAGE = "sweep.html"
TUNE = "tune"
TRIALS = "trials"
TRIAL = "trial.json"
ORIGIN = "origin.json"  # beside a checkpoint that a trial hands to Tune: whose it is

# A storage.
SWEEPS = "sweeps"
_DATA = "_data"
_MANIFESTS = "manifests"
_SHAPES = "shapes-3"  # with the version of the drawing; 0.1.0 had `shapes`

IN_STORAGE_CACHE = re.compile(rf"(?:^|/){_DATA}/(?:{_MANIFESTS}|shapes(?:-[0-9]+)?)/")
"""Matches the name of a file that a storage holds for all its runs."""


def checkpoint_folder(run_dir: Place, step: int) -> Place:
    """The folder of the checkpoint before a step."""
    return run_dir / CHECKPOINTS / f"step-{step:09d}"


def refused_folder(run_dir: Place, step: int) -> Place:
    """The folder of a step that was refused."""
    return run_dir / REFUSED / f"step-{step:09d}"


def checkpoint_step(name: str) -> int | None:
    """The step of a checkpoint, from the name of its manifest below `checkpoints/`; None for any other file."""
    return step_of_file(name) if name.endswith(f"/{CHECKPOINT_MANIFEST}") else None


def step_of_file(name: str) -> int | None:
    """The step whose checkpoint a file below `checkpoints/` belongs to, whole or not; None if it belongs to none."""
    found = re.fullmatch(r"step-(\d+)/[^/]+", name)
    return int(found[1]) if found else None


def manifest_cache(storage: Place) -> Place:
    """The folder of cached manifests, which all runs of a storage share."""
    return storage / _DATA / _MANIFESTS


def shapes_folder(storage: Place) -> Place:
    """The folder of the built-in data set."""
    return storage / _DATA / _SHAPES
