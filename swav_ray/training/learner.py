"""What learns: the model, its optimizer and the queue, and one step of them.

Shape suffixes: V crops of an image, A of them with codes, B samples of this worker, D embedding, K prototypes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from swav_ray.config import Config
from swav_ray.loss.embedding_queue import EmbeddingQueue
from swav_ray.loss.sinkhorn import sinkhorn
from swav_ray.loss.swapped_prediction import swapped_prediction
from swav_ray.model.global_batch_norm import Parts, average_running_statistics, synchronize
from swav_ray.model.swav import SwAVModel, is_trunk
from swav_ray.optim.larc import LarcSGD
from swav_ray.optim.schedule import learning_rate
from swav_ray.training.distributed import World
from swav_ray.training.passes import passes
from swav_ray.training.trunk_hold import TrunkHold


class Diverged(RuntimeError):
    """Training cannot continue: too many steps were refused, or the weights are no longer ones that can be trained."""


@dataclass(frozen=True)
class StepResult:
    """`loss` is the mean over the global batch; `codes` (heads of (A, B, K)) and `embeddings` (V, B, D) are local.

    `refused` says why the step was not applied; empty if it was.
    """

    loss: float
    lr: float
    codes: list[Tensor]
    embeddings: Tensor
    refused: str = ""


def build_model(config: Config, more: int = 0) -> SwAVModel:
    """The network of a config, its weights drawn from `run.seed` (and `more`) alone: the same on every worker."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed + more)
        return SwAVModel(
            config.model.backbone,
            width=config.model.width,
            small_image_stem=config.model.small_image_stem,
            hidden_dim=config.model.hidden_dim,
            output_dim=config.model.output_dim,
            prototypes=config.model.prototypes,
        )


@torch.no_grad()
def _put_back(tensors: list[tuple[Tensor, Tensor]]) -> None:
    """Gives each tensor the value that was copied of it before."""
    for tensor, before in tensors:
        tensor.copy_(before)


