"""One run from its spec to its stored result: steps on the train clock, looks on the grid beside it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any

import numpy as np
from torch import Tensor

from bench.config.load import as_dict, dump
from bench.data.batches import Batch
from bench.experiment.assemble import Assembly, rates_text
from bench.experiment.inputs import make_order
from bench.experiment.plan import RunSpec
from bench.models.weights import initial_state
from bench.results.clocks import METHOD_VERSION, SEGMENTS
from bench.results.events import Event, EventLog
from bench.results.fold import RunResult
from bench.results.store import RunStore, write_json, write_text
from bench.runtime.compute import no_recompile
from bench.runtime.distributed import PendingSum, World
from bench.runtime.environment import PhaseTimer, environment_facts, process_age_s
from bench.trackers import Guarded
from bench.training import checkpoint


@dataclass(kw_only=True)
class Study:
    """What the runs of a process share: `facts` as the precision, and `once_s`, its seconds by segment until the first run."""

    world: World
    store: RunStore
    trackers: Guarded
    facts: dict[str, Any]
    once_s: dict[str, float]


class LossWatch:
    """Tells whether the losses of all ranks stay finite, with the same answer on every rank.

    A check begins to look at a loss, and reads what the check before it began: it never waits for
    the step that was just issued, so that the device's queue does not run empty.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._pending: PendingSum | None = None

    def check(self, loss: Tensor) -> bool:
        """Begin to look at a loss; whether the one looked at before, if any, was finite."""
        previous = self._pending
        # 0 times a loss is 0, or not a number where the loss is not finite; and so is the sum.
        self._pending = self._world.begin_sum(0 * loss)
        return previous is None or _is_zero(previous)

    def settle(self, loss: Tensor) -> bool:
        """Whether a loss and the one looked at before are finite; waits for the device."""
        were_finite = self.check(loss)
        assert self._pending is not None
        return _is_zero(self._pending) and were_finite


def _is_zero(pending: PendingSum) -> bool:
    return pending.read() == 0


def execute(spec: RunSpec, assembly: Assembly, study: Study) -> RunResult | None:
    """Train one run and store its result (returned on rank 0). An error is recorded as `failed` and raised on."""
    run = _Run(spec, assembly, study)
    try:
        with no_recompile(spec.config.compile.enabled):
            status = run.train()
    except Exception as failure:
        told = f"{type(failure).__name__}: {' '.join(str(failure).split())}"[:500]
        run.stop(
            "failed", told, run.timer.read_s()
        )  # this rank's own seconds: the others may be gone
        raise
    return run.stop(status, None, run.segments_s())


