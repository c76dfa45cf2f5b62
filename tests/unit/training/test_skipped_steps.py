"""Under fp16 a gradient that overflows moves no weight: counted on the device, by the scaler."""

import pytest
import torch

from bench.training import checkpoint
from bench.training.program import Program
from tests.unit.training.factory import (
    make_batch,
    make_program,
    opened_scaled_world,
    opened_world,
    start_of,
)
from tests.unit.training.saving import load, save

HIGHEST_SCALE = 2.0**127  # of float32: gradients overflow until it has fallen


def with_scale(program: Program, scale: float) -> None:
    """Put the scaler where gradients are multiplied with this."""
    program.scaler.load_state_dict({**program.scaler.state_dict(), "scale": scale})


def steps_without_a_move(program: Program, steps: int) -> int:
    """Take steps; count those after which every weight is as it was."""
    count = 0
    for step in range(steps):
        before = [parameter.detach().clone() for parameter in program.raw.parameters()]
        program.step(make_batch(step), step)
        after = [parameter.detach() for parameter in program.raw.parameters()]
        pairs = zip(before, after, strict=True)
        count += all(torch.equal(old, new) for old, new in pairs)
    return count


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_steps_that_move_no_weight_are_counted(optimizer):
    with opened_scaled_world() as world:
        program = make_program(world, optim__name=optimizer)
        program.reset(start_of(0))
        with_scale(program, HIGHEST_SCALE)
        unmoved = steps_without_a_move(program, 8)
        assert 0 < unmoved < 8
        assert program.skipped_steps() == unmoved
        program.reset(start_of(0))
        assert program.skipped_steps() == 0


def test_a_scale_that_has_fallen_to_zero_tells_nothing_and_the_count_does():
    """Gradients that stay infinite: the scale falls, and no weight ever moves."""
    with opened_scaled_world() as world:
        program = make_program(world)
        program.reset(start_of(0))
        program.raw.features[0].weight.register_hook(lambda gradient: gradient * float("inf"))
        assert steps_without_a_move(program, 5) == 5
        assert program.skipped_steps() == 5


def test_the_count_outlives_its_process(tmp_path):
    with opened_scaled_world() as world:
        program = make_program(world)
        program.reset(start_of(0))
        with_scale(program, HIGHEST_SCALE)
        count = steps_without_a_move(program, 4)
        save(tmp_path, program)
        resumed = make_program(world)
        resumed.reset(start_of(0))
        checkpoint.restore(resumed, load(tmp_path))
        assert resumed.skipped_steps() == count > 0


def test_without_a_scaler_no_step_is_skipped():
    with opened_world() as world:
        program = make_program(world)
        program.reset(start_of(0))
        assert steps_without_a_move(program, 2) == 0
        assert program.skipped_steps() == 0
