"""A run that was killed goes on with the same numbers, or begins anew and says why."""

import json
import shutil

import pytest

from bench.ledger.events import Event, RunStarted, read_events
from bench.ledger.result import RunResult
from bench.ledger.store import RunStore
from bench.training.drift import DriftError
from bench.training.program import Program
from bench.training.recorder import Recorder
from tests.unit.experiment.small_run import (
    CHECKPOINTS,
    CODE,
    KEEPING,
    RUN,
    STOPPING,
    events_in,
    losses,
)


class Killed(BaseException):
    """What ends a process, which no run may catch."""


def kill(run, killing_step: int, *overrides: str, **context: str) -> None:
    """Have the process of a run die at a step that is about to be trained."""
    true_step = Program.step

    def train_or_die(self, batch, step: int):
        if step == killing_step:
            raise Killed
        return true_step(self, batch, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Program, "step", train_or_die)
        with pytest.raises(Killed):
            run(*overrides, **context)


def kill_in(run, owner: type, method: str, *overrides: str, **context: str) -> None:
    """Have the process of a run die where a method is called."""

    def die(*args: object, **named: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, die)
        with pytest.raises(Killed):
            run(*overrides, **context)


def check_same_numbers(result: RunResult, straight: RunResult) -> None:
    """All but the seconds is equal, to the last bit."""
    assert losses(result) == losses(straight)
    assert result.confusion == straight.confusion
    assert result.test_loss == straight.test_loss


@pytest.fixture
def straight(run, tmp_path) -> RunResult:
    """The run without a disturbance; nothing of it is left."""
    result = run(CHECKPOINTS)
    shutil.rmtree(tmp_path / RUN)
    return result


def folders_in_checkpoints(tmp_path) -> list[str]:
    return sorted(path.name[:13] for path in (tmp_path / RUN / "checkpoints").iterdir())


def test_a_killed_run_goes_on_from_its_checkpoint_with_the_same_numbers(run, straight, tmp_path):
    kill(run, 21, CHECKPOINTS)
    assert RunStore(tmp_path).result(RUN).status == "interrupted"
    assert folders_in_checkpoints(tmp_path) == ["step-00000008", "step-00000016"]
    resumed = run(CHECKPOINTS)
    assert (resumed.attempts, resumed.resumed, resumed.start.resumed_step) == (2, True, 16)
    assert (resumed.start.attempt, resumed.start.begun_anew) == (2, None)
    check_same_numbers(resumed, straight)
    assert resumed.start.segments_s["train"] > 0
    assert not (tmp_path / RUN / "checkpoints").exists()


def test_the_last_checkpoint_stays_at_the_end_where_that_is_asked_for(run, tmp_path):
    run(*KEEPING)
    assert folders_in_checkpoints(tmp_path) == ["step-00000032"]


def test_without_checkpoints_a_killed_run_begins_again(run):
    kill(run, 21)
    again = run()
    assert (again.attempts, again.resumed, again.start.resumed_step) == (2, False, 0)
    assert (again.start.attempt, again.start.begun_anew) == (2, "no checkpoint was saved")
    assert again.start.segments_s["train"] == 0.0
    assert len(again.evaluations) == 8


def damage(folder) -> None:
    """Flip a bit in a file of a checkpoint."""
    path = folder / "shared.json"
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)


def newest_first(tmp_path) -> list:
    return sorted((tmp_path / RUN / "checkpoints").iterdir(), reverse=True)


def test_a_damaged_checkpoint_is_passed_over_for_the_older_one(run, straight, tmp_path, capsys):
    kill(run, 21, CHECKPOINTS)
    newest = newest_first(tmp_path)[0]
    damage(newest)
    resumed = run(CHECKPOINTS)
    assert f"checkpoint {newest} is damaged and passed over: shared.json" in capsys.readouterr().out
    assert (resumed.resumed, resumed.start.resumed_step) == (True, 8)
    check_same_numbers(resumed, straight)


def test_where_every_checkpoint_is_damaged_the_run_begins_anew(run, straight, tmp_path, capsys):
    kill(run, 21, CHECKPOINTS)
    for folder in newest_first(tmp_path):
        damage(folder)
    anew = run(CHECKPOINTS)
    assert (anew.attempts, anew.resumed, anew.start.begun_anew) == (
        2,
        False,
        "no checkpoint is whole and of this ledger",
    )
    check_same_numbers(anew, straight)
    assert (
        f"{RUN}: begun anew, attempt 2: no checkpoint is whole and of this ledger"
        in capsys.readouterr().out
    )


