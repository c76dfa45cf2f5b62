"""A checkpoint puts a fresh program exactly where it was taken; damaged or foreign ones are never taken for it."""

import json
import os
import shutil

import pytest
import torch

from bench.training import checkpoint
from tests.unit.training.factory import (
    different,
    make_evaluation,
    make_program,
    start_of,
    state_of,
    train,
)

RUN = "only-s0-1a2b3c4d"


@pytest.fixture(scope="module")
def program(world):
    """One program three steps into seed 0; what is tested on it only reads it."""
    made = make_program(world)
    made.reset(start_of(0))
    train(made, 0, 3)
    return made


def save(directory, program, step=3, run_id=RUN):
    return checkpoint.save(
        directory, program, step=step, progress={"run_id": run_id, "data_wait_s": 0.5}
    )


@pytest.mark.parametrize("every_steps", [1, 2])
@pytest.mark.parametrize("decay", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_three_steps_a_checkpoint_and_three_steps_are_six(
    world, tmp_path, optimizer, decay, every_steps
):
    asked = {
        "optim__name": optimizer,
        "schedule__average_decay": decay,
        "schedule__average_every_steps": every_steps,
    }
    straight = make_program(world, **asked)
    straight.reset(start_of(0))
    losses = train(straight, 0, 6)

    interrupted = make_program(world, **asked)
    interrupted.reset(start_of(0))
    train(interrupted, 0, 3)
    save(tmp_path, interrupted)

    resumed = make_program(world, **asked)
    resumed.reset(start_of(5))
    tensors, meta = checkpoint.load_newest(tmp_path, RUN)
    checkpoint.restore(resumed, tensors, meta)
    assert different(state_of(interrupted), state_of(resumed)) == []
    assert train(resumed, meta["step"], 6) == losses[3:]
    assert different(state_of(straight), state_of(resumed)) == []
    assert resumed.average.updates == straight.average.updates
    assert resumed.evaluate([make_evaluation(0)]) == straight.evaluate([make_evaluation(0)])


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_best_look_so_far_outlives_its_process(world, tmp_path, decay):
    first, resumed = (make_program(world, schedule__average_decay=decay) for _ in range(2))
    first.reset(start_of(0))
    train(first, 0, 2)
    first.average.keep()
    best = first.evaluate([make_evaluation(0)])
    train(first, 2, 4)
    save(tmp_path, first)
    resumed.reset(start_of(1))
    checkpoint.restore(resumed, *checkpoint.load_newest(tmp_path, RUN))
    assert resumed.evaluate([make_evaluation(0)]) == first.evaluate([make_evaluation(0)]) != best
    resumed.average.put_back()
    assert resumed.evaluate([make_evaluation(0)]) == best


def test_optimizer_state_lies_in_memory_as_its_parameter_does(world, program, tmp_path):
    """A fused step walks memory: with other strides it would join each weight to another's state."""
    save(tmp_path, program)
    resumed = make_program(world)
    resumed.reset(start_of(1))
    checkpoint.restore(resumed, *checkpoint.load_newest(tmp_path, RUN))
    entries = [
        (p, value)
        for p, entry in resumed.optimizer.state.items()
        for value in entry.values()
        if value.ndim
    ]
    assert len(entries) == 2 * len(list(resumed.raw.parameters()))
    assert all(value.stride() == p.stride() for p, value in entries)
    kernel = resumed.raw.features[2].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.is_contiguous()


def test_progress_comes_back(program, tmp_path):
    path = save(tmp_path, program)
    assert path == tmp_path / "step-00000003"
    _, meta = checkpoint.load_newest(tmp_path, RUN)
    assert (meta["step"], meta["run_id"], meta["data_wait_s"], meta["average_updates"]) == (
        3,
        RUN,
        0.5,
        3,
    )


def test_saving_changes_nothing(program, tmp_path):
    before = state_of(program)
    save(tmp_path, program)
    assert different(before, state_of(program)) == []


def test_only_the_newest_is_kept_and_nothing_in_it_is_a_pickle(program, tmp_path):
    for step in (3, 7, 12):
        save(tmp_path, program, step=step)
    (tmp_path / ".tmp-99-1").mkdir()
    save(tmp_path, program, step=100)
    files = sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000100"]
    assert files == ["step-00000100/state.json", "step-00000100/state.safetensors"]
    header_bytes = int.from_bytes((tmp_path / files[1]).read_bytes()[:8], "little")
    assert json.loads((tmp_path / files[1]).read_bytes()[8 : 8 + header_bytes])


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.load_newest(tmp_path, RUN) is None
    assert checkpoint.load_newest(tmp_path / "nothing", RUN) is None


def test_another_runs_is_refused(program, tmp_path):
    save(tmp_path, program, run_id="only-s0-ffffffff")
    with pytest.raises(
        ValueError, match=rf"step-00000003 is of run only-s0-ffffffff, not of {RUN}"
    ):
        checkpoint.load_newest(tmp_path, RUN)


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


DAMAGE = {
    "tensors cut": lambda path: cut(path / "state.safetensors", -10),
    "one byte": lambda path: flip_last_byte(path / "state.safetensors"),
    "no tensors": lambda path: (path / "state.safetensors").unlink(),
    "json cut": lambda path: cut(path / "state.json", 20),
    "json empty": lambda path: cut(path / "state.json", 0),
    "no json": lambda path: (path / "state.json").unlink(),
}


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_passed_over_loudly(program, tmp_path, capsys, damage):
    older = shutil.copytree(save(tmp_path, program), tmp_path.parent / "older" / tmp_path.name)
    newest = save(tmp_path, program, step=6)
    shutil.copytree(older, tmp_path / "step-00000003")
    DAMAGE[damage](newest)
    assert checkpoint.load_newest(tmp_path, RUN)[1]["step"] == 3
    assert f"{newest} is damaged and passed over" in capsys.readouterr().out


def test_where_all_are_damaged_the_run_begins_again_and_saves_over_them(program, tmp_path, capsys):
    DAMAGE["json cut"](save(tmp_path, program))
    assert checkpoint.load_newest(tmp_path, RUN) is None
    assert "damaged" in capsys.readouterr().out
    save(tmp_path, program)
    assert checkpoint.load_newest(tmp_path, RUN)[1]["step"] == 3


def kill(*args):
    raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["save_file", "sha256_of", "sync", "os.replace"])
