"""Detection on Ray: annotated images and a backbone become an evaluation that trains (see `launch.fit`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray

from swav_ray.evaluate.backbones import PIXELS
from swav_ray.evaluate.detect import protocol as protocols
from swav_ray.evaluate.detect.masks import check_installed
from swav_ray.evaluate.detect.places import of_places
from swav_ray.evaluate.detect.task import DetectFit
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.fit.worker import Saves
from swav_ray.evaluate.results import files as results
from swav_ray.evaluate.results.protocol import Result
from swav_ray.launch import fit
from swav_ray.launch.connect import connect
from swav_ray.launch.evaluate import Request, evaluations_of, loaded_backbone
from swav_ray.launch.signals import Interrupted, StopSignals
from swav_ray.report.terminal import Terminal
from swav_ray.storage.place import Place

_LEAST_SIDE = 32  # pixels: the smallest boxes that are looked for would be less than one


def detect(request: Request, options: Mapping[str, Any], terminal: Terminal) -> Result:
    """Trains a detector and judges it, or resumes it.

    Args:
        request: whose places are those of annotations. options: of the command, see `detect.protocol`.

    Raises:
        EvaluationError, WeightsError, PlaceError, ConfigError: something that was given is wrong.
        RunFailed: it cannot continue. Stopped, Interrupted: a first, a second signal ended it; the same command
            resumes it.
    """
    say = terminal.line
    with StopSignals() as stop:
        try:
            folder, result = _train(request, options, terminal, stop)
        except fit.Stopped:
            raise
        except Interrupted as signal:
            say(f"{signal}: ended at once; the same command resumes")
            raise
    for note in result.notes:
        say(f"note: {note}")
    say(f"results: {folder / results.RESULTS}; picture: {results.PICTURE} beside it")
    return result


def _train(request: Request, options: Mapping[str, Any], terminal: Terminal, stop: StopSignals) -> tuple[Place, Result]:
    """The directory of the evaluation, and its result."""
    made = _fit(request, options, terminal)
    backbone, protocol = made.backbone, made.protocol
    of = Result(
        protocol=protocol,
        backbone=backbone.origin.place,
        weights=backbone.origin.sha256,
        train=made.train.about(),
        val=made.val.about(),
        preprocessing={"mean": backbone.preprocess.mean, "std": backbone.preprocess.std},
        figures={},
    )
    name = f"{protocols.NAME}-{protocol.settings['variant']}"
    folder = evaluations_of(request, backbone) / (
        name if protocol.settings["as published"] else f"{name}-{protocol.digest()}"
    )
    local_ray = connect(request.ray_logs)
    try:
        launch = fit.Launch(
            scaling=options["config"].scaling,
            saves=Saves(seconds=options["save_seconds"]),
            terminal=terminal,
            stop=stop,
            local_ray=local_ray,
        )
        return folder, fit.run(made, folder, of, launch)
    finally:
        if local_ray:
            ray.shutdown()


def _fit(request: Request, options: Mapping[str, Any], terminal: Terminal) -> DetectFit:
    """What is trained, all of its data read and checked."""
    if not request.train:
        raise EvaluationError("--train: is missing; give a COCO JSON file or its folder, or a folder of PASCAL VOC")
    if request.checkpoint.startswith(PIXELS):
        raise EvaluationError(f"{request.checkpoint}: pixels have no layers to train; untrained:C is the baseline here")
    if 0 < options["image_size"] < _LEAST_SIDE:
        raise EvaluationError(f"--image-size {options['image_size']}: must be at least {_LEAST_SIDE} pixels")
    check_installed()
    backbone = loaded_backbone(request, terminal.line)
    terminal.waiting_for("reading annotations: {}")
    train, val = (split.limited(request.limit) for split in of_places(request.train, request.val))
    terminal.line(f"{len(train):,} images to learn from, {len(val):,} to judge by, {len(train.classes)} classes")
    variant = protocols.variant_of(options, train.kind)
    settings = protocols.settings_of(options, variant)
    masks = settings.has_masks and train.has_masks and val.has_masks
    notes = [*train.notes, *val.notes]
    if settings.has_masks and not masks:
        notes.append("not all of the images have masks: only boxes are trained and judged")
    protocol = protocols.protocol(settings, variant, masks=masks)
    if not protocol.settings["as published"]:
        notes.append("not the published protocol: its settings were changed, and its hash with them")
    made = DetectFit(
        protocol=protocol,
        settings=settings,
        backbone=backbone,
        train=train,
        val=val,
        published=protocols.published_figures(variant, val.kind, len(val.classes)),
        max_bad_fraction=options["config"].data.max_bad_fraction,
        notes=notes,
    )
    _ = made.plan  # that it fits its images is told before anything starts
    return made