def test_a_checkpoint_beyond_what_the_ledger_tells_is_not_gone_on_from(run, straight, tmp_path):
    """As where the ledger is an older copy: evaluations would be missing."""
    kill(run, 21, CHECKPOINTS)
    ledger = tmp_path / RUN / "events.rank0.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    steps = [json.loads(line)["step"] for line in lines]
    ledger.write_text("".join(lines[: steps.index(12)]))
    resumed = run(CHECKPOINTS)
    assert (resumed.resumed, resumed.start.resumed_step) == (True, 8)
    check_same_numbers(resumed, straight)


def ledger_aside(tmp_path) -> list[Event]:
    return read_events(tmp_path / RUN / "events.rank0.jsonl.aside-1")


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({"code_sha256": "d" * 64}, "code_sha256 is cccccccccccc there, dddddddddddd now"),
        ({"precision": "bf16"}, "precision is fp32 there, bf16 now"),
    ],
)
def test_what_was_computed_otherwise_is_kept_aside_and_the_run_begun_anew(
    run, straight, tmp_path, capsys, context, reason
):
    kill(run, 21, CHECKPOINTS)
    anew = run(CHECKPOINTS, **context)
    assert (anew.attempts, anew.resumed, anew.start.resumed_step) == (2, False, 0)
    assert anew.start.begun_anew == reason
    assert f"begun anew, attempt 2: {reason}" in capsys.readouterr().out
    assert [event.seq for event in events_in(tmp_path)] == list(range(len(events_in(tmp_path))))
    assert sum(isinstance(event, RunStarted) for event in events_in(tmp_path)) == 1
    assert ledger_aside(tmp_path)[0].data.basis.code_sha256 == CODE
    check_same_numbers(anew, straight)


def test_a_ledger_that_cannot_be_believed_is_kept_aside_and_the_run_begun_anew(
    run, straight, tmp_path
):
    kill(run, 21, CHECKPOINTS)
    ledger = tmp_path / RUN / "events.rank0.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:2] + lines[3:]))
    anew = run(CHECKPOINTS)
    assert (anew.attempts, anew.resumed) == (2, False)
    assert f"its ledger cannot be believed: {ledger}: line 3" in anew.start.begun_anew
    check_same_numbers(anew, straight)


def test_a_run_whose_ranks_drifted_apart_is_invalid_and_begun_anew(run, straight, tmp_path):
    def drift(self, step: int) -> None:
        if step == 20:
            raise DriftError("at step 20 the parameters of rank 1 are not those of rank 0")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Program, "check_alike", drift)
        with pytest.raises(DriftError):
            run(CHECKPOINTS)
    invalid = RunStore(tmp_path).result(RUN)
    assert (invalid.status, invalid.is_finished) == ("invalid", False)
    anew = run(CHECKPOINTS)
    assert anew.start.begun_anew.startswith("it is invalid: DriftError: at step 20")
    check_same_numbers(anew, straight)


def test_an_attempt_that_is_killed_while_it_puts_things_aside_does_it_again(
    run, straight, tmp_path
):
    kill(run, 21, CHECKPOINTS)
    other_code = {"code_sha256": "d" * 64}
    kill_in(run, RunStore, "set_aside", CHECKPOINTS, **other_code)
    anew = run(CHECKPOINTS, **other_code)
    assert (anew.attempts, anew.start.begun_anew[:11]) == (2, "code_sha256")
    check_same_numbers(anew, straight)


def test_a_run_that_dies_after_its_own_stop_ends_there_when_it_goes_on(run, tmp_path):
    """What is scored on test, and where the run stopped, is as if it had not died."""
    overrides = (*STOPPING, "--train.checkpoint_every_looks=1", "--optim.lr=30.0")
    straight = run(*overrides)
    assert straight.stopped_step is not None
    assert straight.stopped_step < 32
    shutil.rmtree(tmp_path / RUN)
    kill_in(run, Recorder, "stopped", *overrides)
    resumed = run(*overrides)
    assert resumed.start.resumed_step == straight.stopped_step
    assert (resumed.stopped_step, resumed.best_step) == (straight.stopped_step, straight.best_step)
    assert (resumed.confusion, resumed.test_loss) == (straight.confusion, straight.test_loss)
