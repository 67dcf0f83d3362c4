"""An evaluation on Ray: features of both splits once, then the protocol on them, and what it says on disk."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import ray
import torch

from swav_ray.evaluate.backbones import PIXELS, UNTRAINED, backbone_of
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.labelled import check
from swav_ray.evaluate.features.splits import Split, of_places, of_places_with_sets, of_run
from swav_ray.evaluate.fit.classify.material import Material
from swav_ray.evaluate.fit.worker import Saves
from swav_ray.evaluate.protocols import ON_FEATURES, ON_IMAGES
from swav_ray.evaluate.results import files as results
from swav_ray.evaluate.results.judged import Given
from swav_ray.evaluate.results.protocol import Protocol, Result
from swav_ray.features.embedding import FLOAT32, crops_of
from swav_ray.launch import fit
from swav_ray.launch.connect import connect
from swav_ray.launch.features import labelled
from swav_ray.launch.signals import Interrupted, StopSignals
from swav_ray.report.terminal import Terminal
from swav_ray.run import layout
from swav_ray.storage.place import Place, place
from swav_ray.weights.backbone import Backbone

FEATURES = "features"

_THREADS = 4  # that decode
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a command asks for.

    Attributes:
        checkpoint: see `backbones.backbone_of`. which: "newest" or "best" of a run's checkpoints.
        train, val, labels: places, see `splits.of_places`; all empty: what the checkpoint's run trained on, held out.
        image_size, prefix: as for `load_backbone`; 0 and empty: not given.
        out: folder of the backbone's evaluations; empty: `evaluations` in the run directory, or in the storage.
        storage: where manifests are cached. limit: most images of a split, 0: all.
        precision: of frozen features, as of `embedding.embed`.
        ray_logs: show Ray's own messages.
    """

    checkpoint: str
    which: str = "newest"
    train: str = ""
    val: str = ""
    labels: str = ""
    image_size: int = 0
    prefix: str = ""
    out: str = ""
    storage: str = "runs"
    limit: int = 0
    precision: str = FLOAT32
    ray_logs: bool = False


def evaluate(
    name: str, request: Request, say: Callable[[str], None], *, flag: str = "", sparing: bool = False
) -> Result:
    """Runs a protocol on frozen features, which are extracted unless they are there already.

    Args:
        name: one of `protocols.ON_FEATURES`. flag: one of its flags, or empty.
        say: is given lines for the user.
        sparing: refuse what would take long and says little: classifiers of label sets if each image has one label.

    Raises:
        EvaluationError, WeightsError, PlaceError, ConfigError: something that was given is wrong.
    """
    protocol = ON_FEATURES[name].flags[flag] if flag else ON_FEATURES[name]
    backbone = loaded_backbone(request, say)
    train, val, notes = _splits(request, backbone, protocol.labels, say)
    if sparing and protocol.labels == "sets" and not train.has_sets:
        raise EvaluationError(f"each image has one label; {name} by itself would judge them as well")
    folder = evaluations_of(request, backbone) / protocol.protocol.name
    result = _of(protocol.protocol, backbone, train, val)
    if request.precision != FLOAT32:
        result = replace(result, preprocessing={**result.preprocessing, "precision": request.precision})
    found = results.read(folder)
    if found is not None and not results.is_of(found, result):
        raise EvaluationError(f"{folder}: holds the result of another evaluation; give another --out or delete it")
    own = connect(request.ray_logs)
    try:
        features = folder.parent / FEATURES
        first, second = labelled(backbone, [train, val], features, _Progress(say), request.precision)
    finally:
        if own:
            ray.shutdown()
    notes += check(first, second, labelled=protocol.labels != "none")
    given = Given(
        train=first,
        val=second,
        backbone=backbone,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        manifest=val.manifest,
        crops=lambda ids: crops_of(val.manifest, ids, backbone.preprocess.image_size, _THREADS)[0],
    )
    judged = protocol.run(given)
    notes += judged.notes
    result = replace(result, figures=judged.figures, correct=judged.correct, draws=judged.draws, notes=notes)
    results.write(folder, result)
    (folder / results.PICTURE).write_bytes(judged.picture)
    for note in notes:
        say(f"note: {note}")
    say(f"results: {folder / layout.RESULTS}; picture: {results.PICTURE} beside it")
    return result


def train(name: str, request: Request, options: Mapping[str, Any], terminal: Terminal) -> Result:
    """Runs a protocol that trains, or resumes it.

    Args:
        name: one of `protocols.ON_IMAGES`.
        options: of the command, the protocol's own among them.

    Raises:
        EvaluationError, WeightsError, PlaceError, ConfigError: something that was given is wrong.
        RunFailed: it cannot continue. Interrupted: a signal stopped it; the same command resumes it.
    """
    say = terminal.line
    with StopSignals() as stop:
        try:
            folder, result = _train(name, request, options, terminal, stop)
        except fit.Stopped:
            raise
        except Interrupted as signal:
            say(f"{signal}: ended at once; the same command resumes")
            raise
    for note in result.notes:
        say(f"note: {note}")
    say(f"results: {folder / layout.RESULTS}; picture: {results.PICTURE} beside it")
    return result


