"""The training loop of one run: steps on the train clock, evaluations on the grid beside it.

It knows no plan and no run id: bench.experiment hands it one record.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Literal

from torch import Tensor

from bench.config.schema import ExperimentConfig
from bench.data.batches import Batch, EvaluationBatch, Loader
from bench.data.order import Order
from bench.ledger.records import Split
from bench.runtime.distributed import World
from bench.training.features import RunFeatures
from bench.training.loss_watch import LossWatch, MeanLoss
from bench.training.program import Program
from bench.training.recorder import Recorder, Standing
from bench.training.schedules import Reaction


@dataclass(kw_only=True)
class Progress:
    """Where a run stands."""

    step: int = 0
    # Of the evaluations on val so far, all finite: what the recipe reacts to.
    val_losses: list[float] = field(default_factory=list)
    data_wait_s: float = 0.0  # on this rank

    def advance(self, waited_s: float) -> None:
        """Count a step, and how long its batch was waited for."""
        self.step += 1
        self.data_wait_s += waited_s


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Everything that a run's training needs. `program` stands where `progress` says.

    `features` are there where a frozen body's are computed once a run. `save_checkpoint` writes the
    program's state, given this rank's nanoseconds by segment, and returns where; every rank calls
    it.
    """

    config: ExperimentConfig
    world: World
    program: Program
    loader: Loader
    order: Order
    val: Iterable[EvaluationBatch]
    test: Iterable[EvaluationBatch]
    features: RunFeatures | None
    recorder: Recorder
    progress: Progress
    save_checkpoint: Callable[[Progress, dict[str, int]], Path]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run's training ended; the steps are those of bench.ledger.records.RunStop."""

    status: Literal["completed", "diverged"]
    stopped_step: int | None
    best_step: int | None


DIVERGED = Outcome(status="diverged", stopped_step=None, best_step=None)


def train(job: TrainingJob) -> Outcome:
    """Train to the budget, or to where the loss or the run's own rule ends it."""
    return _Training(job).run()


class _Training:
    """A job under way."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job
        self._progress = job.progress
        self._recorder = job.recorder
        self._program = job.program
        self._watch = LossWatch(job.world)
        self._train_loss = MeanLoss(job.world)
        self._skipped_before = self._program.skipped_steps()
        config = job.config
        self._steps_an_evaluation = (
            config.evaluation.every_samples // config.train.global_batch_size
        )

    def run(self) -> Outcome:
        job = self._job
        self._program.begin_run(job.config)
        reaction = self._program.react_to(self._progress.val_losses)
        if job.features is not None:
            self._compute_features(job.features)
        total_steps = self._program.total_steps
        batches = job.loader.batches(job.order, self._progress.step, total_steps)
        self._recorder.switch("train")
        while self._progress.step < total_steps and not reaction.stop:
            stop_step = self._progress.step + self._steps_an_evaluation
            if not self._train_to(stop_step, batches):
                return DIVERGED
            loss = self._evaluate("val")
            if not math.isfinite(loss) or self._moved_no_weight():
                return DIVERGED
            self._progress.val_losses.append(loss)
            reaction = self._program.react_to(self._progress.val_losses)
            self._after_evaluation(reaction)
        best_step = None
        if job.config.train.restore_best:
            self._program.average.put_back()
            best_step = (reaction.best + 1) * self._steps_an_evaluation
        self._evaluate("test", final=True)
        stopped_step = self._progress.step if reaction.stop else None
        return Outcome(status="completed", stopped_step=stopped_step, best_step=best_step)

    def _compute_features(self, features: RunFeatures) -> None:
        """Compute a frozen body's features, each split's on the segment that will read them."""
        self._recorder.switch("train")
        features.train.compute()
        self._recorder.switch("evaluate")
        features.val.compute()
        self._recorder.switch("evaluate_final")
        features.test.compute()

    def _train_to(self, stop_step: int, batches: Iterator[Batch]) -> bool:
        """Train up to a step, or to a check that tells of a loss that is not finite.

        Says whether all losses that were looked at are finite: the last one, and those that were
        checked on the way.
        """
        check_every_steps = self._job.config.train.check_every_steps
        while True:
            loss = self._train_step(batches)
            if self._progress.step == stop_step:
                return self._watch.settle(loss)
            is_check = self._progress.step % check_every_steps == 0
            if is_check and not self._watch.check(loss):
                return False

    def _train_step(self, batches: Iterator[Batch]) -> Tensor:
        """Train on the next batch; return this rank's mean loss, on the device."""
        waiting_ns = monotonic_ns()
        batch = next(batches)
        waited_s = (monotonic_ns() - waiting_ns) / 1e9
        loss = self._program.step(batch, self._progress.step)
        self._train_loss.add(loss)
        self._progress.advance(waited_s)
        if self._progress.step % self._job.order.steps_per_epoch == 0:
            self._recorder.epoch_stopped(self._progress.step)
        return loss

    def _after_evaluation(self, reaction: Reaction) -> None:
        """Keep the best weights, score test for the record, save a checkpoint: where asked for."""
        config = self._job.config
        evaluations = self._progress.step // self._steps_an_evaluation
        if config.train.restore_best and reaction.best == evaluations - 1:
            self._program.average.keep()
        is_last = reaction.stop or self._progress.step == self._program.total_steps
        if config.evaluation.test_every_look and not is_last:
            self._evaluate("test")
        checkpoint_every = config.train.checkpoint_every_looks
        if checkpoint_every and evaluations % checkpoint_every == 0:
            self._save_checkpoint()
        self._recorder.switch("train")

    def _evaluate(self, split: Split, *, final: bool = False) -> float:
        """Score a split and record it; return the mean loss.

        Raises DriftError, on every rank, where ranks hold other weights.
        """
        self._recorder.switch("evaluate_final" if final else "evaluate")
        if split == "val":
            self._program.check_alike(self._progress.step)
        images = self._job.val if split == "val" else self._job.test
        score = self._program.evaluate(images)
        self._recorder.switch("log")
        standing = Standing(
            samples=self._job.order.samples_seen(self._progress.step),
            data_wait_s=self._progress.data_wait_s,
            train_loss=self._train_loss.read() if split == "val" else None,
            skipped_steps=self._program.skipped_steps(),
        )
        self._recorder.evaluated(split, score, self._progress.step, standing, final=final)
        return score.loss

    def _moved_no_weight(self) -> bool:
        """Say whether every step since the evaluation before was skipped (fp16)."""
        skipped = self._program.skipped_steps()
        steps = skipped - self._skipped_before
        self._skipped_before = skipped
        return steps == self._steps_an_evaluation

    def _save_checkpoint(self) -> None:
        self._recorder.switch("checkpoint")
        path = self._job.save_checkpoint(self._progress, self._recorder.rank_segments_ns())
        self._recorder.checkpoint_saved(path, self._progress.step)
        self._recorder.switch("log")
        self._recorder.deliver()
