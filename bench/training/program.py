"""One compiled network with its optimizer.

Built once a process, put back to a start for every run, and never recompiled.
"""

import dataclasses
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import registry
from bench.config.schema import ExperimentConfig
from bench.data.batches import Batch, EvaluationBatch
from bench.ledger.records import CompileRecord
from bench.models.networks import head_prefixes
from bench.runtime.compute import CompileMeter, compile_module
from bench.runtime.distributed import World
from bench.training.averaging import WeightAverage
from bench.training.drift import check_alike
from bench.training.schedules import Reaction, constant, react

TIMED_STEPS = 3


class Objective(nn.Module):
    """Images [N, 3, H, W] and labels [N] to cross-entropy [N] and predictions [N].

    Labels are smoothed in training only.
    """

    def __init__(self, network: nn.Module, label_smoothing: float) -> None:
        super().__init__()
        self.network = network
        self.label_smoothing = label_smoothing

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each image in float32, and its most likely class."""
        logits_NK = self.network(images).float()
        smoothing = self.label_smoothing if self.training else 0.0
        loss_N = F.cross_entropy(logits_NK, labels, reduction="none", label_smoothing=smoothing)
        return loss_N, logits_NK.argmax(dim=1)


class Score(NamedTuple):
    """Exact counts over all ranks, and the mean loss.

    `confusion` [K, K] counts the images of each class (row) by what they were taken for.
    """

    confusion: list[list[int]]
    loss: float


class Program:
    """A network under AMP (and DDP), its optimizer, schedule and average.

    `raw` is the bare network that state belongs to. Runs that share a program differ in their
    start, budget and learning rate alone: `reset` and `begin_run` set these.
    """

    def __init__(
        self,
        raw: nn.Module,
        wrapped: nn.Module,
        config: ExperimentConfig,
        world: World,
        classes: int,
    ) -> None:
        self.raw = raw
        self._world = world
        self._classes = classes
        raw.to(world.device).to(memory_format=torch.channels_last)
        self._objective = Objective(wrapped, config.train.label_smoothing).to(world.device)
        prefixes = head_prefixes(raw)
        self._body = [p for name, p in raw.named_parameters() if not name.startswith(prefixes)]
        if config.finetune.layers == "head":
            self._let_body_learn(False)  # before DDP and optimizer see it
        make_optimizer = registry.resolve("optimizer", config.optim.name)
        self.optimizer: torch.optim.Optimizer = make_optimizer(raw, config.optim)
        self._prepared = world.accelerator.prepare(self._objective)
        self.scaler: torch.amp.GradScaler | None = world.accelerator.scaler  # fp16's alone
        self._schedule = registry.resolve("schedule", config.schedule.name)
        self.average = WeightAverage(
            raw,
            decay=config.schedule.average_decay,
            every_steps=config.schedule.average_every_steps,
        )
        self._skipped_steps = torch.zeros((), device=world.device)  # fp16's alone
        self._lr_scale = 1.0
        self.begin_run(config)
        if config.compile.enabled:
            compile_module(self._objective, config.compile.mode)

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""
        return self._world.device

    def check_alike(self, step: int) -> None:
        """Raise DriftError where ranks hold other weights, or averages of them."""
        weights = self.average.live[: self.average.parameter_count]
        averages = self.average.tensors[: self.average.parameter_count]
        check_alike(self._world, [*weights, *averages], step)

    def skipped_steps(self) -> int:
        """Return how many steps moved no weight so far, as a gradient overflowed under fp16.

        The schedule, the average and the count of samples go on over them. Waits for the device.
        """
        return 0 if self.scaler is None else int(self._skipped_steps)

    def set_skipped_steps(self, count: int) -> None:
        """Stand where so many steps were skipped."""
        self._skipped_steps.fill_(count)

    def begin_run(self, config: ExperimentConfig) -> None:
        """Take a run's budget and learning rate; all else in its config is the program's."""
        self._config = config
        self.total_steps = config.train.samples // config.train.global_batch_size

    def react_to(self, val_losses: Sequence[float]) -> Reaction:
        """Set the learning rate as the val losses so far ask; all that they ask for."""
        reaction = react(val_losses, self._config)
        self._lr_scale = reaction.lr_scale
        return reaction

    def warm_up(
        self, batches: Iterable[Batch], evaluation: Iterable[EvaluationBatch]
    ) -> CompileRecord:
        """Compile and autotune on random labels; `reset` must follow. Only `algoperf` counts it.

        `batches` has one of each shape, of `evaluation` the first is taken; making them, the
        loader's compiling too, is counted. Steps are timed afterwards: compiled, eager, and without
        an exchange of gradients between ranks.
        """
        compiling = self._config.compile
        world = self._world
        with CompileMeter(world.synchronize) as meter:
            random_batches = [_with_random_labels(batch) for batch in batches]
            for first_step in {0, self._config.finetune.head_first_steps}:
                for batch in random_batches:
                    self.step(batch, first_step)
                    self.step(batch, first_step + 1)
                self.evaluate(islice(evaluation, 1))
        timed_batch = random_batches[0]
        alone_s = None
        if world.size > 1:
            # Not last: DDP remembers a step without exchange, and would leave the next one's
            # statistics as they are on each rank, which a run that goes on would notice.
            with world.accelerator.no_sync(self._prepared):
                alone_s = self._step_s(timed_batch)
        step_s = self._step_s(timed_batch)
        with torch.compiler.set_stance("force_eager"):
            eager_s = self._step_s(timed_batch)
        alone_s = alone_s or step_s
        step_s, eager_s, alone_s = world.slowest([step_s, eager_s, alone_s])
        return CompileRecord(
            enabled=compiling.enabled,
            mode=compiling.mode,
            fullgraph=compiling.enabled,
            compile_s=meter.compile_s,
            graphs=meter.graphs,
            cache_hits=meter.cache_hits,
            cache_misses=meter.cache_misses,
            step_s=step_s,
            eager_step_s=eager_s,
            communication_fraction=max(0.0, 1 - alone_s / step_s),
        )

    def _step_s(self, batch: Batch) -> float:
        """Return the seconds of the fastest of a few steps on one batch, the first left out."""
        steps_s = []
        first_step = self._config.finetune.head_first_steps
        for step in range(first_step, first_step + TIMED_STEPS + 1):
            start_s = time.monotonic()
            self.step(batch, step)
            self._world.synchronize()
            steps_s.append(time.monotonic() - start_s)
        return min(steps_s[1:])

    def reset(self, state: dict[str, Tensor]) -> None:
        """Put weights, statistics, optimizer, scaler and average back to a start, all in place."""
        self.raw.load_state_dict(state)
        self.optimizer.state.clear()
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler is not None:
            new_scaler = torch.amp.GradScaler(self._world.device.type)
            self.scaler.load_state_dict(new_scaler.state_dict())
        self.set_skipped_steps(0)
        self.average.reset()
        self._lr_scale = 1.0
        # Every module in one mode: `_set_modes` looks only at the modes of these two.
        self._objective.eval()
        self.raw.eval()

    def step(self, batch: Batch, step: int) -> Tensor:
        """One optimizer step, perhaps of the head alone; this rank's mean loss, on the device."""
        self._set_learning_rate(step)
        finetune = self._config.finetune
        head_only = finetune.layers == "head" or step < finetune.head_first_steps
        self._let_body_learn(not head_only)
        self._set_modes(objective=True, network=not head_only)
        loss = self._gradients(batch, head_only=head_only)
        self._move_weights()
        self.average.update(step)
        return loss

    def _set_learning_rate(self, step: int) -> None:
        peak = self._config.optim.lr * self._lr_scale
        lr_warmup_steps = self._config.schedule.lr_warmup_steps
        rate = peak * self._schedule(step, lr_warmup_steps, self.total_steps)
        # Layers that join later rise from then on.
        body_steps = step - self._config.finetune.head_first_steps
        body_rate = rate * constant(max(0, body_steps), lr_warmup_steps, self.total_steps)
        for group in self.optimizer.param_groups:
            group_rate = rate
            if self._config.finetune.head_first_steps and not group["is_head"]:
                group_rate = body_rate
            group["lr"] = group_rate * group.get("lr_scale", 1.0)

    def _let_body_learn(self, learns: bool) -> None:
        if not self._body or self._body[0].requires_grad == learns:
            return
        for parameter in self._body:
            parameter.requires_grad_(learns)

    def _set_modes(self, *, objective: bool, network: bool) -> None:
        """Put the objective and, inside it, the network in training (True) or in evaluation.

        Setting walks all modules, milliseconds in a deep network, so only where a mode changes.
        """
        if self._objective.training == objective and self.raw.training == network:
            return
        self._objective.train(objective)
        self.raw.train(network)

    def _gradients(self, batch: Batch, *, head_only: bool) -> Tensor:
        """Gradients of the mean loss over all ranks, perhaps in parts; this rank's mean loss."""
        # DDP waits for every gradient it was built for; a head is small enough to be averaged here.
        forward = self._objective if head_only else self._prepared
        if self._config.train.accumulate_steps == 1:
            mean_loss = self._backward(forward(batch.images, batch.labels)[0].mean())
        else:
            mean_loss = self._gradients_in_parts(forward, batch)
        if head_only:
            self._world.average_(p.grad for p in self.raw.parameters() if p.grad is not None)
        return mean_loss

    def _gradients_in_parts(self, forward: nn.Module, batch: Batch) -> Tensor:
        """As `_gradients`, of one part of the batch after another; ranks exchange the last sum."""
        parts = self._config.train.accumulate_steps
        images = batch.images.chunk(parts)
        labels = batch.labels.chunk(parts)
        mean_loss = torch.zeros((), device=self._world.device)
        with self._world.accelerator.no_sync(self._prepared):
            for part in range(parts - 1):
                loss = forward(images[part], labels[part])[0].mean() / parts
                mean_loss += self._backward(loss)
        loss = forward(images[-1], labels[-1])[0].mean() / parts
        return mean_loss + self._backward(loss)

    def _backward(self, loss: Tensor) -> Tensor:
        """Add a loss's gradients, scaled under fp16; the loss without its graph.

        What accelerate's own backward and optimizer come to here, and not through them: a small
        network's step is bound by the host, and they ask for other back ends at every step.
        """
        if self.scaler is None:
            loss.backward()
        else:
            self.scaler.scale(loss).backward()
        return loss.detach()

    def _move_weights(self) -> None:
        """Step the optimizer; under fp16, where a gradient overflowed, lower the scale instead."""
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            # Fused optimizers skip inside their kernel: only the scaler knows, on the device.
            for overflow in self.scaler._found_inf_per_device(self.optimizer).values():
                self._skipped_steps += overflow
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[EvaluationBatch]) -> Score:
        """Score the averaged weights: integer counts, every image once over all ranks."""
        classes = self._classes
        device = self._world.device
        confusion = torch.zeros(classes * classes, dtype=torch.int64, device=device)
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._set_modes(objective=False, network=False)
        with self.average.applied():
            self._world.average_(self.average.statistics)
            for batch in batches:
                loss_N, predictions_N = self._objective(batch.images, batch.labels)
                cells_N = batch.labels * classes + predictions_N
                confusion.scatter_add_(0, cells_N, batch.counts.long())
                loss_sum += loss_N.double().where(batch.counts, 0).sum()
        counts = self._world.sums(confusion.tolist())
        rows = [counts[first : first + classes] for first in range(0, len(counts), classes)]
        return Score(confusion=rows, loss=self._world.sum_of(float(loss_sum)) / sum(counts))


def _with_random_labels(batch: Batch) -> Batch:
    return dataclasses.replace(batch, labels=torch.randint_like(batch.labels, 2))
