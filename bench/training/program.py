"""One compiled network with its optimizer: built once a process, put back to a start for every
run, never recompiled.
"""

import dataclasses
import time
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import islice
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import registry
from bench.config.schema import ExperimentConfig
from bench.data.batches import Batch, EvaluationBatch
from bench.models.networks import head_prefixes
from bench.runtime.compute import compile_module, compile_record
from bench.runtime.distributed import World
from bench.training.averaging import WeightAverage

TIMED_STEPS = 3


class Objective(nn.Module):
    """Images [N, 3, H, W] and labels [N] to cross-entropy [N] (smoothed in training only) and
    predictions [N].
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
    """Exact counts over all ranks: images of each class (row) by what they were taken for, [K,
    K]; and the mean loss.
    """

    confusion: list[list[int]]
    loss: float


class Program:
    """A network under AMP (and DDP), its optimizer, schedule and average. `raw` is the bare
    network that state belongs to.
    """

    def __init__(
        self,
        raw: nn.Module,
        wrapped: nn.Module,
        config: ExperimentConfig,
        world: World,
        classes: int,
    ) -> None:
        self.raw, self._config, self._world, self._classes = raw, config, world, classes
        raw.to(world.device).to(memory_format=torch.channels_last)
        objective = Objective(wrapped, config.train.label_smoothing).to(world.device)
        self._body = [
            p for name, p in raw.named_parameters() if not name.startswith(head_prefixes(raw))
        ]
        for parameter in self._body if config.finetune.layers == "head" else ():
            parameter.requires_grad_(False)  # before DDP and optimizer see it
        self.optimizer: torch.optim.Optimizer = registry.resolve("optimizer", config.optim.name)(
            raw, config.optim
        )
        self._prepared, self._optimizer = world.accelerator.prepare(objective, self.optimizer)
        self._objective = objective
        self.scaler: torch.amp.GradScaler | None = (
            world.accelerator.scaler
        )  # of fp16; None in other precisions
        self._schedule = registry.resolve("schedule", config.schedule.name)
        self.total_steps = config.train.samples // config.train.global_batch_size
        self.peak_lr, self.lr_scale = config.optim.lr, 1.0
        self.average = WeightAverage(
            raw,
            decay=config.schedule.average_decay,
            every_steps=config.schedule.average_every_steps,
        )
        if config.compile.enabled:
            compile_module(objective, config.compile.mode)

    def warm_up(
        self, batches: Iterable[Batch], evaluation: Iterable[EvaluationBatch]
    ) -> dict[str, Any]:
        """Compile and autotune on random labels, off every clock but `algoperf`; `reset` must
        follow. Returns its record.

        `batches` has one of each shape, of `evaluation` the first is taken; making them, the
        loader's compiling too, is counted. Beside that a step's seconds, compiled and eager, and
        what part of it the ranks spend on exchanging gradients.
        """
        compiling, world = self._config.compile, self._world
        with compile_record(world.synchronize) as record:
            made = [
                dataclasses.replace(batch, labels=torch.randint_like(batch.labels, 2))
                for batch in batches
            ]
            for first in {0, self._config.finetune.head_first_steps}:
                for batch in made:
                    for step in (first, first + 1):
                        self.step(batch, step)
                self.evaluate(islice(evaluation, 1))
        step_s = self._seconds(made[0])
        with torch.compiler.set_stance("force_eager"):
            eager_s = self._seconds(made[0])
        with world.accelerator.no_sync(self._prepared):
            alone_s = self._seconds(made[0]) if world.size > 1 else step_s
        step_s, eager_s, alone_s = world.slowest([step_s, eager_s, alone_s])
        return {
            "enabled": compiling.enabled, "mode": compiling.mode, "fullgraph": compiling.enabled, **record,
            "step_s": step_s, "eager_step_s": eager_s, "communication_fraction": max(0.0, 1 - alone_s / step_s),
        }  # fmt: skip

    def _seconds(self, batch: Batch) -> float:
        """The fastest of a few steps on one batch, the first left out."""
        taken_s, first = [], self._config.finetune.head_first_steps
        for step in range(first, first + TIMED_STEPS + 1):
            start_s = time.monotonic()
            self.step(batch, step)
            self._world.synchronize()
            taken_s.append(time.monotonic() - start_s)
        return min(taken_s[1:])

    def reset(self, state: dict[str, Tensor]) -> None:
        """Put weights, statistics, optimizer, scaler and average back to a start, all in place."""
        self.raw.load_state_dict(state)
        self.optimizer.state.clear()
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler is not None:
            self.scaler.load_state_dict(torch.amp.GradScaler(self._world.device.type).state_dict())
        self.average.reset()
        self.lr_scale = 1.0

    def step(self, batch: Batch, step: int) -> Tensor:
        """One optimizer step, perhaps of the head alone; the batch's mean loss on this rank,
        still on the device.
        """
        rate = (
            self.peak_lr
            * self.lr_scale
            * self._schedule(step, self._config.schedule.lr_warmup_steps, self.total_steps)
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        finetune = self._config.finetune
        head_only = finetune.layers == "head" or step < finetune.head_first_steps
        if self._body and self._body[0].requires_grad == head_only:
            for parameter in self._body:
                parameter.requires_grad_(not head_only)
        loss = self._gradients(batch, head_only=head_only)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.average.update(step)
        return loss

    def _gradients(self, batch: Batch, *, head_only: bool) -> Tensor:
        """Gradients of the mean loss over all ranks, in as many parts as the config asks for;
        this rank's mean loss.
        """
        parts, accelerator = self._config.train.accumulate_steps, self._world.accelerator
        self._objective.train()
        self.raw.train(not head_only)
        # DDP waits for every gradient it was built for; a head is small enough to be averaged here.
        forward = self._objective if head_only else self._prepared
        mean = torch.zeros((), device=self._world.device)
        for part, (images, labels) in enumerate(
            zip(batch.images.chunk(parts), batch.labels.chunk(parts), strict=True), 1
        ):
            with accelerator.no_sync(self._prepared) if part < parts else nullcontext():
                loss = forward(images, labels)[0].mean() / parts
                accelerator.backward(loss)
            mean += loss.detach()
        if head_only:
            self._world.average_(p.grad for p in self.raw.parameters() if p.grad is not None)
        return mean

    @torch.no_grad()
    def evaluate(self, batches: Iterable[EvaluationBatch]) -> Score:
        """Score the averaged weights; integer counts, every image of the set once over all
        ranks.
        """
        classes, device = self._classes, self._world.device
        confusion = torch.zeros(classes * classes, dtype=torch.int64, device=device)
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._objective.eval()
        with self.average.applied():
            self._world.average_(self.average.statistics)
            for batch in batches:
                loss_N, predictions_N = self._objective(batch.images, batch.labels)
                confusion.scatter_add_(
                    0, batch.labels * classes + predictions_N, batch.counts.long()
                )
                loss_sum += loss_N.double().where(batch.counts, 0).sum()
        counts = self._world.sums(confusion.tolist())
        rows = [counts[first : first + classes] for first in range(0, len(counts), classes)]
        return Score(confusion=rows, loss=self._world.sums([float(loss_sum)])[0] / sum(counts))
