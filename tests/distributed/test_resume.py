"""A study whose ranks are killed and that is started again is the undisturbed one, bit for bit."""

import json
import random
from pathlib import Path

import pytest
import torch

from bench.config.load import load
from bench.experiment.plan import plan, run_ids
from bench.judge.verify import verify
from bench.ledger.store import RunStore
from bench.report.pages import report_texts
from bench.training.checkpoint import read_checkpoint
from tests.commands import ROOT, TINY, environment
from tests.ranks import run_ranks

OVERRIDES = (
    "--train.global_batch_size=48",  # which two ranks and three can share
    "--train.samples=768",
    "--train.checkpoint_every_looks=1",
    "--train.restore_best=true",
    "--evaluation.every_samples=96",
    "--checkpoint.keep_at_end=true",
)
IDS = run_ids(plan(load(ROOT / TINY, OVERRIDES)))
KILLS = 20


def run(folder: Path, size: int, disturb: str = "") -> list[int]:
    """Start the study; return the ranks' exit codes."""
    arguments = ["run", TINY, f"--output={folder}/runs", *OVERRIDES]
    ended = run_ranks(arguments, environment(folder), size=size, disturb=disturb)
    codes = [rank.code for rank in ended]
    if not disturb and any(codes):
        pytest.fail(f"{codes}: {[rank.err for rank in ended]}")
    return codes


def numbers_of(folder: Path) -> dict[str, tuple]:
    """All that a study computed, but its seconds, by run."""
    store = RunStore(folder / "runs" / "tiny")
    numbers = {}
    for run_id in IDS:
        result = store.result(run_id)
        assert result is not None
        curve = [
            (look.step, look.epoch, look.samples, look.correct, look.loss, look.class_correct)
            for look in result.evaluations
        ]
        ends = (result.status, result.stopped_step, result.best_step)
        numbers[run_id] = (curve, result.confusion, result.test_loss, *ends)
    return numbers


def states_of(folder: Path, size: int) -> dict[str, torch.Tensor]:
    """Every tensor of every rank at the end of every run."""
    tensors = {}
    for run_id in IDS:
        (checkpoint,) = (folder / "runs" / "tiny" / run_id / "checkpoints").iterdir()
        for rank in range(size):
            saved = read_checkpoint(checkpoint, rank)
            for name, tensor in {**saved.shared_tensors, **saved.rank_tensors}.items():
                tensors[f"{run_id} {rank} {name}"] = tensor
    return tensors


def check_same(folder: Path, undisturbed: Path, size: int) -> None:
    """Numbers and tensors are equal to the last bit, each run is there once, all verifies."""
    assert numbers_of(folder) == numbers_of(undisturbed)
    states = states_of(folder, size)
    expected = states_of(undisturbed, size)
    assert states.keys() == expected.keys()
    assert [name for name in states if not torch.equal(states[name], expected[name])] == []
    assert verify(folder / "runs" / "tiny", report_texts) == []
    report = json.loads((folder / "runs" / "tiny" / "report.json").read_text())
    assert sorted(run["run_id"] for run in report["runs"]) == sorted(IDS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The study by number of ranks, made when it is asked for."""
    folders: dict[int, Path] = {}

    def make(size: int) -> Path:
        if size not in folders:
            folders[size] = tmp_path_factory.mktemp(f"undisturbed{size}")
            run(folders[size], size)
        return folders[size]

    return make


def test_what_ranks_hold_alone_differs_between_them(undisturbed):
    """Else the tests below would not tell whether each rank's own comes back."""
    states = states_of(undisturbed(2), 2)
    first = {name for name in states if f"{IDS[0]} 0 network" in name}
    differing = {
        name for name in first if not torch.equal(states[name], states[name.replace(" 0 ", " 1 ")])
    }
    assert {name.rpartition(".")[2] for name in differing} == {"running_mean", "running_var"}


@pytest.mark.parametrize(("rank", "call"), [(0, 150), (1, 60)])
def test_killed_on_one_of_two_ranks_and_started_again_it_is_the_same_study(
    tmp_path, undisturbed, rank, call
):
    codes = run(tmp_path, 2, disturb=f"die:{rank}:{call}")
    assert codes[rank] == -9
    assert codes[1 - rank] == 1
    run(tmp_path, 2)
    resumed = RunStore(tmp_path / "runs" / "tiny").result(IDS[0])
    assert (resumed.attempts, resumed.resumed) == (2, True)
    check_same(tmp_path, undisturbed(2), 2)


def random_instant(draw: random.Random, size: int) -> str:
    """Name a rank and one of its calls, most of them in a run's first evaluations after a start.

    Rank 0 does more of what is counted.
    """
    rank = draw.randrange(size)
    last_call = 110 if rank == 0 else 45
    return f"die:{rank}:{draw.randint(10, last_call)}"


@pytest.mark.faults
@pytest.mark.parametrize("size", [1, 2, 3])
def test_killed_at_random_instants_it_is_the_same_study(tmp_path, undisturbed, size):
    """In a step, an evaluation, a save, a rename or a write, of any rank."""
    draw = random.Random(size)
    study = tmp_path / "first"
    kills = 0
    while kills < KILLS:
        study.mkdir(exist_ok=True)
        codes = run(study, size, disturb=random_instant(draw, size))
        if codes == [0] * size:  # it was through before that instant: another study
            check_same(study, undisturbed(size), size)
            study = tmp_path / f"after {kills} kills"
            continue
        assert -9 in codes
        kills += 1
    run(study, size)
    check_same(study, undisturbed(size), size)
