"""Studies on disk for tests: a plan and its runs, written through the real ledger, event by event.

No training: a clock that is moved by hand stamps the events.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.config.load import arm_config, as_dict, load, run_digest
from bench.config.schema import ExperimentConfig
from bench.judge.plan import primary_record
from bench.ledger.events import EpochStopped, Evaluated, EventLog, RunStarted, RunStopped
from bench.ledger.json_records import to_json
from bench.ledger.method import METHOD_VERSION
from bench.ledger.plan_record import PlanRecord, plan_sha256
from bench.ledger.records import RunStop, Split, Status
from bench.ledger.store import RunStore
from tests.unit.results_factory import BATCH, EVERY_SAMPLES, EXPERIMENT, make_look, make_start
from tests.unit.study_factory import RISING

OVERRIDES = (
    "--name=study",
    "--arms={pretrained: {model.name: small_cnn}, random: {}}",
    "--factors=[model]",
    "--thresholds=[0.8, 0.9]",
    "--train.samples=1280",
    "--confirm_looks=2",
)
ONCE_S = {"startup": 1.5, "data_setup": 0.5, "compile": 21.5}
CONFUSION = ((400, 100), (60, 440))


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run to write: its id, and what it was planned to be."""

    run_id: str
    arm: str
    seed: int
    block: int
    config: ExperimentConfig


@dataclass(frozen=True, kw_only=True)
class StudyOnDisk:
    """A study's plan, which is written, and the runs to write, in order."""

    config: ExperimentConfig
    plan: PlanRecord
    store: RunStore
    runs: Sequence[PlannedRun]


class Clock:
    """Stands for the module `time` in the ledger: passes only when it is told to."""

    def __init__(self) -> None:
        self.ns = 1_000_000_007

    def monotonic_ns(self) -> int:
        """Return the time, as the module does."""
        return self.ns

    def spend(self, segments_s: dict[str, float], name: str, seconds: float) -> None:
        """Let time pass in one segment."""
        self.ns += round(seconds * 1e9)
        segments_s[name] = segments_s.get(name, 0.0) + seconds


