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
from swav_ray.loss.swapped_prediction import swapped_prediction
from swav_ray.model.global_batch_norm import Parts, average_running_statistics, synchronize
from swav_ray.model.swav import SwAVModel, is_trunk
from swav_ray.optim.larc import LarcSGD
from swav_ray.optim.schedule import learning_rate
from swav_ray.training.codes import codes
from swav_ray.training.distributed import World
from swav_ray.training.passes import passes
from swav_ray.training.refusal import must_refuse, why_refuse
from swav_ray.training.saved import Saved
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


class Learner:
    """Model, optimizer and queue of one worker, and the step that trains them.

    Args:
        config: the run.
        steps_per_epoch: global batches an epoch.
        device: where the parameters live.
        dtype: their precision.
        world: the workers that share each global batch.

    Attributes:
        on_gradient: is called with the step between its gradient and its update, also if the step is then refused; must
            change nothing.
        meanwhile: is called when the device has all of a step's work, before its result is waited for.
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
        self.meanwhile: Callable[[], None] = lambda: None
        # float64 is for following the published loop, whose sums channels-last would add in another order.
        layout = torch.contiguous_format if dtype == torch.float64 else torch.channels_last
        model = build_model(config).to(self.device, dtype).to(memory_format=layout)
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
        if config.performance.compile:
            model.compile_trunk()
        self.model = model
        self._forward = self.world.average_gradients(model)
        named = list(model.named_buffers())
        self._buffers = Saved(buffer for _, buffer in named)
        self._trunk_buffers = Saved(buffer for name, buffer in named if is_trunk(name))
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
        self._buffers.take()
        if self._hold.freezes(step):
            self._trunk_buffers.take()
        embeddings_VBD, codes_ABK, own_loss = self._pass(crops, self._uses_queue(step), learns=True)
        loss, norm = self.world.sum(own_loss), self.optimizer.gradient_norm()
        self.on_gradient(step)
        self._update(step, loss, norm)
        self.meanwhile()
        found = torch.stack([loss, norm.to(loss)]).tolist()  # the step's one wait for the device
        if refused := why_refuse(self.config, *found):
            self.refused_steps += 1
            self._buffers.put_back()
        else:
            self._conclude(step, embeddings_VBD)
        self.optimizer.zero_grad()
        return StepResult(found[0], lr, codes_ABK, embeddings_VBD, refused)

    def _pass(self, crops: Sequence[Tensor], use_queue: bool, *, learns: bool) -> tuple[Tensor, list[Tensor], Tensor]:
        """Embeddings, codes and this worker's loss; the gradient is left in the parameters if it learns."""
        if self._passes.count == 1:
            embeddings_VBD, scores_VBK = self._embed(crops, self._passes.own, learns=learns)
            codes_ABK = self._codes(self._assigned(scores_VBK), use_queue)
            return embeddings_VBD.detach(), codes_ABK, self._loss(scores_VBK, codes_ABK, learns=learns)
        embeddings_VBD, scores_ABK = self._embed_in_passes(crops)
        codes_ABK = self._codes(scores_ABK, use_queue)
        losses = []
        for rows in self._passes.rows:
            with contextlib.ExitStack() as stack:
                if isinstance(self._forward, nn.parallel.DistributedDataParallel) and rows != self._passes.rows[-1]:
                    stack.enter_context(self._forward.no_sync())  # gradients add up here and are averaged once
                _, scores_VBK = self._embed(self._crops_of(crops, rows), rows, learns=learns)
                own = self._of_slice(rows)
                losses.append(self._loss(scores_VBK, [head[:, own] for head in codes_ABK], learns=learns))
        return embeddings_VBD, codes_ABK, torch.stack(losses).sum()

    def _update(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Applies the gradient unless the step must be refused, which the device decides for itself."""
        if step < self.config.optim.freeze_prototypes_steps:
            for weight_KD in self.model.prototype_weights():
                weight_KD.grad = None
        self.optimizer.found_inf = must_refuse(self.config, loss, norm).to(torch.float32)
        self.optimizer.step()

    def _conclude(self, step: int, embeddings_VBD: Tensor) -> None:
        """What else a step that was applied changes: running statistics and the queue."""
        config, world, batch = self.config, self.world, self.config.train.global_batch_size
        if world.group is not None and not self._passes.communicate:
            average_running_statistics(self.model, world.group, len(self._passes.own) / batch)
        if self._uses_queue(step) and self.queue is not None:
            assigned_BAD = embeddings_VBD[list(config.assignment.crops_for_assign)].transpose(0, 1)
            self.queue.push(world.gather(assigned_BAD.contiguous(), batch).transpose(0, 1))
        if self._hold.freezes(step):
            # It normalises by the batch, as it will when it learns, so that the heads meet the same features then.
            self._trunk_buffers.put_back()

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
        self._buffers.take()
        prototypes = Saved(self.model.prototype_weights())
        self.model.train()
        self.model.normalize_prototypes()
        loss = float(self.world.sum(self._pass(crops, self._uses_queue(step), learns=False)[2]))
        self._buffers.put_back()
        prototypes.put_back()
        momenta = [value for state in self.optimizer.state.values() for value in state.values() if value is not None]
        norm = float(nn.utils.get_total_norm(momenta)) if momenta else 0.0
        return why_refuse(self.config, loss) or ("" if math.isfinite(norm) else f"the momentum's norm is {norm}")

    def _uses_queue(self, step: int) -> bool:
        return self.queue is not None and step >= self.config.queue.start_epoch * self.steps_per_epoch

    @torch.no_grad()
    def _embed_in_passes(self, crops: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Embeddings of this worker's whole slice and scores of the crops with codes; buffers stay as they were."""
        parts = []
        for rows in self._passes.rows:
            embeddings_VBD, scores_VBK = self._embed(self._crops_of(crops, rows), rows, learns=False)
            parts.append((embeddings_VBD, self._assigned(scores_VBK)))
        self._buffers.put_back()
        heads = zip(*(scores for _, scores in parts), strict=True)
        embeddings_VBD = torch.cat([embeddings for embeddings, _ in parts], dim=1)
        return embeddings_VBD, [torch.cat(head, dim=1) for head in heads]

    def _assigned(self, scores_VBK: list[Tensor]) -> list[Tensor]:
        """Scores of the crops with codes, heads of (A, B, K)."""
        return [head[list(self.config.assignment.crops_for_assign)].detach() for head in scores_VBK]

    def _embed(self, crops: Sequence[Tensor], rows: range, *, learns: bool) -> tuple[Tensor, list[Tensor]]:
        """Embeddings (V, B, D) and scores, heads of (V, B, K), of the images `rows` of the global batch."""
        batch = self.config.train.global_batch_size
        self._parts.begin(rows, batch, communicate=self._passes.communicate)
        if self.config.performance.compile:
            # Made before the trunk asks for them: a table that grows afterwards would have it compiled again.
            for count in (*map(len, crops), sum(map(len, crops))):
                self._parts.pieces(count, crops[0].device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.train.precision == "bf16"):
            embeddings, scores = (self._forward if learns else self.model)(crops)
        total = self.config.crops.total
        return embeddings.unflatten(0, (total, -1)), [head.unflatten(0, (total, -1)) for head in scores]

    def _of_slice(self, rows: range) -> slice:
        """The images `rows` of the global batch, in this worker's slice."""
        return slice(rows.start - self._passes.own.start, rows.stop - self._passes.own.start)

    def _crops_of(self, crops: Sequence[Tensor], rows: range) -> list[Tensor]:
        """Their crops."""
        counts, own = self.config.crops.counts, self._of_slice(rows)
        return [
            group.unflatten(0, (count, -1))[:, own].flatten(0, 1) for group, count in zip(crops, counts, strict=True)
        ]

    def _loss(self, scores_VBK: list[Tensor], codes_ABK: list[Tensor], *, learns: bool) -> Tensor:
        """What these images add to the loss of the global batch, (), backpropagated if it learns."""
        crops, temperature = self.config.assignment.crops_for_assign, self.config.train.temperature
        heads = [
            swapped_prediction(head, codes, crops_for_assign=crops, temperature=temperature)
            for head, codes in zip(scores_VBK, codes_ABK, strict=True)
        ]
        loss = torch.stack(heads).mean(0).sum() / self.config.train.global_batch_size
        if learns:
            (loss * self.world.size).backward()  # workers' gradients are averaged
        return loss.detach()

    def _codes(self, scores_ABK: list[Tensor], use_queue: bool) -> list[Tensor]:
        queue = self.queue if use_queue and self.queue is not None and self.queue.full else None
        return codes(scores_ABK, self.model.prototype_weights(), queue, self.config.assignment, self.world)
