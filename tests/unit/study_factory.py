"""Made-up runs for the tests of results.

In memory, from a curve and a pace; whole studies on disk, through the real ledger.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config.load import as_dict, load
from bench.experiment.plan import RunSpec, plan, plan_record
from bench.judge.comparison import summarize
from bench.ledger.events import EventLog
from bench.ledger.fold import RunResult
from bench.files import write_json
from bench.ledger.store import RunStore
from tests.unit.results_factory import (
    BATCH,
    EVERY_SAMPLES,
    make_config,
    make_look,
    make_plan,
    make_result,
    make_run_start,
)

ROOT = Path(__file__).parents[3]
RISING = (0.5, 0.85, 0.95, 0.95)  # reaches 0.8 at its second look and 0.9 at its third
FLAT = (0.1, 0.1, 0.1, 0.1)
OVERRIDES = (
    "--name=study", "--arms={pretrained: {model.name: small_cnn}, random: {}}", "--factors=[model]",
    "--thresholds=[0.8, 0.9]", "--train.samples=1280", "--confirm_looks=2",
)  # fmt: skip
ONCE_S = {"startup": 1.5, "data_setup": 0.5, "compile": 21.5}


def timed(
    curve: Sequence[float],
    arm: str = "pretrained",
    block: int = 0,
    *,
    step_s: float = 1.0,
    budget: int = 12_800,
    test: Sequence[float] | None = None,
    **changes: Any,
) -> RunResult:
    """A run whose looks lie `step_s` seconds of training apart.

    `test`: its looks on test, beside those on val.
    """
    broke = (
        {}
        if changes.get("status", "completed") == "completed"
        else {"test_correct": None, "confusion": None}
    )
    run = make_result(curve, arm, seed=block, block=block, **{**broke, **changes})
    run.start["config"] = {"train": {"samples": budget}}
    seconds = [{"train": n * step_s, "init": 5.0} for n in range(1, 1 + len(curve))]
    looks = [
        dataclasses.replace(look, segments_s=s) for look, s in zip(run.looks, seconds, strict=True)
    ]
    scored = [
        dataclasses.replace(look, correct=round(accuracy * 10_000), total=10_000)
        for look, accuracy in zip(looks[len(looks) - len(test or ()) :], test or (), strict=True)
    ]
    end = changes.get("segments_s", seconds[-1] if seconds else {})
    return dataclasses.replace(run, looks=looks, test_looks=scored, segments_s=end)


def pair(
    block: int,
    arm_s: float,
    baseline_s: float,
    arm: Sequence[float] = RISING,
    baseline: Sequence[float] = RISING,
):
    """One block: both arms, at their paces."""
    return [
        timed(arm, "pretrained", block, step_s=arm_s),
        timed(baseline, "random", block, step_s=baseline_s),
    ]


def wins(count: int, first: int = 0) -> list[RunResult]:
    """Blocks that the arm wins by about three to one, no two alike."""
    return [
        run for block in range(first, first + count) for run in pair(block, 1.0, 3.0 + 0.1 * block)
    ]


def losses(count: int, first: int = 0) -> list[RunResult]:
    """Blocks that the baseline wins."""
    return [
        run for block in range(first, first + count) for run in pair(block, 3.0 + 0.1 * block, 1.0)
    ]


def told(results: Sequence[RunResult], rules: str = "headstart", **changes: Any) -> dict[str, Any]:
    """The report of runs under the config of the factory, with changes."""
    return summarize(make_plan(make_config(**changes)), results, rules)


def primary(**changes: Any) -> dict[str, Any]:
    """The factory's primary comparison, with changes."""
    return {**make_config()["primary"], **changes}


class Clock:
    """Stands for the module `time` in the ledger: passes only when told to."""

    def __init__(self) -> None:
        self.ns = 1_000_000_007

    def monotonic_ns(self) -> int:
        return self.ns

    def spend(self, segments_s: dict[str, float], name: str, seconds: float) -> None:
        """Let time pass in one segment."""
        self.ns += round(seconds * 1e9)
        segments_s[name] = segments_s.get(name, 0.0) + seconds


