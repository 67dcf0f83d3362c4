"""The queue of past embeddings that joins the assignment when a batch is small against K (paper section 4.3).

One global queue in global order, the same on every worker, so that it means the same at any world size. Published
semantics: it takes part once it is full; a step assigns with the queue as it was, then pushes its own embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor


class EmbeddingQueue:
    """Newest first: `rows` is (crops for assignment, length, D), zeros until filled."""

    def __init__(
        self, crops: int, length: int, dim: int, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.rows = torch.zeros(crops, length, dim, dtype=dtype, device=device)
        self.filled = 0

    @property
    def full(self) -> bool:
        """Whether it takes part in the assignment."""
        return self.filled >= self.rows.shape[1]

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Puts a global batch, (crops, B, D) with B at most the length, in front; the oldest rows fall out."""
        crops, batch, _ = embeddings.shape
        length = self.rows.shape[1]
        if crops != self.rows.shape[0] or batch > length:
            raise ValueError(f"cannot push {tuple(embeddings.shape)} into a queue of {tuple(self.rows.shape)}")
        self.rows = torch.cat([embeddings.to(self.rows), self.rows[:, : length - batch]], dim=1)
        self.filled = min(self.filled + batch, length)

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors only, so that it can be stored without pickling."""
        return {"rows": self.rows, "filled": torch.tensor(self.filled)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state_dict`; raises ValueError if the shape is another."""
        if state["rows"].shape != self.rows.shape:
            raise ValueError(f"queue of shape {tuple(state['rows'].shape)}, expected {tuple(self.rows.shape)}")
        self.rows = state["rows"].to(self.rows)
        self.filled = int(state["filled"])