class Learner:
    """Model, optimizer and queue of one worker, and the step that trains them.

    Args:
        config: the run.
        steps_per_epoch: global batches an epoch.
        device: where the parameters live.
        dtype: their precision.
        world: the workers that share each global batch.

    Attributes:
        on_gradient: is called with the step between a gradient that is of use and its update; must change nothing.
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
        self.refused_steps = 0
        self.on_gradient: Callable[[int], None] = lambda _: None
        model = build_model(config).to(self.device, dtype)
        if self.device.type == "cuda":
            model = model.to(memory_format=torch.channels_last)
        train = config.train
        self._parts = Parts(train.batchnorm_groups if train.sync_batchnorm else 1)
        self._passes = passes(
            train.global_batch_size,
            world_size=self.world.size,
            rank=self.world.rank,
            most=train.max_rows_per_pass,
            parts=self._parts.count,
        )
        if train.sync_batchnorm:
            synchronize(model, self.world.group, self._parts)
        self.model = model
        self._forward = self.world.average_gradients(model)
        self._hold = TrunkHold(train, steps_per_epoch)
        self.optimizer = LarcSGD(
            self._hold.parameters(model),
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
        """Trains on one global batch, of which `crops` is this worker's slice.

        A slice above `train.max_rows_per_pass` images is embedded without gradient first, assigned with the whole
        global batch, and then backpropagated in passes: the same codes and the same gradient, but for BatchNorm's
        statistics, which are those of a pass over all workers (exactly the same if `train.batchnorm_groups` makes
        parts that fit into a pass), and for its running ones, which take an update a pass.

        A step whose loss or gradient is not finite, or whose loss is above ln K + 1 / temperature (half way to the
        largest that unit vectors can have), is refused: model, optimizer and queue stay as they were.

        Args:
            crops: normalised crops, one (crops of the group x B, 3, S, S) a resolution, crop-major.
            step: global batches before this one, through all epochs.
        """
        lr = self.lr(step)
        self._hold.set_rates(self.optimizer, lr, step)
        self.model.trunk_learns = not self._hold.freezes(step)
        self.model.train()
        self.model.normalize_prototypes()
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        embeddings_VBD, scores_VBK = self._embed_all(crops, buffers, grad=self._passes.count == 1)
        codes_ABK = self._codes(scores_VBK, self._uses_queue(step))
        loss_B = self._loss(scores_VBK, codes_ABK)
        loss = float(self.world.sum(loss_B.detach().sum() / self.config.train.global_batch_size))
        refused = self._why_refuse(loss) or self._backward(crops, loss_B, codes_ABK)
        embeddings_VBD = embeddings_VBD.detach()
        if refused:
            self.refused_steps += 1
            self.optimizer.zero_grad()
            _put_back(buffers)
        else:
            self.on_gradient(step)
            self._update(step, embeddings_VBD)
            if self._hold.freezes(step):
                # It normalises by the batch, as it will when it learns, so that the heads meet the same features then.
                names = [name for name, _ in self.model.named_buffers()]
                _put_back([pair for name, pair in zip(names, buffers, strict=True) if is_trunk(name)])
        return StepResult(loss, lr, codes_ABK, embeddings_VBD, refused)

    def _backward(self, crops: Sequence[Tensor], loss_B: Tensor, codes_ABK: list[Tensor]) -> str:
        """Leaves the gradient of the global batch in the parameters; why it is of no use, or ''."""
        self.optimizer.zero_grad()
        # Workers' gradients are averaged, so a slice counts by its rows, not by its worker.
        weight = self.world.size / self.config.train.global_batch_size
        if self._passes.count == 1:
            (loss_B.sum() * weight).backward()
        else:
            self._backward_in_passes(crops, codes_ABK, weight)
        norm = float(nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None]))
        return "" if math.isfinite(norm) else f"the gradient's norm is {norm}"

    def _update(self, step: int, embeddings_VBD: Tensor) -> None:
        """Applies the gradient and pushes the global batch's embeddings into the queue."""
        config, world, batch = self.config, self.world, self.config.train.global_batch_size
        if step < config.optim.freeze_prototypes_steps:
            for weight_KD in self.model.prototype_weights():
                weight_KD.grad = None
        self.optimizer.step()
        if world.group is not None and not self._passes.communicate:
            average_running_statistics(self.model, world.group, len(self._passes.own) / batch)
        if self._uses_queue(step) and self.queue is not None:
            assigned_BAD = embeddings_VBD[list(config.assignment.crops_for_assign)].transpose(0, 1)
            self.queue.push(world.gather(assigned_BAD.contiguous(), batch).transpose(0, 1))

    @torch.no_grad()
    def trial(self, crops: Sequence[Tensor], step: int) -> str:
        """Whether the state after a step can be trained on, tried on that step's batch; it stays as it is.

        A step is refused for what its own loss and gradient are, both from before its update: weights that this
        update blew up show at the next forward pass alone.

        Args:
            crops: as `step` had them.
            step: as `step` had it.

        Returns:
            Why the next step would be refused, or ''.
        """
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        prototypes = [(weight, weight.clone()) for weight in self.model.prototype_weights()]
        self.model.train()
        self.model.normalize_prototypes()
        _, scores_VBK = self._embed_all(crops, buffers, grad=False)
        loss_B = self._loss(scores_VBK, self._codes(scores_VBK, self._uses_queue(step)))
        loss = float(self.world.sum(loss_B.sum() / self.config.train.global_batch_size))
        _put_back(buffers + prototypes)
        momenta = [value for state in self.optimizer.state.values() for value in state.values() if value is not None]
        norm = float(nn.utils.get_total_norm(momenta)) if momenta else 0.0
        return self._why_refuse(loss) or ("" if math.isfinite(norm) else f"the momentum's norm is {norm}")

    def _uses_queue(self, step: int) -> bool:
        return self.queue is not None and step >= self.config.queue.start_epoch * self.steps_per_epoch

    def _embed_all(
        self, crops: Sequence[Tensor], buffers: list[tuple[Tensor, Tensor]], *, grad: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Embeds this worker's whole slice; without gradient `buffers` are put back to what they were."""
        if grad:
            return self._embed(self._forward, crops, self._passes.own)
        with torch.no_grad():
            parts = [self._embed(self.model, self._of_pass(crops, rows), rows) for rows in self._passes.rows]
        _put_back(buffers)
        heads = zip(*(scores for _, scores in parts), strict=True)
        embeddings_VBD = torch.cat([embeddings for embeddings, _ in parts], dim=1)
        return embeddings_VBD, [torch.cat(head, dim=1) for head in heads]

    def _embed(self, network: nn.Module, crops: Sequence[Tensor], rows: range) -> tuple[Tensor, list[Tensor]]:
        """Embeddings (V, B, D) and scores, heads of (V, B, K), of the images `rows` of the global batch."""
        batch = self.config.train.global_batch_size
        self._parts.begin(rows, batch, communicate=self._passes.communicate)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.train.precision == "bf16"):
            embeddings, scores = network(crops)
        total = self.config.crops.total
        return embeddings.unflatten(0, (total, -1)), [head.unflatten(0, (total, -1)) for head in scores]

    def _backward_in_passes(self, crops: Sequence[Tensor], codes_ABK: list[Tensor], weight: float) -> None:
        for rows in self._passes.rows:
            own = slice(rows.start - self._passes.own.start, rows.stop - self._passes.own.start)
            last = rows == self._passes.rows[-1]
            with contextlib.ExitStack() as stack:
                if isinstance(self._forward, nn.parallel.DistributedDataParallel) and not last:
                    stack.enter_context(self._forward.no_sync())  # gradients add up here and are averaged once
                _, scores_VBK = self._embed(self._forward, self._of_pass(crops, rows), rows)
                loss_B = self._loss(scores_VBK, [codes[:, own] for codes in codes_ABK])
                (loss_B.sum() * weight).backward()

    def _of_pass(self, crops: Sequence[Tensor], rows: range) -> list[Tensor]:
        """The images `rows` of the global batch, out of this worker's slice."""
        own = slice(rows.start - self._passes.own.start, rows.stop - self._passes.own.start)
        counts = self.config.crops.counts
        return [
            group.unflatten(0, (count, -1))[:, own].flatten(0, 1) for group, count in zip(crops, counts, strict=True)
        ]

    def _loss(self, scores_VBK: list[Tensor], codes_ABK: list[Tensor]) -> Tensor:
        """Each image's loss, (B,): the mean over heads."""
        crops, temperature = self.config.assignment.crops_for_assign, self.config.train.temperature
        heads = [
            swapped_prediction(head, codes, crops_for_assign=crops, temperature=temperature)
            for head, codes in zip(scores_VBK, codes_ABK, strict=True)
        ]
        return torch.stack(heads).mean(0)

    def _why_refuse(self, loss: float) -> str:
        prototypes = self.config.model.prototypes
        limit = sum(map(math.log, prototypes)) / len(prototypes) + 1 / self.config.train.temperature
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        return f"the loss, {loss:.4g}, is above ln K + 1 / temperature = {limit:.4g}" if loss > limit else ""

    @torch.no_grad()
    def _codes(self, scores_VBK: list[Tensor], use_queue: bool) -> list[Tensor]:
        """Codes of each head, (A, B, K), over the global batch and, once it is full, the queue."""
        assignment = self.config.assignment
        per_crop: list[list[Tensor]] = []
        for index, crop in enumerate(assignment.crops_for_assign):
            scores = [head[crop].detach() for head in scores_VBK]
            if use_queue and self.queue is not None and self.queue.full:
                past_QD = self.queue.rows[index, self.world.own_slice(self.queue.rows.shape[1])]
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
