"""A program's steps against the same steps through accelerate's own wrappers, bit for bit."""

import math
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from bench.models.networks import build
from bench.runtime.distributed import World
from bench.training.optimizers import adamw, sgd
from bench.training.program import Objective
from tests.unit.training.factory import (
    CLASSES,
    different,
    make_batch,
    make_config,
    make_program,
    opened_scaled_world,
    opened_world,
    start_of,
)

STEPS = 5
OVERFLOWING_STEP = 2
OPTIMIZERS = {"adamw": adamw, "sgd": sgd}


def world_of(precision: str) -> AbstractContextManager[World]:
    """A world in fp32 or bf16; `scaled` is fp32 with the gradient scaler that fp16 has on a GPU."""
    if precision == "scaled":
        return opened_scaled_world()
    return opened_world(precision)


def overflow_once(network: nn.Module) -> None:
    """Make one gradient infinite in the step OVERFLOWING_STEP, counted by backward passes."""
    steps = iter(range(STEPS))

    def overflow(gradient: Tensor) -> Tensor:
        return gradient * (math.inf if next(steps) == OVERFLOWING_STEP else 1)

    network.head.bias.register_hook(overflow)


def accelerate_steps(
    world: World, optimizer_name: str, *, parts: int = 1, overflows: bool = False
) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of a few steps as accelerate's documentation writes them, and the weights after."""
    accelerator = world.accelerator
    network = build("small_cnn", CLASSES).to(memory_format=torch.channels_last)
    network.load_state_dict(start_of(0))
    if overflows:
        overflow_once(network)
    config = make_config()
    objective, optimizer = accelerator.prepare(
        Objective(network, config.train.label_smoothing),
        OPTIMIZERS[optimizer_name](network, config.optim),
    )
    losses = []
    for step in range(STEPS):
        batch = make_batch(step)
        pieces = zip(batch.images.chunk(parts), batch.labels.chunk(parts), strict=True)
        step_loss = torch.zeros(())
        for images, labels in pieces:
            loss = objective(images, labels)[0].mean() / parts
            accelerator.backward(loss)
            step_loss += loss.detach()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(step_loss))
    return losses, network.state_dict()


def program_of(world: World, optimizer: str, parts: int = 1):
    """A program at its start whose rate is that of the config from the first step on."""
    program = make_program(
        world,
        optim__name=optimizer,
        train__accumulate_steps=parts,
        schedule__lr_warmup_steps=0,
        schedule__average_decay=0,
    )
    program.reset(start_of(0))
    return program


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "scaled"])
def test_losses_and_weights_are_those_of_accelerates_own_path(precision, optimizer, parts):
    with world_of(precision) as world:
        losses, weights = accelerate_steps(world, optimizer, parts=parts)
    with world_of(precision) as world:
        program = program_of(world, optimizer, parts)
        assert [float(program.step(make_batch(step), step)) for step in range(STEPS)] == losses
    assert different(program.raw.state_dict(), weights) == []
    assert len(set(losses)) == STEPS


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_whose_gradients_overflow_is_left_out_as_by_accelerate(optimizer):
    with world_of("scaled") as world:
        losses, weights = accelerate_steps(world, optimizer, overflows=True)
        expected_scaler = world.accelerator.scaler.state_dict()
    with world_of("scaled") as world:
        program = program_of(world, optimizer)
        overflow_once(program.raw)
        program_losses = []
        stood_still = []
        for step in range(STEPS):
            before = {name: p.detach().clone() for name, p in program.raw.named_parameters()}
            program_losses.append(float(program.step(make_batch(step), step)))
            stood_still.append(different(dict(program.raw.named_parameters()), before) == [])
    assert program_losses == losses
    assert different(program.raw.state_dict(), weights) == []
    assert stood_still == [step == OVERFLOWING_STEP for step in range(STEPS)]
    assert program.scaler.state_dict() == expected_scaler
    assert expected_scaler["scale"] == 2.0**15  # half of what it begins with


def test_a_reset_puts_the_scale_back():
    with world_of("scaled") as world:
        program = program_of(world, "adamw")
        overflow_once(program.raw)
        for step in range(STEPS):
            program.step(make_batch(step), step)
        assert program.scaler.get_scale() == 2.0**15
        program.reset(start_of(0))
        assert program.scaler.get_scale() == 2.0**16