def _train(
    name: str, request: Request, options: Mapping[str, Any], terminal: Terminal, stop: StopSignals
) -> tuple[Place, Result]:
    """The directory of a protocol that trains, and its result."""
    protocol, config = ON_IMAGES[name].protocol(options), options["config"]
    backbone = loaded_backbone(request, terminal.line)
    learn, judge, notes = _splits(request, backbone, "one", terminal.line)
    of = replace(_of(protocol, backbone, learn, judge), notes=notes)
    base = evaluations_of(request, backbone)
    folder = base / (name if protocol.settings["as published"] else f"{name}-{protocol.digest()}")
    local_ray = connect(request.ray_logs)
    try:
        material = Material(
            backbone=backbone,
            train=learn,
            val=judge,
            features=lambda splits: labelled(backbone, splits, base / FEATURES, _Progress(terminal.line)),
            config=config,
        )
        made = ON_IMAGES[name].fit(options, material)
        launch = fit.Launch(
            scaling=config.scaling,
            saves=Saves(seconds=options["save_seconds"]),
            terminal=terminal,
            stop=stop,
            local_ray=local_ray,
        )
        return folder, fit.run(made, folder, of, launch)
    finally:
        if local_ray:
            ray.shutdown()


def loaded_backbone(request: Request, say: Callable[[str], None]) -> Backbone:
    """What is judged; what it is is said."""
    chosen = {"which": request.which, "prefix": request.prefix or None, "image_size": request.image_size or None}
    backbone = backbone_of(request.checkpoint, **chosen)
    for line in backbone.describe().splitlines()[:2]:
        say(line)
    return backbone


def _of(protocol: Protocol, backbone: Backbone, train: Split, val: Split) -> Result:
    """What is judged, without figures."""
    return Result(
        protocol=protocol,
        backbone=backbone.origin.place,
        weights=backbone.origin.sha256,
        train=train.about(),
        val=val.about(),
        preprocessing=asdict(backbone.preprocess),
        figures={},
    )


def all_of(
    request: Request, terminal: Terminal, trained: Sequence[tuple[str, Mapping[str, Any]]] = ()
) -> dict[str, Result]:
    """Every protocol on features that the images and the weights allow, by name; why one is left out is said.

    Args:
        trained: protocols that train, with their options, to run as well.

    Raises as `evaluate` and `train` do, if no protocol is left.
    """
    found: dict[str, Result] = {}
    refused: list[ValueError] = []
    own = connect(request.ray_logs)

    def add(name: str, judge: Callable[[], Result]) -> None:
        try:
            found[name] = judge()
        except ValueError as error:
            refused.append(error)
            terminal.line(f"{name} is left out: {error}")

    try:
        for name in ON_FEATURES:
            add(name, functools.partial(evaluate, name, request, terminal.line, sparing=True))
        for name, options in trained:
            add(ON_IMAGES[name].protocol(options).name, functools.partial(train, name, request, options, terminal))
    finally:
        if own:
            ray.shutdown()
    if not found:
        raise refused[0]
    return found


class _Progress:
    """A line every few seconds while features are extracted."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._began, self._said = say, time.monotonic(), time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._said > _PROGRESS_SECONDS or done == total:
            self._said = now
            self._say(f"features: {done:,} of {total:,} images, {done / (now - self._began):,.0f} images/s")


def _splits(
    request: Request, backbone: Backbone, labels: str, say: Callable[[str], None]
) -> tuple[Split, Split, list[str]]:
    """The images, to be decoded as those that the backbone was trained on. `labels`: as `OnFeatures` has it."""
    if request.train:
        places = request.train, request.val, request.labels, layout.manifest_cache(place(request.storage))
        if labels == "sets":
            train, val, notes = of_places_with_sets(*places)
        else:
            train, val, notes = of_places(*places, labelled=labels == "one")
    else:
        run_dir = _run_dir(request.checkpoint)
        if run_dir is None:
            raise EvaluationError(
                "--train: names no images, and the checkpoint is no run directory; give --train PLACE"
            )
        train, val, notes = of_run(run_dir, labelled=labels != "none")
    train, val = (
        replace(split, manifest=split.manifest.decoded_as(backbone.preprocess.decoding)).limited(request.limit)
        for split in (train, val)
    )
    say(f"{len(train.ids):,} images to learn from, {len(val.ids):,} to judge by, {len(train.classes)} classes")
    return train, val, notes


def _run_dir(checkpoint: str) -> Place | None:
    word = checkpoint.removeprefix(UNTRAINED).removeprefix(PIXELS)
    return place(word) if (place(word) / layout.CONFIG).exists() else None


def evaluations_of(request: Request, backbone: Backbone) -> Place:
    """Each backbone has a folder of its own, so that nothing is ever taken for another's."""
    run_dir = _run_dir(request.checkpoint)
    base = place(request.out) if request.out else (run_dir or place(request.storage)) / layout.EVALUATIONS
    return base / backbone.origin.sha256[:12]