def test_a_kill_before_the_rename_leaves_the_old_one(program, tmp_path, monkeypatch, capsys, at):
    save(tmp_path, program)
    with monkeypatch.context() as patch:
        patch.setattr(os if at == "os.replace" else checkpoint, at.removeprefix("os."), kill)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, program, step=6)
    assert checkpoint.load_newest(tmp_path, RUN)[1]["step"] == 3
    assert capsys.readouterr().out == ""
    assert len(list(tmp_path.iterdir())) == 2
    save(
        tmp_path, program, step=6
    )  # the process id of the killed one, as in a container that starts again
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000006"]


def test_a_kill_before_the_old_one_is_deleted_leaves_both_and_the_newer_counts(
    program, tmp_path, monkeypatch
):
    save(tmp_path, program)
    with monkeypatch.context() as patch:
        patch.setattr(
            checkpoint.shutil,
            "rmtree",
            lambda path, ignore_errors: kill() if path.name == "step-00000003" else None,
        )
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, program, step=6)
    assert len(list(tmp_path.iterdir())) == 2
    assert checkpoint.load_newest(tmp_path, RUN)[1]["step"] == 6


def test_nothing_that_json_cannot_hold_is_saved(program, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        checkpoint.save(
            tmp_path, program, step=3, progress={"run_id": RUN, "data_wait_s": float("nan")}
        )
    assert checkpoint.load_newest(tmp_path, RUN) is None
