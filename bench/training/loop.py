"""One run's training: steps on the train clock, looks on the grid beside it. The only impure arrow from config to events."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns

from torch import Tensor

from bench.config.schema import ExperimentConfig
from bench.data.batches import Batch, EvaluationSet, Loader
from bench.data.order import Order
from bench.results.clocks import SEGMENTS
from bench.runtime.distributed import World
from bench.runtime.phases import PhaseTimer
from bench.training import checkpoint
from bench.training.program import Program
from bench.training.recorder import Recorder


@dataclass(kw_only=True)
class Progress:
    """Where a run stands; what a checkpoint keeps beside tensors."""

    step: int = 0
    data_wait_s: float = 0.0
    segments_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Training:
    """All that one run's training touches."""

    run_id: str
    config: ExperimentConfig
    program: Program
    loader: Loader
    order: Order
    val: EvaluationSet
    test: EvaluationSet
    world: World
    recorder: Recorder
    timer: PhaseTimer
    checkpoints: Path

    def run(self, progress: Progress) -> str:
        """Train from `progress` to the budget. Returns the status: completed or diverged."""
        batch_size = self.config.train.global_batch_size
        total, every = self.config.train.samples // batch_size, self.config.evaluation.every_samples // batch_size
        self.program.total_steps = total  # runs of several budgets share a program
        batches = self.loader.batches(self.order, progress.step, total)
        self.timer.switch("train")
        for look_step in range(progress.step + every, total + 1, every):
            loss = self._steps(batches, progress, look_step)
            if not self._finite(loss):
                return "diverged"
            self._look(progress, look_step // every)
        self._evaluate(progress, "test", final=True)
        return "completed"

    def _steps(self, batches: Iterator[Batch], progress: Progress, stop_step: int) -> Tensor:
        """Steps up to the next look; stops early at a check that finds the loss no longer finite. The last loss."""
        while True:
            waiting_ns = monotonic_ns()
            batch = next(batches)
            progress.data_wait_s += (monotonic_ns() - waiting_ns) / 1e9
            loss = self.program.step(batch, progress.step)
            progress.step += 1
            if progress.step % self.order.steps_per_epoch == 0:
                self.recorder.emit("epoch_stop", epoch=self._epoch(progress), step=progress.step)
            if progress.step == stop_step:
                return loss
            if progress.step % self.config.train.check_every_steps == 0 and not self._finite(loss):
                return loss

    def _finite(self, loss: Tensor) -> bool:
        """Whether every rank's loss is finite: one synchronisation, the same answer on all ranks."""
        return not self.world.sum_counts([0 if math.isfinite(float(loss)) else 1])[0]

    def _look(self, progress: Progress, look: int) -> None:
        self._evaluate(progress, "val")
        if self.config.evaluation.test_every_look and progress.step < self.program.total_steps:
            self._evaluate(progress, "test")
        every = self.config.train.checkpoint_every_looks
        if every and look % every == 0:
            self.timer.switch("checkpoint")
            self._checkpoint(progress)
            self.timer.switch("log")
            self.recorder.deliver()
        self.timer.switch("train")

    def _evaluate(self, progress: Progress, split: str, *, final: bool = False) -> None:
        self.timer.switch("evaluate_final" if final else "evaluate")
        score = self.program.evaluate(self.val if split == "val" else self.test)
        self.timer.switch("log")
        self.recorder.emit(
            "eval_stop", epoch=self._epoch(progress), step=progress.step, split=split,
            samples=self.order.samples_seen(progress.step),
            correct=sum(score.class_correct), total=score.total, loss=score.loss if math.isfinite(score.loss) else None,
            class_correct=score.class_correct, confusion=score.confusion if final else None,
            segments_s=self.segments_s(), data_wait_s=self.world.slowest([progress.data_wait_s])[0],
        )  # fmt: skip
        self.recorder.deliver()

    def segments_s(self) -> dict[str, float]:
        """Seconds by segment so far, the slowest rank's."""
        own = self.timer.read_s()
        return dict(zip(SEGMENTS, self.world.slowest([own.get(name, 0.0) for name in SEGMENTS]), strict=True))

    def _checkpoint(self, progress: Progress) -> None:
        progress.segments_s = self.segments_s()
        if self.world.is_main:
            kept = {"run_id": self.run_id, "data_wait_s": progress.data_wait_s, "segments_s": progress.segments_s}
            path = checkpoint.save(self.checkpoints, self.program, step=progress.step, progress=kept)
            self.recorder.emit("checkpoint", epoch=self._epoch(progress), step=progress.step, path=path.name)
        self.world.barrier()

    def _epoch(self, progress: Progress) -> float:
        return progress.step / self.order.steps_per_epoch