@contextlib.contextmanager
def own_clock() -> Iterator[Clock]:
    """Ledgers written inside are stamped by this clock."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr("bench.ledger.events.time", clock)
        yield clock


def study_plan(output: Path, *overrides: str) -> SimpleNamespace:
    """A real plan, small: `specs` in order, `record`, `store` with the plan written."""
    with contextlib.chdir(ROOT):
        config = load(
            "configs/experiments/embedded.yaml", [*OVERRIDES, f"--output={output}", *overrides]
        )
        blocks = plan(config)
    store = RunStore(output / config.name)
    record = store.write_plan(plan_record(config, blocks))
    return SimpleNamespace(
        config=config,
        record=record,
        store=store,
        specs=[spec for block in blocks for spec in block],
    )


class _Attempt:
    """One attempt of a run, written event by event while the clock goes on."""

    def __init__(self, folder: Path, clock: Clock, segments_s: dict[str, float]) -> None:
        self.log = EventLog(folder)
        self._clock = clock
        self._segments_s = segments_s

    def start(self, spec: RunSpec, **facts: Any) -> None:
        """Write run_start with facts in place of the factory's."""
        event = make_run_start(
            spec.arm,
            seed=spec.seed,
            block=spec.block,
            run_id=spec.run_id,
            config=as_dict(spec.config),
            segments_s={**self._segments_s},
            **facts,
        )
        self.log.emit("run_start", **event.data)

    def train(self, number: int, accuracy: float, step_s: float) -> None:
        """Train up to a look on val, and take it."""
        self._clock.spend(self._segments_s, "train", step_s)
        self.look(number, accuracy, "val", "evaluate")
        self.log.emit("epoch_stop", epoch=float(number), step=number * EVERY_SAMPLES // BATCH)

    def look(
        self, number: int, accuracy: float, split: str, segment: str, confusion: Any = None
    ) -> None:
        """Take a look, which takes time of a segment and of `log`."""
        self._clock.spend(self._segments_s, segment, 0.1)
        event = make_look(
            number,
            accuracy,
            split=split,
            segments_s={**self._segments_s},
            confusion=confusion,
        )
        self.log.emit("eval_stop", epoch=event.epoch, step=event.step, **event.data)
        self._clock.spend(self._segments_s, "log", 0.01)

    def stop(self, step: int, status: str, **facts: Any) -> None:
        """Write run_stop with facts beside."""
        self._clock.spend(self._segments_s, "log", 0.02)
        self.log.emit(
            "run_stop",
            step=step,
            status=status,
            error=None if status == "completed" else "loss is nan",
            segments_s={**self._segments_s},
            **{"stopped_step": None, "best_step": None, **facts},
        )


def write_run(
    study: SimpleNamespace,
    spec: RunSpec,
    clock: Clock,
    curve: Sequence[float] = RISING,
    *,
    step_s: float = 1.0,
    status: str | None = "completed",
    resumed_from: int = 0,
    once_s: dict[str, float] | None = None,
    result: bool = True,
    stop: dict[str, int] | None = None,
    **start: Any,
) -> Path:
    """One attempt of a run, event by event: every segment takes time.

    `status` None: it was killed after its last look. `resumed_from` looks lie in an earlier
    attempt; `stop`: what its end tells beside. Writes result.json as a run does when it ends.
    """
    folder = study.store.run_dir(spec.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    trained_s = {"build": 0.25, "train": step_s * resumed_from, "init": 0.125}
    attempt = _Attempt(folder, clock, {**(once_s or ONCE_S), **trained_s})
    resumed_step = resumed_from * EVERY_SAMPLES // BATCH
    attempt.start(spec, plan_sha256=study.record["sha256"], resumed_step=resumed_step, **start)
    for number in range(resumed_from + 1, len(curve) + 1):
        attempt.train(number, curve[number - 1], step_s)
    if status == "completed":
        confusion = [[400, 100], [60, 440]]
        attempt.look(len(curve), curve[-1] - 0.01, "test", "evaluate_final", confusion)
    if status:
        attempt.stop(len(curve) * 5, status, **(stop or {}))
    attempt.log.flush()
    if status and result:
        _write_result(study.store, spec.run_id)
    return attempt.log.path


def _write_result(store: RunStore, run_id: str) -> None:
    folded = store.result(run_id)
    assert folded is not None
    write_json(store.run_dir(run_id) / "result.json", folded.to_dict())


def write_study(
    output: Path, *overrides: str, pace: Callable[[RunSpec], float] | None = None
) -> SimpleNamespace:
    """A finished study on disk, without its report; the random arm is about three times as slow."""
    made = study_plan(output, *overrides)
    with own_clock() as clock:
        for spec in made.specs:
            slow = 3.0 + 0.1 * spec.block if spec.arm == "random" else 1.0
            write_run(made, spec, clock, step_s=pace(spec) if pace else slow)
    return made
