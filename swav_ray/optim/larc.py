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


class LarcSGD(torch.optim.SGD):
    """`torch.optim.SGD` whose gradients pass through LARC's rule first; parameters without gradient are untouched.

    The host never waits for the device: norms, rates and whether to step at all stay there.

    Attributes:
        found_inf: on the device, 1.0 if the coming step must change nothing; None: it is taken (torch's own name).
    """

    found_inf: Tensor | None

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
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=0.0, fused=True)
        self._trust_coefficient, self._weight_decay, self._eps = trust_coefficient, weight_decay, eps
        self._gradient_norms: dict[Tensor, Tensor] = {}
        self.found_inf = None

    @torch.no_grad()
    def gradient_norm(self) -> Tensor:
        """The norm of all gradients, (); the next step uses their single norms and does not measure them again."""
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms = torch._foreach_norm([p.grad for p in params])
        self._gradient_norms = dict(zip(params, norms, strict=True))
        return torch.linalg.vector_norm(torch.stack(list(norms)))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        if not self._gradient_norms:
            self.gradient_norm()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._adapt(params)
        self._gradient_norms = {}
        return super().step(closure)

    def _adapt(self, params: list[Tensor]) -> None:
        """Scales gradients in place by LARC's rule, and gives parameters that have none a momentum of zero."""
        p_norm = torch.stack(torch._foreach_norm(params))
        g_norm = torch.stack([self._gradient_norms[p] for p in params])
        scale = self._trust_coefficient * p_norm / (g_norm + self._weight_decay * p_norm + self._eps)
        scale = torch.where(g_norm > 0, scale, torch.zeros_like(scale))  # removes the decay below, too
        scale = torch.where(p_norm > 0, scale, torch.ones_like(scale))
        for p, factor in zip(params, scale, strict=True):
            assert p.grad is not None
            p.grad.add_(p, alpha=self._weight_decay).mul_(factor)  # tensor by tensor: the second finds it in the cache
            state = self.state[p]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(p)
