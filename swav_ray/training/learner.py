"""What learns: the model, its optimizer and the queue, and one step of them.

Shape suffixes: V crops of an image, A of them with codes, B samples of this worker, D embedding, K prototypes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from swav_ray.config import Config
from swav_ray.loss.queue import EmbeddingQueue
from swav_ray.loss.sinkhorn import sinkhorn
from swav_ray.loss.swapped_prediction import swapped_prediction
from swav_ray.model.global_batch_norm import synchronize
from swav_ray.model.swav import SwAVModel
from swav_ray.optim.larc import LarcSGD
from swav_ray.optim.schedule import learning_rate
from swav_ray.training.distributed import World


class Diverged(RuntimeError):
    """The loss is not a number; nothing of the step was applied."""


@dataclass(frozen=True)
class StepResult:
    """`loss` is the mean over the global batch; `codes` (heads of (A, B, K)) and `embeddings` (V, B, D) are local."""

    loss: float
    lr: float
    codes: list[Tensor]
    embeddings: Tensor


def build_model(config: Config) -> SwAVModel:
    """The network of a config, its weights drawn from `run.seed` alone: the same on every worker."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        return SwAVModel(
            config.model.backbone,
            width=config.model.width,
            small_image_stem=config.model.small_image_stem,
            hidden_dim=config.model.hidden_dim,
            output_dim=config.model.output_dim,
            prototypes=config.model.prototypes,
        )


class Learner:
    """Model, optimizer and queue of one worker, and the step that trains them.

    Args:
        config: the run.
        steps_per_epoch: global batches an epoch.
        device, dtype: where and in what precision the parameters live.
        world: the workers that share each global batch.
    """

    def __init__(
        self,
        config: Config,
        steps_per_epoch: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        world: World | None = None,
    ) -> None:
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.device = torch.device(device)
        self.world = world or World()
        model = build_model(config).to(self.device, dtype)
        if self.device.type == "cuda":
            model = model.to(memory_format=torch.channels_last)
        if config.train.sync_batchnorm and self.world.group is not None:
            synchronize(model, self.world.group)
        self.model = model
        self._forward: nn.Module = model
        if self.world.group is not None:
            self._forward = nn.parallel.DistributedDataParallel(
                model, process_group=self.world.group, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        self.optimizer = LarcSGD(
            model.parameters(),
            lr=config.optim.base_lr,
            momentum=config.optim.momentum,
            weight_decay=config.optim.weight_decay,
            trust_coefficient=config.optim.trust_coefficient,
        )
        self.queue: EmbeddingQueue | None = None
        if config.queue.length:
            crops, dim = len(config.assignment.crops_for_assign), config.model.output_dim
            self.queue = EmbeddingQueue(crops, config.queue.length, dim, dtype=dtype, device=self.device)

    def lr(self, step: int) -> float:
        """The learning rate of a step, counted through all epochs."""
        optim, steps = self.config.optim, self.steps_per_epoch
        return learning_rate(
            step,
            warmup_steps=round(optim.warmup_epochs * steps),
            total_steps=self.config.train.epochs * steps,
            start=optim.start_warmup_lr,
            base=optim.base_lr,
            final=optim.final_lr,
        )

    def step(self, crops: Sequence[Tensor], step: int) -> StepResult:
        """Trains on one global batch, of which `crops` is this worker's share.

        Args:
            crops: normalised crops, one (crops of the group x B, 3, S, S) a resolution, crop-major.
            step: global batches before this one, through all epochs.

        Raises:
            Diverged: the loss of the global batch is not finite; model, optimizer and queue are as before.
        """
        config, world = self.config, self.world
        lr = self.lr(step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.model.train()
        self.model.normalize_prototypes()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
            embeddings, scores = self._forward(crops)
        total = config.crops.total
        embeddings_VBD = embeddings.detach().unflatten(0, (total, -1))
        scores_VBK = [head.unflatten(0, (total, -1)) for head in scores]
        use_queue = self.queue is not None and step >= config.queue.start_epoch * self.steps_per_epoch
        codes_ABK = self._codes(scores_VBK, use_queue)
        loss_B = torch.stack(
            [
                swapped_prediction(
                    head,
                    codes,
                    crops_for_assign=config.assignment.crops_for_assign,
                    temperature=config.train.temperature,
                )
                for head, codes in zip(scores_VBK, codes_ABK, strict=True)
            ]
        ).mean(0)
        batch = config.train.global_batch_size
        loss = float(world.sum(loss_B.detach().sum() / batch))
        if not math.isfinite(loss):
            raise Diverged(f"the loss of step {step} is {loss}")
        self.optimizer.zero_grad()
        # Workers' gradients are averaged, so a share counts by its rows, not by its worker.
        (loss_B.sum() * (world.size / batch)).backward()
        if step < config.optim.freeze_prototypes_steps:
            for weight in self.model.prototype_weights():
                weight.grad = None
        self.optimizer.step()
        if use_queue and self.queue is not None:
            assigned_BAD = embeddings_VBD[list(config.assignment.crops_for_assign)].transpose(0, 1)
            self.queue.push(world.gather(assigned_BAD.contiguous(), batch).transpose(0, 1))
        return StepResult(loss, lr, codes_ABK, embeddings_VBD)

    @torch.no_grad()
    def _codes(self, scores_VBK: list[Tensor], use_queue: bool) -> list[Tensor]:
        """Codes of each head, (A, B, K), over the global batch and, once it is full, the queue."""
        assignment = self.config.assignment
        per_crop: list[list[Tensor]] = []
        for index, crop in enumerate(assignment.crops_for_assign):
            scores = [head[crop].detach() for head in scores_VBK]
            if use_queue and self.queue is not None and self.queue.full:
                past_QD = self.queue.rows[index, self.world.share(self.queue.rows.shape[1])]
                scores = [torch.cat(pair) for pair in zip(self.model.scores(past_QD), scores, strict=True)]
            batch = scores_VBK[0].shape[1]
            per_crop.append(
                [
                    sinkhorn(
                        head,
                        epsilon=assignment.epsilon,
                        iterations=assignment.iterations,
                        hard=assignment.hard,
                        group=self.world.group,
                    )[len(head) - batch :]
                    for head in scores
                ]
            )
        return [torch.stack(head) for head in zip(*per_crop, strict=True)]
