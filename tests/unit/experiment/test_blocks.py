"""What a study is refused for before any work, and which of its runs are done already."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from bench.config.load import arm_config, load
from bench.experiment import blocks
from bench.experiment.blocks import BlockRunner
from bench.experiment.inputs import ArmInputs, Inputs
from bench.experiment.plan import plan, run_ids
from bench.ledger.records import PrecisionFacts
from bench.ledger.result import RunResult
from bench.ledger.store import RunStore, StoredRuns
from bench.runtime.distributed import World
from bench.runtime.environment import environment_facts
from bench.trackers import Guarded
from tests.commands import ROOT, TINY
from tests.unit.results_factory import make_result, with_fact, with_start

CPU = torch.device("cpu")


class FakeWorld(World):
    """One CPU rank of `size`; where there are others, `gathered` is what they answer besides."""

    def __init__(self, rank: int = 0, size: int = 1, **changes) -> None:
        self.device = CPU
        self.rank = rank
        self.size = size
        self.is_main = rank == 0
        self.startup_s = 0.0
        vars(self).update(changes)

    def set_precision(self, name: str) -> None:
        """Open nothing."""


def make_runner(folder, world: World, *overrides: str) -> BlockRunner:
    config = load(ROOT / TINY, [f"--output={folder}/runs", *overrides])
    arms = {arm: arm_config(config, arm) for arm in config.arms}
    return BlockRunner(
        config, arms, world, RunStore(folder / "runs" / "tiny"), plan_sha256="p" * 64
    )


def red_check(device: torch.device):
    raise RuntimeError(f"self-check of {device}")


def test_a_study_on_a_gpu_is_not_begun_before_its_self_check(monkeypatch, tmp_path):
    monkeypatch.setattr(blocks, "self_check", red_check)
    with pytest.raises(RuntimeError, match="self-check of cuda"):
        make_runner(tmp_path, FakeWorld(device=torch.device("cuda"))).check()


def test_a_cpu_needs_no_self_check(monkeypatch, tmp_path):
    monkeypatch.setattr(blocks, "self_check", red_check)
    make_runner(tmp_path, FakeWorld()).check()


def give_inputs(monkeypatch, inputs: dict[str, ArmInputs]) -> None:
    """Let these be what is found of every arm's images and weights."""
    monkeypatch.setattr(Inputs, "check", lambda self, config, world_size: inputs)


def give_results(monkeypatch, *results: RunResult) -> None:
    """Let these be what is stored."""
    stored = StoredRuns(results=results, damaged=[])
    monkeypatch.setattr(RunStore, "look_at", lambda self, run_ids: stored)


class NoAssembler:
    """Builds and compiles nothing."""

    def __init__(self, world, inputs) -> None:
        pass

    def assemble(self, config, weights) -> SimpleNamespace:
        return SimpleNamespace(realized=None)

    def compile(self, config) -> SimpleNamespace:
        return SimpleNamespace(compile_s=0.0)


@pytest.fixture
def executed(monkeypatch) -> list[str]:
    """The ids of the runs that are made, without any training."""
    run_ids: list[str] = []

    def note(run, assembly, compiled, context) -> None:
        run_ids.append(run.run_id)

    monkeypatch.setattr(blocks, "Assembler", NoAssembler)
    monkeypatch.setattr(blocks, "check_declared", lambda study, realized: None)
    monkeypatch.setattr(blocks, "execute", note)
    monkeypatch.setattr(Inputs, "initial_weights", lambda self, config: None)
    return run_ids


def check_beside(monkeypatch, folder, rank_inputs: ArmInputs, *, rank: int) -> None:
    """Check one of two ranks, of which rank 0 has "same", rank 1 these inputs."""
    inputs_by_rank = [{"slow": ArmInputs("same", None)}, {"slow": rank_inputs}]
    world = FakeWorld(rank, 2, on_every_rank=lambda work: inputs_by_rank)
    make_runner(folder, world).check()


@pytest.mark.parametrize("rank", [0, 1])
def test_machines_with_the_same_images_and_weights_train_together(monkeypatch, tmp_path, rank):
    check_beside(monkeypatch, tmp_path, ArmInputs("same", None), rank=rank)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("inputs", [ArmInputs("other", None), ArmInputs("same", "other")])
def test_machines_with_other_images_or_weights_do_not(monkeypatch, tmp_path, inputs, rank):
    message = r"arm slow: images or weights differ.*rank 1 has .*other.*rank 0 .*same"
    with pytest.raises(ValueError, match=message):
        check_beside(monkeypatch, tmp_path, inputs, rank=rank)


def test_the_wall_clock_is_refused_where_a_process_makes_several_runs(
    executed, monkeypatch, tmp_path
):
    monkeypatch.setattr(NoAssembler, "assemble", lambda *_: pytest.fail("work was begun"))
    runner = make_runner(tmp_path, FakeWorld(), "--clock=wall")
    blocks_of_runs = plan(load(ROOT / TINY))
    with pytest.raises(
        ValueError, match="'wall' needs a process for each run, and this one has 4 to make"
    ):
        runner.complete(blocks_of_runs, set(), Guarded({}))


IDS = run_ids(plan(load(ROOT / TINY)))
INPUTS = {"slow": ArmInputs("images", None), "fast": ArmInputs("images", "weights")}


