"""The state of a network and of its SGD, as `Task.state` gives it: weights, the buffers of BatchNorm, momentum."""

from __future__ import annotations

import torch
from torch import nn

from swav_ray.evaluate.fit.task import MOMENTUM, State


def state_of(model: nn.Module, optimizer: torch.optim.SGD) -> State:
    """Everything that training changes. Velocities stand beside the weights, by their names behind MOMENTUM."""
    tensors = dict(model.state_dict())
    for name, parameter in model.named_parameters():
        velocity = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if velocity is not None:
            tensors[MOMENTUM + name] = velocity
    return State(tensors)


def put_back(model: nn.Module, optimizer: torch.optim.SGD, state: State) -> None:
    """Gives network and optimizer what `state_of` gave; raises RuntimeError if a tensor does not fit."""
    tensors = state.tensors
    model.load_state_dict({name: one for name, one in tensors.items() if not name.startswith(MOMENTUM)})
    optimizer.state.clear()
    for name, parameter in model.named_parameters():
        if MOMENTUM + name in tensors:
            velocity = torch.empty_like(parameter).copy_(tensors[MOMENTUM + name])
            optimizer.state[parameter]["momentum_buffer"] = velocity
