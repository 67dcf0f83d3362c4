"""The plain baseline: SwAV's step written down as the paper describes it, without a thought for speed.

torchvision's ResNet in contiguous memory, run eagerly; a log-softmax for every pair of crops; Sinkhorn on exponentials;
LARC tensor by tensor; a queue that is moved by copies; autocast for bf16. One process.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from swav_ray.config import Config


class PlainModel(nn.Module):
    """Crops to normalised embeddings and scores."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.trunk = torchvision.models.get_model(config.model.backbone, weights=None)
        features, hidden, dim = self.trunk.fc.in_features, config.model.hidden_dim, config.model.output_dim
        self.trunk.fc = nn.Identity()
        self.projection_head = nn.Sequential(
            nn.Linear(features, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, dim)
        )
        self.prototypes = nn.Linear(dim, config.model.prototypes[0], bias=False)

    def forward(self, crops: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        features = torch.cat([self.trunk(group) for group in crops])
        embeddings = F.normalize(self.projection_head(features), dim=1)
        return embeddings, self.prototypes(embeddings)


def sinkhorn(scores_BK: Tensor, epsilon: float, iterations: int) -> Tensor:
    """The paper's listing: alternating divisions of the exponentials."""
    q = torch.exp(scores_BK / epsilon).T
    q = q / q.sum()
    prototypes, samples = q.shape
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / prototypes
        q = q / q.sum(dim=0, keepdim=True) / samples
    return (q * samples).T


class PlainStep:
    """One process's training step; `config` has one head, and crops 0 and 1 have codes."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.model = PlainModel(config).to(device).train()
        # The decay is part of LARC.
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=config.optim.base_lr, momentum=config.optim.momentum, foreach=False
        )
        self.queue = torch.zeros(2, config.queue.length, config.model.output_dim, device=device)

    def step(self, crops: Sequence[Tensor], lr: float) -> float:
        """Trains on one batch; its loss."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with torch.no_grad():
            weight = self.model.prototypes.weight
            weight.copy_(F.normalize(weight.clone(), dim=1))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
            embeddings, scores = self.model(crops)
            loss = self._loss(embeddings.float().detach(), scores.float())
        self.optimizer.zero_grad()
        loss.backward()
        self._larc()
        self.optimizer.step()
        return loss.item()

    def _loss(self, embeddings: Tensor, scores: Tensor) -> Tensor:
        config, batch = self.config, self.config.train.global_batch_size
        views = config.crops.total
        loss = torch.zeros((), device=self.device)
        for crop in range(2):
            codes = self._codes(crop, embeddings, scores.detach())
            others = [view for view in range(views) if view != crop]
            for view in others:
                logits = scores[view * batch : (view + 1) * batch] / config.train.temperature
                pair = -torch.mean(torch.sum(codes * F.log_softmax(logits, dim=1), dim=1))
                loss = loss + pair / len(others) / 2
        return loss

    @torch.no_grad()
    def _codes(self, crop: int, embeddings: Tensor, scores: Tensor) -> Tensor:
        batch, assignment = self.config.train.global_batch_size, self.config.assignment
        own = slice(crop * batch, (crop + 1) * batch)
        assigned = scores[own]
        if len(self.queue[crop]):
            if torch.all(self.queue[crop, -1] != 0):  # it is full
                past = self.queue[crop] @ self.model.prototypes.weight.T
                assigned = torch.cat([past.float(), assigned])
            self.queue[crop, batch:] = self.queue[crop, :-batch].clone()
            self.queue[crop, :batch] = embeddings[own]
        return sinkhorn(assigned, assignment.epsilon, assignment.iterations)[-batch:]

    @torch.no_grad()
    def _larc(self) -> None:
        optim = self.config.optim
        for parameter in self.model.parameters():
            if parameter.grad is None:
                continue
            norm, gradient_norm = torch.norm(parameter), torch.norm(parameter.grad)
            if norm != 0 and gradient_norm != 0:
                rate = optim.trust_coefficient * norm / (gradient_norm + norm * optim.weight_decay + 1e-8)
                parameter.grad = (parameter.grad + optim.weight_decay * parameter) * rate