def make_run(arm: str = "fast", **changes) -> RunResult:
    run = with_start(make_result([0.5], arm), environment=environment_facts(CPU, 1))
    run = with_fact(run, "dataset", sha256="images")
    run = with_fact(run, "weights", sha256="weights")
    return dataclasses.replace(run, **changes)


@pytest.fixture
def finished_runs(monkeypatch, tmp_path):
    """Say which of some stored runs are done, where today's inputs are INPUTS, on a CPU."""

    def ask(*runs: RunResult, **world) -> set[str]:
        give_inputs(monkeypatch, INPUTS)
        give_results(monkeypatch, *runs)
        runner = make_runner(tmp_path, FakeWorld(**world))
        runner.check()
        return runner.finished_run_ids([run.run_id for run in runs])

    return ask


def test_runs_that_completed_or_diverged_are_done(finished_runs):
    runs = [
        make_run(run_id="a", status="completed"),
        make_run(run_id="b", status="diverged"),
        make_run(run_id="c", status="failed"),
        make_run(run_id="d", status="interrupted"),
    ]
    assert finished_runs(*runs) == {"a", "b"}


def test_a_result_that_is_missing_is_written_and_one_that_is_there_is_left(finished_runs, tmp_path):
    store = RunStore(tmp_path / "runs" / "tiny")
    store.write_result(make_run(run_id="there"))
    there = store.run_dir("there") / "result.json"
    there.write_text("as it was")
    assert finished_runs(make_run(run_id="there"), make_run(run_id="missing")) == {
        "there",
        "missing",
    }
    assert there.read_text() == "as it was"
    assert (store.run_dir("missing") / "result.json").is_file()


OTHERS = {
    "with other images": with_fact(make_run(), "dataset", sha256="others"),
    "with other weights": with_fact(make_run(), "weights", sha256="others"),
    "by 2 processes on .*, now it is 1 on ": with_start(make_run(), world_size=2),
    "by 1 processes on H200, now it is 1 on ": with_start(
        make_run(), environment={"device": "cuda", "gpu": "H200"}
    ),
    "by 1 processes on another CPU 1, now it is 1 on ": with_start(
        make_run(), environment={"cpu": "another CPU", "threads_per_rank": 1}
    ),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_a_run_made_otherwise_is_not_mixed_with_todays(finished_runs, reason):
    with pytest.raises(ValueError, match=rf"run fast-s0-\w+ was made {reason}.*give another --out"):
        finished_runs(OTHERS[reason])


def test_weights_that_an_arm_trains_itself_are_not_compared(finished_runs):
    run = with_fact(make_run("slow"), "weights", sha256="others")
    assert finished_runs(run) == {run.run_id}


def test_a_study_that_goes_on_computes_as_its_first_run_did(executed, monkeypatch, tmp_path):
    precisions = []
    runner = make_runner(tmp_path, FakeWorld(set_precision=precisions.append))
    first = with_start(make_run(), precision=PrecisionFacts(name="bf16", reason="stored"))
    give_results(monkeypatch, first)
    runner.complete(plan(load(ROOT / TINY)), set(IDS), Guarded({}))
    assert (precisions, executed) == (["bf16"], [])


@pytest.fixture
def complete(executed, tmp_path):
    """Complete a study without training; return the runs that it made."""

    def complete_without_training(
        finished: set[str], after_block=lambda: False, **world
    ) -> list[str]:
        executed.clear()
        runner = make_runner(tmp_path, FakeWorld(**world))
        runner.complete(plan(load(ROOT / TINY)), finished, Guarded({}), after_block=after_block)
        return list(executed)

    return complete_without_training


def test_runs_are_made_in_their_order_without_those_that_are_done(complete):
    assert complete(set()) == IDS
    assert complete({IDS[1]}) == [IDS[0], *IDS[2:]]


def test_after_each_block_with_a_run_it_is_asked_whether_to_go_on(complete):
    answers = []

    def go_on() -> bool:
        answers.append("go on")
        return False

    complete(set(IDS[:2]), go_on)
    assert answers == ["go on"]


def test_no_block_is_begun_after_it_is_enough(complete):
    assert complete(set(), lambda: True) == IDS[:2]


@pytest.mark.parametrize(("enough", "expected"), [(True, IDS[1:2]), (False, IDS[1:])])
def test_another_rank_stops_with_rank_0(complete, enough, expected):
    answers_of_rank_0 = iter([PrecisionFacts(name="fp32"), enough, False])

    def fail() -> bool:
        pytest.fail("asked on another rank")

    run_ids = complete({IDS[0]}, fail, rank=1, on_main=lambda work: next(answers_of_rank_0))
    assert run_ids == expected


@pytest.mark.parametrize(("keep_at_end", "kept"), [("false", False), ("true", True)])
def test_checkpoints_that_a_kill_left_of_a_finished_run_go(
    monkeypatch, tmp_path, keep_at_end, kept
):
    give_inputs(monkeypatch, INPUTS)
    give_results(monkeypatch, make_run(run_id="a"))
    runner = make_runner(tmp_path, FakeWorld(), f"--checkpoint.keep_at_end={keep_at_end}")
    runner.check()
    checkpoints = tmp_path / "runs" / "tiny" / "a" / "checkpoints"
    checkpoints.mkdir(parents=True)
    assert runner.finished_run_ids(["a"]) == {"a"}
    assert checkpoints.exists() is kept
