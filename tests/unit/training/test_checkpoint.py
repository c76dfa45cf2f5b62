"""A checkpoint puts a fresh program exactly where it was taken, random numbers too."""

import json
import math

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
from tests.unit.training.saving import BASIS, SEGMENTS_NS, load, newest_step_folder, save

TENSOR_FILES = ["rank-0.safetensors", "shared-0.safetensors"]
FILES = sorted(["MANIFEST.json", "rank-0.json", "shared.json", *TENSOR_FILES])


@pytest.fixture(scope="module")
def program(world):
    """One program three steps into seed 0; what is tested on it only reads it."""
    trained = make_program(world)
    trained.reset(start_of(0))
    train(trained, 0, 3)
    return trained


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
    assert train(resumed, saved.step, 6) == losses[3:]
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


def test_what_is_large_lies_in_parts(world, program, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PART_BYTES", 100_000)
    folder = save(tmp_path, program)
    parts = sorted(folder.glob("shared-*.safetensors"))
    assert len(parts) > 4
    resumed = make_program(world)
    resumed.reset(start_of(1))
    checkpoint.restore(resumed, load(tmp_path))
    assert different(state_of(program), state_of(resumed)) == []


def test_random_numbers_go_on_where_they_were(world, program, tmp_path):
    """Layers that draw, such as dropout, take torch's own."""
    torch.manual_seed(7)
    save(tmp_path, program)
    drawn = torch.rand(3)
    torch.manual_seed(8)
    resumed = make_program(world)
    resumed.reset(start_of(0))
    checkpoint.restore(resumed, load(tmp_path))
    assert torch.equal(torch.rand(3), drawn)


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
    assert path.name.startswith("step-00000003-")
    saved = load(tmp_path)
    assert (saved.step, saved.shared.average_updates, saved.shared.scaler) == (3, 3, None)
    assert saved.shared.val_losses == [1.5]
    assert (saved.rank.segments_ns, saved.rank.data_wait_s) == (SEGMENTS_NS, 0.5)


def test_saving_changes_nothing(program, tmp_path):
    before = state_of(program)
    random_before = torch.get_rng_state()
    save(tmp_path, program)
    assert different(before, state_of(program)) == []
    assert torch.equal(torch.get_rng_state(), random_before)


def test_a_rank_saves_what_it_alone_holds_and_rank_0_what_all_hold(program, tmp_path):
    saved = load(save(tmp_path, program).parent)
    parameters = {f"network.{name}" for name, _ in program.raw.named_parameters()}
    statistics = {f"network.{name}" for name, _ in program.raw.named_buffers()}
    assert parameters
    assert statistics
    assert {name for name in saved.shared_tensors if name.startswith("network.")} == parameters
    assert {name for name in saved.rank_tensors if name.startswith("network.")} == statistics


def test_nothing_in_it_is_a_pickle_and_the_manifest_names_all(program, tmp_path):
    folder = save(tmp_path, program)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    assert sorted(entry["name"] for entry in manifest["files"]) == FILES[1:]
    assert manifest["basis"]["run_id"] == BASIS.run_id
    for name in TENSOR_FILES:
        content = (folder / name).read_bytes()
        header_bytes = int.from_bytes(content[:8], "little")
        assert json.loads(content[8 : 8 + header_bytes])


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_so_many_are_kept(program, tmp_path, keep):
    steps = [3, 7, 99_999_999, 100_000_001]
    for step in steps:
        save(tmp_path, program, step, keep=keep)
    kept = sorted(int(path.name.split("-")[1]) for path in tmp_path.iterdir())
    assert kept == steps[-keep:]
    assert load(tmp_path).step == steps[-1]


def test_no_checkpoint_is_none(tmp_path):
    assert newest_step_folder(tmp_path) is None
    assert newest_step_folder(tmp_path / "nothing") is None


def test_nothing_that_json_cannot_hold_is_saved(program: Program, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save(tmp_path, program, data_wait_s=math.nan)
    assert list(tmp_path.iterdir()) == []
