"""Tensors that can be given back an earlier value: what a step changes before it knows whether it will be applied."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Saved:
    """Copies of tensors, in memory that stays the same from one time to the next.

    Args:
        tensors: changed in place by others. They are copied at once, and again by `take`.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor.detach())
        self._pairs = [(same, [tensor.clone() for tensor in same]) for same in by_dtype.values()]

    @torch.no_grad()
    def take(self) -> None:
        """Copies the values that the tensors have now; one kernel a dtype on CUDA."""
        for tensors, copies in self._pairs:
            torch._foreach_copy_(copies, tensors)

    @torch.no_grad()
    def put_back(self) -> None:
        """Gives every tensor the value that was copied last."""
        for tensors, copies in self._pairs:
            torch._foreach_copy_(tensors, copies)