class _Run:
    """A run under way: where it stands, its time by segment, and its events, which are the ledger's before the trackers'.

    Events are told on rank 0 only, and never while the train clock runs: `_emit` buffers, `_deliver` tells.
    """

    def __init__(self, spec: RunSpec, assembly: Assembly, study: Study) -> None:
        """Stand at the run's start, or where its newest checkpoint was taken, with the run_start event told."""
        self._spec, self._assembly, self._study = spec, assembly, study
        self._config, self._program = spec.config, assembly.program
        self._world = world = study.world
        self._directory = study.store.run_dir(spec.run_id)
        if world.is_main:
            write_text(self._directory / "config.yaml", dump(as_dict(spec.config)))
        world.barrier()
        kept = self._restore()
        self._step: int = kept["step"]
        self._losses: list[float] = kept["losses"]  # of looks on val; what the recipe reacts to
        self._stopped: bool = False
        self._watch = LossWatch(world)
        self._data_wait_s: float = kept["data_wait_s"]
        # Paid once a process, and counted in full to each run on the clocks that count it.
        earlier_s = {**kept["segments_s"], **study.once_s, "compile": assembly.compile["compile_s"]}
        if study.facts["process_runs"] == 1:
            earlier_s["idle"] = max(0.0, process_age_s() - sum(earlier_s.values()))
        self.timer = PhaseTimer("build", world.synchronize, earlier_s)
        self._order = make_order(
            spec.config, assembly.dataset, seed=spec.seed, rank=world.rank, world_size=world.size
        )
        self._log = EventLog(self._directory) if world.is_main else None
        self._pending: list[Event] = []
        self.timer.switch("log")
        self._emit("run_start", **self._start_facts(), segments_s=self.segments_s())
        self._deliver()

    def _restore(self) -> dict[str, Any]:
        checkpoints = self._directory / "checkpoints"
        classes, start = len(self._assembly.dataset.classes), self._assembly.start
        self._program.reset(initial_state(self._config.model, classes, self._spec.seed, start))
        found = (
            checkpoint.load_newest(checkpoints, self._spec.run_id)
            if self._config.train.checkpoint_every_looks
            else None
        )
        if found is None:
            return {"step": 0, "losses": [], "data_wait_s": 0.0, "segments_s": {}}
        checkpoint.restore(self._program, *found)
        return found[1]

    def _start_facts(self) -> dict[str, Any]:
        """All that a result must carry to be read, compared and made again."""
        spec, assembly, dataset, world = (
            self._spec,
            self._assembly,
            self._assembly.dataset,
            self._world,
        )
        return {
            **{name: getattr(spec, name) for name in ("run_id", "arm", "seed", "block")},
            "experiment": spec.config.name,
            "method_version": METHOD_VERSION,
            "config": as_dict(spec.config),
            "dataset": {
                "name": dataset.name, "sha256": dataset.sha256, "classes": list(dataset.classes),
                **{split: len(getattr(dataset, split).labels) for split in ("train", "val", "test")},
                "val_by_class": np.bincount(dataset.val.labels, minlength=len(dataset.classes)).tolist(),
            },
            "network": assembly.network,
            "reality": {**assembly.reality, "schedule.rates": rates_text(spec.config)},
            "weights": assembly.start.record,
            "compile": assembly.compile,
            **self._study.facts,
            "environment": environment_facts(world.device, world.size),
            "world_size": world.size,
            "resumed_step": self._step,
        }  # fmt: skip

    def train(self) -> str:
        """Train to the budget. Returns the status: completed or diverged."""
        self._program.begin_run(self._config)
        self._react()
        total = self._program.total_steps
        every = self._config.evaluation.every_samples // self._config.train.global_batch_size
        for features, segment in zip(
            self._assembly.features, ("train", "evaluate", "evaluate_final"), strict=False
        ):
            self.timer.switch(segment)
            features.compute()
        batches = self._assembly.loader.batches(self._order, self._step, total)
        self.timer.switch("train")
        for look_step in range(self._step + every, total + 1, every):
            if not self._steps(batches, look_step):
                return "diverged"
            self._look(look_step // every)
            if self._stopped:
                break
        if self._config.train.restore_best:
            self._program.average.put_back()
        self._evaluate("test", final=True)
        return "completed"

    def _steps(self, batches: Iterator[Batch], stop_step: int) -> bool:
        """Steps up to the next look, or to a check that tells of a loss not finite.

        Returns whether the losses that were read, at a look also the last step's, are finite.
        """
        while True:
            loss = self._step_once(batches)
            if self._step == stop_step:
                return self._watch.settle(loss)
            is_check = self._step % self._config.train.check_every_steps == 0
            if is_check and not self._watch.check(loss):
                return False

    def _step_once(self, batches: Iterator[Batch]) -> Tensor:
        """One step on the next batch; this rank's mean loss, on the device."""
        waiting_ns = monotonic_ns()
        batch = next(batches)
        self._data_wait_s += (monotonic_ns() - waiting_ns) / 1e9
        loss = self._program.step(batch, self._step)
        self._step += 1
        if self._step % self._order.steps_per_epoch == 0:
            self._emit("epoch_stop")
        return loss

    def _react(self) -> int:
        """Do as the val losses so far ask; the look with the lowest."""
        reaction = self._program.react_to(self._losses)
        self._stopped = reaction.stop
        return reaction.best

    def _look(self, look: int) -> None:
        self._losses.append(self._evaluate("val"))
        if self._react() == look - 1 and self._config.train.restore_best:
            self._program.average.keep()
        is_last = self._stopped or self._step == self._program.total_steps
        if self._config.evaluation.test_every_look and not is_last:
            self._evaluate("test")
        every = self._config.train.checkpoint_every_looks
        if every and look % every == 0:
            self.timer.switch("checkpoint")
            kept = {
                "run_id": self._spec.run_id,
                "data_wait_s": self._data_wait_s,
                "segments_s": self.segments_s(),
            }
            kept["losses"] = self._losses
            if self._world.is_main:
                path = checkpoint.save(
                    self._directory / "checkpoints", self._program, step=self._step, progress=kept
                )
                self._emit("checkpoint", path=path.name)
            self._world.barrier()
            self.timer.switch("log")
            self._deliver()
        self.timer.switch("train")

    def _evaluate(self, split: str, *, final: bool = False) -> float:
        """Score a split and note it; the mean loss, infinite where it is not finite."""
        self.timer.switch("evaluate_final" if final else "evaluate")
        confusion, loss = self._program.evaluate(
            self._assembly.val if split == "val" else self._assembly.test
        )
        right = [row[k] for k, row in enumerate(confusion)]
        self.timer.switch("log")
        self._emit(
            "eval_stop", split=split, samples=self._order.samples_seen(self._step),
            correct=sum(right), total=sum(map(sum, confusion)), loss=loss if math.isfinite(loss) else None,
            class_correct=right, confusion=confusion if final else None,
            segments_s=self.segments_s(), data_wait_s=self._world.slowest([self._data_wait_s])[0],
        )  # fmt: skip
        self._deliver()
        return loss if math.isfinite(loss) else math.inf

    def segments_s(self) -> dict[str, float]:
        """Seconds by segment so far, the slowest rank's."""
        own = self.timer.read_s()
        return dict(
            zip(
                SEGMENTS,
                self._world.slowest([own.get(name, 0.0) for name in SEGMENTS]),
                strict=True,
            )
        )

    def _emit(self, kind: str, **data: Any) -> None:
        if self._log is not None:
            self._pending.append(
                self._log.emit(
                    kind, epoch=self._step / self._order.steps_per_epoch, step=self._step, **data
                )
            )

    def _deliver(self) -> None:
        if self._log is not None:
            self._log.flush()
        for event in self._pending:
            (
                self._study.trackers.start
                if event.kind == "run_start"
                else self._study.trackers.event
            )(event)
        self._pending.clear()

    def stop(
        self, status: str, error: str | None, segments_s: dict[str, float]
    ) -> RunResult | None:
        """End the ledger and fold it into the run's result, on rank 0."""
        every, best = (
            self._config.evaluation.every_samples // self._config.train.global_batch_size,
            self._react(),
        )
        ended = {
            "stopped_step": self._step if self._stopped else None,
            "best_step": (best + 1) * every
            if self._config.train.restore_best and status == "completed"
            else None,
        }
        self._emit("run_stop", status=status, error=error, segments_s=segments_s, **ended)
        self._deliver()
        if not self._world.is_main:
            return None
        result = self._study.store.result(self._spec.run_id)
        assert result is not None
        write_json(self._directory / "result.json", result.to_dict())
        self._study.trackers.finish(result)
        return result
