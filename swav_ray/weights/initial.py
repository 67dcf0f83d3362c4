"""The weights that a run starts from (`train.init_from`): checked against its network, put into it, and recorded.

The network as it is before the first step lies in the run directory, so that every worker starts from the same file and
nothing needs the original place once the run has begun.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import Tensor

from swav_ray.config import Config, ConfigError
from swav_ray.model.swav import SwAVModel, is_trunk
from swav_ray.run import checkpoint_files
from swav_ray.run.layout import INIT
from swav_ray.storage.place import Place
from swav_ray.weights.architecture import Architecture, architecture_of
from swav_ray.weights.backbone import stem_padding
from swav_ray.weights.layouts import Recognised, in_float32, recognise
from swav_ray.weights.open import Opened, open_weights
from swav_ray.weights.read import WeightsError, header

_FIELD, _ENTRY = "train.init_from", "init"
_SHOWN = 6  # names of tensors in a line about a head, or about a trunk of another architecture


@dataclass(frozen=True)
class Initial:
    """A network before its first step.

    Attributes:
        state: of the whole network, by its own names.
        record: `place`, `sha256` and `layout` of what it was taken from.
        lines: for the user: what was taken, and what begins anew.
    """

    state: dict[str, Tensor]
    record: dict[str, str]
    lines: tuple[str, ...]

    def save(self, run_dir: Place) -> None:
        """Writes it into the run directory."""
        data = safetensors.torch.save(self.state, metadata={"format": "pt", _ENTRY: json.dumps(self.record)})
        (run_dir / INIT).write_bytes(data)


def initial(model: SwAVModel, config: Config, run_dir: Place) -> Initial | None:
    """The network that a run begins with, for `save`; None if it has one or a checkpoint already, or begins at random.

    Args:
        model: of the config, with its random weights; it stays as it is.

    Raises:
        ConfigError: there are no such weights, their trunk does not fit the config, or a run that has begun and has no
            checkpoint yet began with others.
        PlaceError: the place is of an unknown kind. StorageUnavailable: it does not answer.
    """
    where = config.train.init_from
    if not where or checkpoint_files.steps(run_dir):
        return None
    opened = _opened(where)
    before = record(run_dir)
    if before:
        if before["sha256"] != opened.content.sha256:
            raise ConfigError(
                _FIELD,
                where,
                f"holds other weights (sha256 {opened.content.sha256[:12]}) than those that this run began with "
                f"({before['sha256'][:12]}); put those back, or start another run with --run.name",
            )
        return None
    try:
        return _fitted(model, config, opened)
    except WeightsError as error:
        raise ConfigError(_FIELD, where, str(error)) from None


def check(config: Config) -> None:
    """Raises ConfigError, PlaceError if there are no weights at `train.init_from` that hold a backbone."""
    if config.train.init_from:
        opened = _opened(config.train.init_from)
        try:
            architecture_of(_recognised(opened, config).trunk, opened.name)
        except WeightsError as error:
            raise ConfigError(_FIELD, config.train.init_from, str(error)) from None


def _opened(where: str) -> Opened:
    try:
        return open_weights(where)
    except WeightsError as error:
        raise ConfigError(_FIELD, where, str(error)) from None


def _recognised(opened: Opened, config: Config) -> Recognised:
    return recognise(opened.content.tensors, opened.name, config.train.init_prefix or None)


def record(run_dir: Place) -> dict[str, str]:
    """`place`, `sha256` and `layout` of the weights that a run began with; empty if they were random."""
    file = run_dir / INIT
    if not file.exists():
        return {}
    found: dict[str, str] = json.loads(header(file)[_ENTRY])
    return found


def restore(model: SwAVModel, run_dir: Place) -> None:
    """Puts the network that a run began with into `model`. Raises FileNotFoundError if it is not there."""
    model.load_state_dict(safetensors.torch.load((run_dir / INIT).read_bytes()))


def _fitted(model: SwAVModel, config: Config, opened: Opened) -> Initial:
    parts = _recognised(opened, config)
    state = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    shape = architecture_of(parts.trunk, opened.name, stem_padding=stem_padding(parts, opened.about))
    own = {name: value for name, value in state.items() if is_trunk(name)}
    settings = _settings(shape, config)
    if problems := _problems(own, parts.trunk, shown=_SHOWN if settings else 0):
        raise WeightsError(f"{opened.name}: its trunk is not this run's; {settings}{problems}")
    lines = [f"starting from {opened.name} (sha256 {opened.content.sha256[:12]}), {parts.layout}: the trunk is taken"]
    if shape.stem_padding != model.conv1.padding[0]:
        lines.append(
            f"its first convolution pads by {shape.stem_padding} pixels, this run's by {model.conv1.padding[0]}: "
            "features differ at the borders of an image"
        )
    taken, told = _head(config, {name: value for name, value in state.items() if not is_trunk(name)}, parts.head)
    lines += told
    if not any(name.startswith("projection_head.") for name in taken) and not config.train.init_trunk_epochs:
        lines.append(
            "warning: the trunk learns from a new head's first steps on, which can destroy it; "
            "--train.init_trunk_epochs N freezes it for N epochs"
        )
    _copy(state, parts.trunk | taken)
    about = {"place": opened.name, "sha256": opened.content.sha256, "layout": parts.layout}
    return Initial(state, about, tuple(lines))


def _head(
    config: Config, own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of the head that can be taken, and a line about each of its two parts."""
    if not theirs:
        return {}, ("the weights hold no head: projection head and prototypes begin anew",)
    if not config.train.init_head:
        return {}, ("train.init_head is false: projection head and prototypes begin anew",)
    taken: dict[str, Tensor] = {}
    lines = []
    for what, prefix in (("the projection head", "projection_head."), ("the prototypes", "prototypes.")):
        expected = {name: value for name, value in own.items() if name.startswith(prefix)}
        found = {name: value for name, value in theirs.items() if name.startswith(prefix)}
        verb = "are" if what.endswith("s") else "is"
        if problems := _problems(expected, found, shown=_SHOWN):
            lines.append(f"{what} begin{'' if verb == 'are' else 's'} anew: {problems}")
        elif prefix == "prototypes." and not taken:
            lines.append("the prototypes begin anew: they belong to the projection head, which does")
        else:
            lines.append(f"{what} {verb} taken")
            taken |= found
    return taken, tuple(lines)


def _problems(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], shown: int = 0) -> str:
    """What keeps tensors from being others' values, each name of it (or the first `shown`); '' if nothing does."""
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = sorted(expected.keys() - found.keys() - counters)
    unexpected = sorted(found.keys() - expected.keys())
    other = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & found.keys())
        if found[name].shape != expected[name].shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    return "; ".join(f"{kind}: {_listed(names, shown)}" for kind, names in kinds if names)


def _listed(names: list[str], shown: int) -> str:
    few = names[:shown] if shown else names
    rest = len(names) - len(few)
    return ", ".join(few) + (f" and {rest} more" if rest else "")


def _settings(shape: Architecture, config: Config) -> str:
    """The settings that would make the run's trunk that of the weights; '' if they are so."""
    own = config.model
    if (shape.depth, shape.width, shape.small_image_stem) == (own.backbone, own.width, own.small_image_stem):
        return ""
    stem = str(shape.small_image_stem).lower()
    return (
        f"use --model.backbone {shape.depth} --model.width {shape.width:g} --model.small_image_stem {stem}, or other "
        "weights; "
    )


@torch.no_grad()
def _copy(state: dict[str, Tensor], taken: Mapping[str, Tensor]) -> None:
    for name, value in in_float32(taken).items():
        state[name].copy_(value)
