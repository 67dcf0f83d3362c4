"""Files with the names and nesting of other people's checkpoints, made from one small network."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor

from swav_ray.model.swav import SwAVModel

State = dict[str, Tensor]


def model(width: float = 0.125, *, small: bool = False, prototypes: tuple[int, ...] = (5,)) -> SwAVModel:
    """A ResNet-18 whose running statistics are those of some training, in eval mode."""
    torch.manual_seed(0)
    network = SwAVModel(
        "resnet18", width=width, small_image_stem=small, hidden_dim=6, output_dim=4, prototypes=prototypes
    )
    for _ in range(2):
        network([torch.randn(4, 3, 32, 32)])
    return network.eval()


def saved(content: Any) -> bytes:
    """What `torch.save` writes of it."""
    sink = io.BytesIO()
    torch.save(content, sink)
    return sink.getvalue()


def split(state: State) -> tuple[State, State]:
    """Trunk and head."""
    heads = ("projection_head", "prototypes")
    trunk = {name: tensor for name, tensor in state.items() if not name.startswith(heads)}
    return trunk, {name: tensor for name, tensor in state.items() if name.startswith(heads)}


def published(state: State) -> Any:
    """The file that the published script leaves: wrapped in DataParallel, beside epoch and optimizer."""
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    momentum = {0: {"momentum_buffer": torch.zeros(2)}}
    return {"epoch": 3, "state_dict": wrapped, "optimizer": {"state": momentum, "param_groups": [{"lr": 0.1}]}}


def vissl(state: State) -> Any:
    trunk, head = split(state)
    renamed = {
        name.replace("prototypes.prototypes", "prototypes").replace("prototypes.weight", "prototypes0.weight"): tensor
        for name, tensor in head.items()
    }
    network = {
        "trunk": {f"_feature_blocks.{name}": tensor for name, tensor in trunk.items()},
        "heads": {f"0.{name}": tensor for name, tensor in renamed.items()},
    }
    return {"phase_idx": 7, "classy_state_dict": {"base_model": {"model": network, "meta": {}}}}


def solo_learn(state: State) -> Any:
    trunk, head = split(state)
    out = {f"backbone.{name}": tensor for name, tensor in trunk.items()}
    for name, tensor in head.items():
        if name == "prototypes.weight":
            out["prototypes.weight_g"] = tensor.norm(dim=1, keepdim=True)
            out["prototypes.weight_v"] = tensor * torch.linspace(1, 3, len(tensor))[:, None]
        else:
            out[name.replace("projection_head", "projector")] = tensor
    out["classifier.weight"], out["queue"] = torch.zeros(10, 64), torch.zeros(2, 8, 4)
    return {"epoch": 1, "state_dict": out, "hyper_parameters": {"lr": 0.1}}


def lightly(state: State) -> Any:
    """torchvision's children in a sequence, without the last one; the head's first layer has no bias, prototypes do."""
    trunk, head = split(state)
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    out = {}
    for name, tensor in trunk.items():
        child, _, rest = name.partition(".")
        out[f"backbone.{numbers[child]}.{rest}"] = tensor
    for name, tensor in head.items():
        name = name.replace("projection_head.", "projection_head.layers.").replace(
            "prototypes.weight", "prototypes.heads.0.weight"
        )
        out[name.replace("prototypes.prototypes", "prototypes.heads.")] = tensor
    del out["projection_head.layers.0.bias"]
    for name in [name for name in out if name.startswith("prototypes.")]:
        out[name.replace("weight", "bias")] = torch.arange(float(len(out[name])))
    return {"state_dict": out}
