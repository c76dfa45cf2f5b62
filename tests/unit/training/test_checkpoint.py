"""A checkpoint puts a fresh program exactly where it was taken.

Damaged or foreign ones are never taken for it.
"""

import json
import math
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

from bench.training import checkpoint
from bench.training.program import Program
from tests.unit.training.factory import (
    different,
    make_evaluation,
    make_program,
    opened_scaled_world,
    start_of,
    state_of,
    train,
)

RUN = "only-s0-1a2b3c4d"
SEGMENTS_S = {"train": 2.25, "evaluate": 0.5}


@pytest.fixture(scope="module")
def program(world):
    """One program three steps into seed 0; what is tested on it only reads it."""
    trained = make_program(world)
    trained.reset(start_of(0))
    train(trained, 0, 3)
    return trained


def save(directory: Path, program: Program, step: int = 3, run_id: str = RUN, **changes) -> Path:
    progress = {"val_losses": [1.5], "data_wait_s": 0.5, "segments_s": SEGMENTS_S, **changes}
    return checkpoint.save(directory, program, run_id=run_id, step=step, **progress)


def load(directory: Path) -> checkpoint.Checkpoint:
    saved = checkpoint.load_newest(directory, RUN)
    assert saved is not None
    return saved


@pytest.mark.parametrize("every_steps", [1, 2])
@pytest.mark.parametrize("decay", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_three_steps_a_checkpoint_and_three_steps_are_six(
    world, tmp_path, optimizer, decay, every_steps
):
    recipe = {
        "optim__name": optimizer,
        "schedule__average_decay": decay,
        "schedule__average_every_steps": every_steps,
    }
    straight = make_program(world, **recipe)
    straight.reset(start_of(0))
    losses = train(straight, 0, 6)

    interrupted = make_program(world, **recipe)
    interrupted.reset(start_of(0))
    train(interrupted, 0, 3)
    save(tmp_path, interrupted)

    resumed = make_program(world, **recipe)
    resumed.reset(start_of(5))
    saved = load(tmp_path)
    checkpoint.restore(resumed, saved)
    assert different(state_of(interrupted), state_of(resumed)) == []
    assert train(resumed, saved.state.step, 6) == losses[3:]
    assert different(state_of(straight), state_of(resumed)) == []
    assert resumed.average.updates == straight.average.updates
    assert resumed.evaluate([make_evaluation(0)]) == straight.evaluate([make_evaluation(0)])


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_best_look_so_far_outlives_its_process(world, tmp_path, decay):
    first = make_program(world, schedule__average_decay=decay)
    resumed = make_program(world, schedule__average_decay=decay)
    first.reset(start_of(0))
    train(first, 0, 2)
    first.average.keep()
    best = first.evaluate([make_evaluation(0)])
    train(first, 2, 4)
    save(tmp_path, first)
    resumed.reset(start_of(1))
    checkpoint.restore(resumed, load(tmp_path))
    assert resumed.evaluate([make_evaluation(0)]) == first.evaluate([make_evaluation(0)]) != best
    resumed.average.put_back()
    assert resumed.evaluate([make_evaluation(0)]) == best


def test_what_was_kept_before_is_forgotten_where_nothing_was_kept(world, program, tmp_path):
    save(tmp_path, program)
    resumed = make_program(world)
    resumed.reset(start_of(1))
    resumed.average.keep()
    checkpoint.restore(resumed, load(tmp_path))
    assert resumed.average.kept == []


def test_optimizer_state_lies_in_memory_as_its_parameter_does(world, program, tmp_path):
    """A fused step walks memory: with other strides it joined each weight to another's state."""
    save(tmp_path, program)
    resumed = make_program(world)
    resumed.reset(start_of(1))
    checkpoint.restore(resumed, load(tmp_path))
    compared = 0
    for parameter, entry in resumed.optimizer.state.items():
        tensors = [value for value in entry.values() if value.ndim > 0]
        compared += len(tensors)
        assert {value.stride() for value in tensors} == {parameter.stride()}
    assert compared == 2 * len(list(resumed.raw.parameters()))
    kernel = resumed.raw.features[2].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.is_contiguous()


def test_the_gradient_scaler_comes_back(tmp_path):
    """Counts as counts: torch refuses a growth interval that became a float."""
    with opened_scaled_world() as world:
        program = make_program(world)
        program.reset(start_of(0))
        train(program, 0, 3)
        saved_scaler = program.scaler.state_dict()
        save(tmp_path, program)
        losses = train(program, 3, 5)
    with opened_scaled_world() as world:
        resumed = make_program(world)
        resumed.reset(start_of(0))
        checkpoint.restore(resumed, load(tmp_path))
        assert resumed.scaler.state_dict() == saved_scaler
        assert saved_scaler["_growth_tracker"] == 3
        assert train(resumed, 3, 5) == losses


def test_progress_comes_back(program, tmp_path):
    path = save(tmp_path, program)
    assert path == tmp_path / "step-00000003"
    state = load(tmp_path).state
    assert (state.step, state.run_id, state.data_wait_s, state.average_updates) == (3, RUN, 0.5, 3)
    assert (state.val_losses, state.segments_s, state.scaler) == ([1.5], SEGMENTS_S, None)


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_comes_back_as_infinite(program, tmp_path, loss):
    save(tmp_path, program, val_losses=[2.0, loss, 1.0])
    state = load(tmp_path).state
    assert state.losses == [2.0, None, 1.0]
    assert state.val_losses == [2.0, math.inf, 1.0]


def test_saving_changes_nothing(program, tmp_path):
    before = state_of(program)
    save(tmp_path, program)
    assert different(before, state_of(program)) == []


def test_only_the_newest_is_kept_and_nothing_in_it_is_a_pickle(program, tmp_path):
    for step in (3, 7, 12):
        save(tmp_path, program, step=step)
    (tmp_path / ".tmp-99-1").mkdir()
    save(tmp_path, program, step=100)
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    files = sorted(str(path.relative_to(tmp_path)) for path in paths)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000100"]
    assert files == ["step-00000100/state.json", "step-00000100/state.safetensors"]
    content = (tmp_path / files[1]).read_bytes()
    header_bytes = int.from_bytes(content[:8], "little")
    assert json.loads(content[8 : 8 + header_bytes])


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.load_newest(tmp_path, RUN) is None
    assert checkpoint.load_newest(tmp_path / "nothing", RUN) is None


def test_another_runs_is_refused(program, tmp_path):
    save(tmp_path, program, run_id="only-s0-ffffffff")
    with pytest.raises(
        ValueError, match=rf"step-00000003 is of run only-s0-ffffffff, not of {RUN}"
    ):
        checkpoint.load_newest(tmp_path, RUN)


def cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def drop_a_key(path: Path) -> None:
    state = json.loads(path.read_text())
    del state["average_updates"]
    path.write_text(json.dumps(state))


# A file of a checkpoint, and what is done to it.
DAMAGE = {
    "tensors cut": ("state.safetensors", partial(cut, length=-10)),
    "one byte": ("state.safetensors", flip_last_byte),
    "no tensors": ("state.safetensors", Path.unlink),
    "json cut": ("state.json", partial(cut, length=20)),
    "json empty": ("state.json", partial(cut, length=0)),
    "no json": ("state.json", Path.unlink),
    "no key": ("state.json", drop_a_key),
}


def damage_it(path: Path, damage: str) -> None:
    file_name, change = DAMAGE[damage]
    change(path / file_name)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_passed_over_loudly(program, tmp_path, capsys, damage):
    older = shutil.copytree(save(tmp_path, program), tmp_path.parent / "older" / tmp_path.name)
    newest = save(tmp_path, program, step=6)
    shutil.copytree(older, tmp_path / "step-00000003")
    damage_it(newest, damage)
    assert load(tmp_path).state.step == 3
    assert f"{newest} is damaged and passed over" in capsys.readouterr().out


def test_where_all_are_damaged_the_run_begins_again_and_saves_over_them(program, tmp_path, capsys):
    damage_it(save(tmp_path, program), "json cut")
    assert checkpoint.load_newest(tmp_path, RUN) is None
    assert "damaged" in capsys.readouterr().out
    save(tmp_path, program)
    assert load(tmp_path).state.step == 3


def kill(*args: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["save_file", "sha256_of", "sync", "os.replace"])
def test_a_kill_before_the_rename_leaves_the_old_one(program, tmp_path, monkeypatch, capsys, at):
    save(tmp_path, program)
    with monkeypatch.context() as patch:
        patch.setattr(os if at == "os.replace" else checkpoint, at.removeprefix("os."), kill)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, program, step=6)
    assert load(tmp_path).state.step == 3
    assert capsys.readouterr().out == ""
    assert len(list(tmp_path.iterdir())) == 2
    # The process id of the killed one, as in a container that starts again.
    save(tmp_path, program, step=6)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000006"]


def test_a_kill_before_the_old_one_is_deleted_leaves_both_and_the_newer_counts(
    program, tmp_path, monkeypatch
):
    def kill_at_the_old_one(path: Path, ignore_errors: bool) -> None:
        if path.name == "step-00000003":
            kill()

    save(tmp_path, program)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.shutil, "rmtree", kill_at_the_old_one)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, program, step=6)
    assert len(list(tmp_path.iterdir())) == 2
    assert load(tmp_path).state.step == 6


def test_nothing_that_json_cannot_hold_is_saved(program, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save(tmp_path, program, data_wait_s=math.nan)
    assert checkpoint.load_newest(tmp_path, RUN) is None
