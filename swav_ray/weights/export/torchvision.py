"""torchvision: the state dict of `torchvision.models.resnetNN` without its classifier."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from swav_ray.weights.export.format import Format, give_small_stem, plain, small_stem, zeros
from swav_ray.weights.export.source import Source


def _write(source: Source, file: Path) -> None:
    torch.save(source.backbone.trunk.state_dict(), file)


def _outputs(source: Source, file: Path) -> Tensor:
    import torchvision  # takes a second to import

    model = torchvision.models.get_model(source.backbone.architecture.depth)
    model.fc = torch.nn.Identity()
    give_small_stem(model, source)
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()(source.images)


def _loader(source: Source) -> str:
    return (
        "import torch\nimport torchvision\n\n"
        f"model = torchvision.models.{source.backbone.architecture.depth}()\n"
        "model.fc = torch.nn.Identity()  # no classifier was trained\n"
        f"{small_stem(source)}"
        "model.load_state_dict(torch.load(FILE, weights_only=True))\n"
        f"features = model.eval()({zeros(source)})\n"
    )


def _usage(source: Source) -> str:
    return (
        "It loads strictly once `fc` is replaced. For a classifier set `model.fc = torch.nn.Linear("
        f"{source.backbone.feature_dim}, classes)` after loading."
    )


FORMAT = Format(
    name="torchvision",
    suffix=".pth",
    reader="torchvision's own network",
    packages=("torchvision",),
    refusal=plain,
    write=_write,
    outputs=_outputs,
    loader=_loader,
    usage=_usage,
)