@contextlib.contextmanager
def moved_clock() -> Iterator[Clock]:
    """Stamp the ledgers that are written inside by a clock that is moved by hand."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr("bench.ledger.events.time", clock)
        yield clock


def write_plan(output: Path, *overrides: str) -> StudyOnDisk:
    """Write the plan of a small study, with the run ids that the harness would give."""
    config = load(EXPERIMENT, [*OVERRIDES, f"--output={output}", *overrides])
    runs = _planned_runs(config)
    blocks: list[list[str]] = [[] for _ in range(config.blocks)]
    for run in runs:
        blocks[run.block].append(run.run_id)
    primary = primary_record(config, blocks)
    plan = PlanRecord(
        primary=primary,
        sha256=plan_sha256(to_json(primary)),
        amended=(),
        config=as_dict(config),
        blocks=blocks,
    )
    store = RunStore(output / config.name)
    return StudyOnDisk(config=config, plan=store.write_plan(plan), store=store, runs=runs)


def _planned_runs(config: ExperimentConfig) -> list[PlannedRun]:
    runs = []
    for block in range(config.blocks):
        for arm in config.arms:
            run_config = arm_config(config, arm)
            seed = config.seed + block
            runs.append(
                PlannedRun(
                    run_id=f"{arm}-s{seed}-{run_digest(run_config, METHOD_VERSION)}",
                    arm=arm,
                    seed=seed,
                    block=block,
                    config=run_config,
                )
            )
    return runs


class _Attempt:
    """One attempt of a run, written event by event while the clock goes on."""

    def __init__(self, folder: Path, clock: Clock, segments_s: Mapping[str, float]) -> None:
        self.log = EventLog(folder)
        self._clock = clock
        self._segments_s = dict(segments_s)

    def start(self, run: PlannedRun, **facts: object) -> None:
        """Write the start, with facts in place of the factory's."""
        start = make_start(
            run.arm,
            seed=run.seed,
            block=run.block,
            run_id=run.run_id,
            config=as_dict(run.config),
            segments_s=dict(self._segments_s),
            **facts,
        )
        self.log.emit(RunStarted, start, epoch=0.0, step=0)

    def train(self, number: int, accuracy: float, step_s: float) -> None:
        """Train up to an evaluation on val, and take it."""
        self._clock.spend(self._segments_s, "train", step_s)
        self.evaluate(number, accuracy, "val", "evaluate")
        self.log.emit(EpochStopped, epoch=float(number), step=number * EVERY_SAMPLES // BATCH)

    def evaluate(
        self,
        number: int,
        accuracy: float,
        split: Split,
        segment: str,
        confusion: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Evaluate, which takes time of a segment and of `log`."""
        self._clock.spend(self._segments_s, segment, 0.1)
        event = make_look(
            number,
            accuracy,
            split=split,
            segments_s=dict(self._segments_s),
            confusion=confusion,
        )
        self.log.emit(Evaluated, event.data, epoch=event.epoch, step=event.step)
        self._clock.spend(self._segments_s, "log", 0.01)

    def stop(
        self,
        step: int,
        status: Status,
        *,
        stopped_step: int | None,
        best_step: int | None,
    ) -> None:
        """Write the end."""
        self._clock.spend(self._segments_s, "log", 0.02)
        stop = RunStop(
            status=status,
            error=None if status == "completed" else "loss is nan",
            segments_s=dict(self._segments_s),
            stopped_step=stopped_step,
            best_step=best_step,
        )
        self.log.emit(RunStopped, stop, epoch=0.0, step=step)


def write_run(
    study: StudyOnDisk,
    run: PlannedRun,
    clock: Clock,
    curve: Sequence[float] = RISING,
    *,
    step_s: float = 1.0,
    status: Status | None = "completed",
    resumed_from: int = 0,
    once_s: Mapping[str, float] = ONCE_S,
    result: bool = True,
    stopped_step: int | None = None,
    best_step: int | None = None,
    **start: object,
) -> Path:
    """Write one attempt of a run, event by event: every segment takes time. Return its ledger.

    `status` None: it was killed after its last evaluation. `resumed_from` evaluations lie in an
    earlier attempt. Writes result.json as a run does when it ends, where `result` says so.
    """
    folder = study.store.run_dir(run.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    trained_s = {"build": 0.25, "train": step_s * resumed_from, "init": 0.125}
    attempt = _Attempt(folder, clock, {**once_s, **trained_s})
    resumed_step = resumed_from * EVERY_SAMPLES // BATCH
    attempt.start(run, plan_sha256=study.plan.sha256, resumed_step=resumed_step, **start)
    for number in range(resumed_from + 1, len(curve) + 1):
        attempt.train(number, curve[number - 1], step_s)
    if status == "completed":
        attempt.evaluate(len(curve), curve[-1] - 0.01, "test", "evaluate_final", CONFUSION)
    if status is not None:
        attempt.stop(len(curve) * 5, status, stopped_step=stopped_step, best_step=best_step)
    attempt.log.flush()
    if status is not None and result:
        folded = study.store.result(run.run_id)
        assert folded is not None
        study.store.write_result(folded)
    return attempt.log.path


def write_study(
    output: Path, *overrides: str, pace_s: Callable[[PlannedRun], float] | None = None
) -> StudyOnDisk:
    """Write a finished study, without its report; the random arm is about three times as slow.

    `pace_s` says how many seconds of training lie between a run's evaluations.
    """
    study = write_plan(output, *overrides)
    with moved_clock() as clock:
        for run in study.runs:
            write_run(study, run, clock, step_s=(pace_s or _pace_s)(run))
    return study


def _pace_s(run: PlannedRun) -> float:
    return 3.0 + 0.1 * run.block if run.arm == "random" else 1.0
