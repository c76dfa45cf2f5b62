"""Which modules are in training mode when they run: at every step, look and start of a run."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from bench.data.batches import EvaluationSet, LoaderSpec
from bench.data.order import Augmentation, Order
from bench.data.source import Split
from bench.models.layers import split_head
from bench.models.networks import build
from bench.training.features import Features, body_call
from bench.training.program import Objective, Program
from tests.unit.training.factory import (
    BATCH,
    CLASSES,
    make_batch,
    make_config,
    make_evaluation,
    make_program,
    start_of,
)

TRAINING = {("objective", True), ("network", True)}
HEAD_ONLY = {("objective", True), ("network", False)}
EVALUATION = {("objective", False), ("network", False)}


@contextmanager
def modes_seen() -> Iterator[set[tuple[str, bool]]]:
    """Collects the modes in which an objective, and any module inside one, are called."""
    modes: set[tuple[str, bool]] = set()

    def note(module: nn.Module, inputs: tuple) -> None:
        name = "objective" if isinstance(module, Objective) else "network"
        modes.add((name, module.training))

    hook = register_module_forward_pre_hook(note)
    yield modes
    hook.remove()


def modes_of_step(program: Program, step: int) -> set[tuple[str, bool]]:
    with modes_seen() as modes:
        program.step(make_batch(step), step)
    return modes


def modes_of_evaluation(program: Program) -> set[tuple[str, bool]]:
    with modes_seen() as modes:
        program.evaluate([make_evaluation(0)])
    return modes


def test_steps_train_and_looks_evaluate_in_any_order(world):
    program = make_program(world)
    program.reset(start_of(0))
    assert modes_of_step(program, 0) == TRAINING
    assert modes_of_step(program, 1) == TRAINING
    assert modes_of_evaluation(program) == EVALUATION
    assert modes_of_evaluation(program) == EVALUATION
    assert modes_of_step(program, 2) == TRAINING


def test_a_run_may_begin_with_a_look(world):
    program = make_program(world)
    program.reset(start_of(0))
    assert modes_of_evaluation(program) == EVALUATION
    assert modes_of_step(program, 0) == TRAINING


def test_the_network_trains_when_the_head_is_no_longer_alone(world):
    program = make_program(world, finetune__head_first_steps=2)
    for seed in (0, 1):  # the second run goes back from training to the head alone
        program.reset(start_of(seed))
        modes = [modes_of_step(program, step) for step in range(4)]
        assert modes == [HEAD_ONLY, HEAD_ONLY, TRAINING, TRAINING]


def test_a_look_after_each_step_keeps_the_head_alone_as_long(world):
    program = make_program(world, finetune__head_first_steps=2)
    for seed in (0, 1):
        program.reset(start_of(seed))
        for step, mode in enumerate([HEAD_ONLY, HEAD_ONLY, TRAINING, TRAINING]):
            assert modes_of_step(program, step) == mode
            assert modes_of_evaluation(program) == EVALUATION


def test_a_head_alone_trains_before_and_after_a_look(world):
    program = make_program(world, finetune__layers="head")
    program.reset(start_of(0))
    assert modes_of_step(program, 0) == HEAD_ONLY
    assert modes_of_evaluation(program) == EVALUATION
    assert modes_of_step(program, 1) == HEAD_ONLY


@pytest.mark.parametrize(("head_first_steps", "first_modes"), [(0, TRAINING), (1, HEAD_ONLY)])
def test_the_kernel_warm_up_meets_the_modes_of_a_run(world, head_first_steps, first_modes):
    program = make_program(world, finetune__head_first_steps=head_first_steps)
    program.reset(start_of(0))
    with modes_seen() as modes:
        program.warm_up([make_batch(0)], [make_evaluation(0)])
    # The pairs of HEAD_ONLY are all among those of the other two.
    assert modes == TRAINING | EVALUATION
    program.reset(start_of(0))
    assert modes_of_step(program, 0) == first_modes
    assert modes_of_evaluation(program) == EVALUATION
    assert modes_of_step(program, 1) == TRAINING


def test_a_run_begins_right_whatever_was_done_to_some_modules(world):
    program = make_program(world)
    program.reset(start_of(0))
    program.step(make_batch(0), 0)
    program.raw.features.eval()
    program.reset(start_of(0))
    assert modes_of_step(program, 0) == TRAINING
    program.evaluate([make_evaluation(0)])
    program.raw.features.train()
    program.reset(start_of(0))
    assert modes_of_evaluation(program) == EVALUATION


@pytest.mark.parametrize("training", [True, False])
def test_a_network_put_in_one_mode_from_outside_is_put_right_at_once(world, training):
    program = make_program(world)
    program.reset(start_of(0))
    program.step(make_batch(0), 0)
    program.raw.train(training)
    assert modes_of_step(program, 1) == TRAINING
    program.raw.train(training)
    assert modes_of_evaluation(program) == EVALUATION


def test_a_body_whose_features_are_kept_stays_in_evaluation(world):
    config = make_config({"finetune.layers": "head", "data.pad": 0, "data.flip": "none"})
    raw = build("small_cnn", CLASSES)
    body, head = split_head(raw)
    program = Program(raw, head, config, world, CLASSES)
    features = make_features(body, config, world)
    order = Order(
        samples=BATCH, global_batch_size=BATCH, rank=0, world_size=1, seed=0, last_batch="drop"
    )
    for seed in (0, 1):
        program.reset(start_of(seed))
        with modes_seen() as modes:
            features.compute()
        assert modes == {("network", False)}
        for step, batch in enumerate(features.batches(order, 0, 2)):
            with modes_seen() as modes:
                program.step(batch, step)
            assert modes == HEAD_ONLY
            with modes_seen() as modes:
                program.evaluate(features)
            assert modes == EVALUATION


def make_features(body: nn.Module, config, world) -> Features:
    """Features of one batch of black images."""
    pixels = torch.zeros(BATCH, 32, 32, 3, dtype=torch.uint8).numpy()
    split = Split(images=pixels, labels=torch.arange(BATCH).numpy())
    augmentation = Augmentation(pad=0, pad_mode="zero", flip="none", cutout=0)
    spec = LoaderSpec(
        device=world.device,
        dtype=torch.float32,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        augmentation=augmentation,
        threads=1,
    )
    images = EvaluationSet(split, spec, batch_size=BATCH, rank=0, world_size=1)
    return Features(images, images.labels, body_call(body, config, world))
