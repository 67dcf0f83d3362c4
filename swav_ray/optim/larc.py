"""SGD with layer-wise adaptive rate control, LARC (You et al., 2017; apex's formulation without clipping).

For a parameter p with gradient g, both of non-zero norm:
    g <- (g + weight_decay * p) * trust_coefficient * |p| / (|g| + weight_decay * |p| + eps)
and g is left alone, without decay, if either norm is zero. SGD with momentum then uses g.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def larc_(
    params: list[Tensor], grads: list[Tensor], *, trust_coefficient: float, weight_decay: float, eps: float
) -> None:
    """Scales `grads` in place by LARC's rule, for all parameters at once and without waiting for the device."""
    p_norm = torch.stack(torch._foreach_norm(params))
    g_norm = torch.stack(torch._foreach_norm(grads))
    adapts = (p_norm > 0) & (g_norm > 0)
    scale = trust_coefficient * p_norm / (g_norm + weight_decay * p_norm + eps)
    scale = torch.where(adapts, scale, torch.ones_like(scale))
    decay = torch.where(adapts, torch.full_like(scale, weight_decay), torch.zeros_like(scale))
    torch._foreach_add_(grads, torch._foreach_mul(params, decay.unbind()))
    torch._foreach_mul_(grads, scale.unbind())


class LarcSGD(torch.optim.SGD):
    """`torch.optim.SGD` whose gradients pass through `larc_` first; parameters without gradient are untouched."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust_coefficient: float = 0.001,
        eps: float = 1e-8,
    ) -> None:
        # The decay is part of LARC's rule, so SGD itself must not add it a second time.
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=0.0)
        self._larc = {"trust_coefficient": trust_coefficient, "weight_decay": weight_decay, "eps": eps}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                larc_(params, [p.grad for p in params], **self._larc)
        return super().step(closure)
