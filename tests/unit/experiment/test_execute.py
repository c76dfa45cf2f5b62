"""One run on this CPU, from its spec to its stored result, and how it may end."""

import math
import time

import pytest
import torch

from bench.config.load import load
from bench.experiment import execute as execute_module
from bench.ledger.events import EventLog
from bench.ledger.fold import segment_gaps
from bench.ledger.json_records import parse, to_json
from bench.ledger.result import RunResult
from bench.ledger.store import RunStore
from bench.training import checkpoint
from bench.training.program import Program
from tests.unit.experiment.small_run import (
    CHECKPOINTS,
    RUN,
    events_in,
    losses,
)


def test_a_run_is_stored_as_it_was_asked_for(run, tmp_path):
    result = run()
    stored = (tmp_path / RUN / "result.json").read_bytes()
    assert to_json(parse(RunResult, stored)) == to_json(result)
    assert RunStore(tmp_path).result(RUN) == result
    assert load(tmp_path / RUN / "config.yaml").train.samples == 256
    start = result.start
    assert (start.run_id, start.arm, start.seed, start.block) == (RUN, "slow", 3, 3)
    assert (start.self_check, start.plan_sha256, start.process_runs) == ("green", "p" * 64, 2)
    assert (start.experiment, start.world_size, start.resumed_step) == ("tiny", 1, 0)
    assert (start.dataset.train, start.dataset.val, start.dataset.test) == (128, 20, 20)
    assert sum(start.dataset.val_by_class) == 20
    assert (start.weights.source, start.precision.name) == ("random", "fp32")
    assert result.status == "completed"
    assert [look.samples for look in result.evaluations] == list(range(32, 257, 32))


def test_costs_of_the_process_are_counted_in_full_to_each_run(run):
    for _ in range(2):
        segments_s = run().start.segments_s
        assert (segments_s["startup"], segments_s["data_setup"]) == (1.5, 0.5)
        assert segments_s["idle"] == 0.0


def test_a_lone_run_has_the_age_of_its_process(run, monkeypatch):
    monkeypatch.setattr(execute_module, "process_age_s", lambda: 100.0)
    result = run(process_runs=1)
    start_s = result.start.segments_s
    before_the_run_s = sum(start_s[name] for name in ("startup", "data_setup", "compile", "idle"))
    assert 90.0 < before_the_run_s < 100.0
    assert sum(start_s.values()) == pytest.approx(100.0, abs=0.1)
    assert start_s["idle"] > 90


def test_segments_are_whole_though_facts_about_the_machine_take_their_time(
    run, tmp_path, monkeypatch
):
    true_facts = execute_module.environment_facts

    def slow_facts(device: torch.device, world_size: int):
        time.sleep(0.3)
        return true_facts(device, world_size)

    monkeypatch.setattr(execute_module, "environment_facts", slow_facts)
    run()
    assert segment_gaps(events_in(tmp_path)) == []


def test_a_run_whose_loss_on_val_is_infinite_has_diverged(run, tmp_path, monkeypatch):
    true_evaluate = Program.evaluate

    def evaluate_infinitely(self, batches):
        return true_evaluate(self, batches)._replace(loss=math.inf)

    monkeypatch.setattr(Program, "evaluate", evaluate_infinitely)
    result = run(CHECKPOINTS)
    assert (result.status, losses(result)) == ("diverged", [None])
    assert not (tmp_path / RUN / "checkpoints").exists()


DELAYS = {
    "init": (Program, "reset"),
    "train": (Program, "step"),
    "evaluate": (Program, "evaluate"),
    "checkpoint": (checkpoint, "save_checkpoint"),
    "log": (EventLog, "flush"),
}


@pytest.mark.parametrize("segment", DELAYS)
def test_a_delay_is_found_in_the_segment_of_what_was_slow(run, tmp_path, monkeypatch, segment):
    owner, name = DELAYS[segment]
    original = getattr(owner, name)
    calls = []

    def slow(*arguments, **named):
        calls.append(name)
        if len(calls) == 1:
            time.sleep(0.3)
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, slow)
    segments_s = run(CHECKPOINTS).segments_s
    assert segments_s[segment] >= 0.3
    others_s = {name: spent_s for name, spent_s in segments_s.items() if name in DELAYS}
    assert max(others_s, key=others_s.__getitem__) == segment
    assert segment_gaps(events_in(tmp_path)) == []


def test_building_an_arm_is_a_segment_of_each_of_its_runs(run):
    first = run().start.segments_s["build"]
    assert first > 0
    assert run().start.segments_s["build"] == first


def test_an_error_is_stored_as_the_runs_result_and_raised_on(run, tmp_path, monkeypatch):
    def fail(self, batch, step: int):
        raise RuntimeError("CUDA\nis  gone " + "x" * 600)

    monkeypatch.setattr(Program, "step", fail)
    with pytest.raises(RuntimeError, match="gone"):
        run()
    result = RunStore(tmp_path).result(RUN)
    assert (result.status, result.stopped_step, result.best_step) == ("failed", None, None)
    assert result.error.startswith("RuntimeError: CUDA is gone xxx")
    assert len(result.error) == 500
    assert (tmp_path / RUN / "result.json").is_file()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_too_little_memory_is_told_with_the_batch_size(run, tmp_path, monkeypatch, error):
    def fail(self, batch, step: int):
        raise error

    monkeypatch.setattr(Program, "step", fail)
    with pytest.raises(type(error)):
        run()
    result = RunStore(tmp_path).result(RUN)
    assert result.status == "oom"
    assert result.error.startswith("at train.global_batch_size 8 on 1 rank(s): ")
    assert segment_gaps(events_in(tmp_path)) == []
