"""A sweep before it starts: its recipe, its data and its search, with everything checked that needs no cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ray.tune.schedulers import TrialScheduler

from swav_ray.config import Config, ConfigError, replace
from swav_ray.data.formats.names import TEST, TRAIN
from swav_ray.data.holdout import has_labels, split_ids, with_twins
from swav_ray.data.manifest import Manifest
from swav_ray.data.order.selected_ids import Ids
from swav_ray.health.beforehand import concerns
from swav_ray.health.image_side import median_side
from swav_ray.launch.dataset import manifest_of
from swav_ray.launch.sweep.choice import Choice, default_grace, objectives_of, points_of
from swav_ray.launch.sweep.schedulers import make_scheduler
from swav_ray.launch.sweep.space import Accept, Points, Space, Translate, Values, check, config_of, describe, own_values
from swav_ray.report.terminal import Terminal
from swav_ray.report.trackers.services import check_installed
from swav_ray.run.layout import SWEEP
from swav_ray.storage.place import Place
from swav_ray.weights.initial import check as check_initial

_HELD_OUT = 0.1  # of the training images, for kNN, if the data set has labels and no split of its own
_LABEL_FREE_IMAGES = 1024
_CHECKPOINTS_FOR_COPIES = 5  # newest ones that are kept if trials copy each other's


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a sweep will do.

    Attributes:
        sweep_dir: the sweep's directory.
        recipe: what the user gave, with its held-out images.
        base: the recipe as trials train it: measured and saved more often.
        manifest: the list of samples.
        images: number of images that are trained on.
        space, translate: the search space, and what turns its values into settings, if they are none themselves.
        accept: the config of a trial's values; raises ConfigError if they are refused.
        choice: how the sweep searches.
        scheduler: decides which trials stop early.
        points: values of all trials; with Optuna, of the first.
        own: the values that train as the recipe does; None if the space does not hold them.
    """

    sweep_dir: Place
    recipe: Config
    base: Config
    manifest: Manifest
    images: int
    space: Space
    translate: Translate | None
    accept: Accept
    choice: Choice
    scheduler: TrialScheduler
    points: Points
    own: Values | None


def make_design(
    recipe: Config,
    space: Space,
    sweep_dir: Place,
    terminal: Terminal,
    *,
    objective: str | Sequence[str],
    searcher: str,
    scheduler: str,
    num_samples: int,
    grace_epochs: int,
    seed: int,
    translate: Translate | None,
) -> Design:
    """Indexes the data and checks the search; the arguments are those of `sweep`.

    Raises:
        ConfigError, UnknownSetting, PlaceError: something is wrong.
    """
    begun = (sweep_dir / SWEEP).exists()
    manifest = manifest_of(recipe, sweep_dir, terminal, begun=begun)
    check_initial(recipe)
    check_installed(recipe.run.trackers)
    given, recipe = recipe, _with_held_out(recipe, manifest, terminal)
    if recipe is not given and not begun:
        manifest, _ = with_twins(manifest, recipe.data)
    base = with_sweep_settings(recipe, scheduler)
    train_ids, held_out = split_ids(manifest, base.data)
    images = len(train_ids)
    for concern in concerns(base, images, side=median_side(manifest, train_ids)):
        terminal.line(f"warning: the recipe's {concern.line()}")
    objectives = objectives_of(objective, _knn_is_possible(manifest, train_ids, held_out))
    if len(objectives) > 1 and scheduler != "none":
        raise ConfigError("scheduler", scheduler, "compares one objective; with several it must be none")
    if scheduler == "pbt" and searcher == "optuna":
        raise ConfigError("searcher", searcher, "suggests values once, and pbt changes them: use random or grid")

    def accept(values: Values) -> Config:
        return check(config_of(base, values, translate), images, recipe)

    grace = grace_epochs or default_grace(base.train.epochs)
    own = None if translate else own_values(space, base, accept)
    points = points_of(searcher, space, accept, num_samples, seed, own)
    choice = Choice(
        objective=objectives,
        searcher=searcher,
        scheduler=scheduler,
        num_samples=len(points) if searcher != "optuna" else num_samples,
        grace_epochs=grace,
        seed=seed,
        space=describe(space),
    )
    return Design(
        sweep_dir=sweep_dir,
        recipe=recipe,
        base=base,
        manifest=manifest,
        images=images,
        space=space,
        translate=translate,
        accept=accept,
        choice=choice,
        scheduler=make_scheduler(scheduler, space, accept, epochs=base.train.epochs, grace=grace),
        points=points,
        own=own,
    )


def with_sweep_settings(config: Config, scheduler: str) -> Config:
    """Measured and saved every epoch, or forty times in a longer run, with the label-free figures."""
    every = max(1, config.train.epochs // 40)
    keep = config.checkpoint.keep_last
    if scheduler == "pbt":  # which copies a checkpoint while the training that wrote it continues
        keep = max(keep, _CHECKPOINTS_FOR_COPIES)
    return replace(
        config,
        eval={
            "knn_every_epochs": every,
            "label_free_images": config.eval.label_free_images or _LABEL_FREE_IMAGES,
        },
        checkpoint={"every_epochs": float(every), "keep_last": keep},
    )


def _with_held_out(config: Config, manifest: Manifest, terminal: Terminal) -> Config:
    """Holds some of the training images out for kNN, if there are labels and nothing is held out yet."""
    labels = manifest.count(TRAIN, labelled=True) + manifest.count(TEST, labelled=True)
    if not labels or len(split_ids(manifest, config.data)[1]):
        return config
    terminal.line(f"data.holdout_fraction = {_HELD_OUT}: held out for kNN, since the data set has no split")
    return replace(config, data={"holdout_fraction": _HELD_OUT})


def _knn_is_possible(manifest: Manifest, train_ids: Ids, held_out: Ids) -> bool:
    """Whether there are labels: kNN's neighbours are images that are trained on, its queries held-out ones."""
    return bool(len(held_out)) and has_labels(manifest, train_ids)
