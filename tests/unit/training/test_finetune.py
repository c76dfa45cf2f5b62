"""Which layers learn, and when: a frozen body, the head first, layers at their own rates.

Steps in parts too.
"""

import dataclasses

import pytest
import torch
from torch import Tensor

from bench.config.schema import ExperimentConfig
from bench.data.batches import EvaluationSet, LoaderSpec
from bench.data.order import Augmentation, Order
from bench.data.source import Split
from bench.models.layers import split_head
from bench.models.networks import build
from bench.runtime.compute import no_recompile
from bench.runtime.distributed import World
from bench.training.features import Features, are_fixed, body_call
from bench.training.program import Program, Score
from tests.unit.training.factory import (
    BATCH,
    CLASSES,
    compile_without_inductor,
    different,
    make_batch,
    make_config,
    make_evaluation,
    make_program,
    start_of,
    state_of,
    train,
)


def moved(program: Program, seed: int = 0) -> set[str]:
    """First parts of the names of what differs from the start: weights and statistics."""
    start = start_of(seed)
    return {
        key.split(".")[0]
        for key, value in program.raw.state_dict().items()
        if not torch.equal(value, start[key])
    }


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_of_a_frozen_body_nothing_moves_neither_weights_nor_statistics(world, optimizer):
    program = make_program(world, finetune__layers="head", optim__name=optimizer)
    program.reset(start_of(0))
    train(program, 0, 3)
    program.evaluate([make_evaluation(0)])
    assert moved(program) == {"head"}
    assert all(
        parameter in set(program.raw.head.parameters()) for parameter in program.optimizer.state
    )


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_head_learns_first_and_then_everything(world, optimizer):
    program = make_program(world, optim__name=optimizer, finetune__head_first_steps=2)
    frozen = make_program(world, optim__name=optimizer, finetune__layers="head")
    for each in (program, frozen):
        each.reset(start_of(0))
    assert train(program, 0, 2) == train(frozen, 0, 2)
    assert moved(program) == {"head"}
    train(program, 2, 3)
    assert moved(program) == {"features", "hidden", "head"}
    program.reset(start_of(1))
    train(program, 0, 2)
    assert moved(program, 1) == {"head"}  # the next run begins with its head again


def test_layers_that_join_later_begin_with_a_rising_rate_of_their_own(world):
    program = make_program(
        world, finetune__head_first_steps=3, schedule__lr_warmup_steps=4, optim__lr=1.0
    )
    program.reset(start_of(0))
    rates = {True: [], False: []}
    for step in range(9):
        program.step(make_batch(step), step)
        for is_head in rates:
            groups = program.optimizer.param_groups
            (rate,) = {group["lr"] for group in groups if group["is_head"] is is_head}
            rates[is_head].append(rate)
    assert rates[True] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert rates[False][3:] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize(
    "changes", [{"finetune__head_first_steps": 2}, {"finetune__layers": "head"}]
)
def test_both_phases_are_compiled_before_the_clock_runs(world, monkeypatch, changes):
    compile_without_inductor(monkeypatch)
    program = make_program(world, compile__enabled=True, **changes)
    program.reset(start_of(0))
    program.warm_up([make_batch(0)], [make_evaluation(0)])
    for seed in (0, 1):
        program.reset(start_of(seed))
        with no_recompile(True):
            for step in range(4):
                program.step(make_batch(step), step)
                program.evaluate([make_evaluation(step)])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_each_layer_moves_at_its_own_rate(world, optimizer):
    """The first step of a run, taken at two decays.

    Every layer's move shrinks by the decay to the power of its distance.
    """
    moves = []
    for decay in (1.0, 0.5):
        program = make_program(
            world,
            optim__name=optimizer,
            optim__layer_decay=decay,
            optim__weight_decay=0,
            schedule__lr_warmup_steps=0,
        )
        program.reset(start_of(0))
        program.step(make_batch(0), 0)
        start = start_of(0)
        parameters = program.raw.named_parameters()
        moves.append({name: (p.detach() - start[name]).norm() for name, p in parameters})
    weights = [name for name, p in program.raw.named_parameters() if p.ndim > 1]
    for distance, name in enumerate(reversed(weights)):
        assert float(moves[1][name] / moves[0][name]) == pytest.approx(0.5**distance, rel=0.02)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_step_in_parts_is_the_whole_step(world, optimizer):
    """A network without BatchNorm, whose statistics are a part's own."""
    states = []
    for parts in (1, 2, 4):
        torch.manual_seed(0)
        raw = torch.nn.Sequential()
        raw.add_module(
            "features", torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=8), torch.nn.Flatten())
        )
        raw.add_module("head", torch.nn.Linear(64, CLASSES))
        config = make_config(
            {"optim.name": optimizer, "train.accumulate_steps": parts, "optim.lr": 0.001}
        )
        program = Program(raw, raw, config, world, CLASSES)
        program.reset(raw.state_dict())
        losses = train(program, 0, 3)
        states.append((losses, state_of(program)))
    for losses, state in states[1:]:
        assert losses == pytest.approx(states[0][0], rel=1e-5)
        for key, value in state.items():
            torch.testing.assert_close(value, states[0][1][key], rtol=1e-3, atol=1e-5)


def test_the_best_look_comes_back_and_so_does_its_average(world):
    program = make_program(world)
    program.reset(start_of(0))
    train(program, 0, 3)
    best = program.evaluate([make_evaluation(0)])
    program.average.keep()
    train(program, 3, 6)
    assert program.evaluate([make_evaluation(0)]) != best
    program.average.put_back()
    assert program.evaluate([make_evaluation(0)]) == best
    program.reset(start_of(0))
    assert program.average.kept == []


def test_features_are_fixed_only_where_nothing_before_them_is_random():
    still = {"finetune.layers": "head", "data.pad": 0, "data.flip": "none", "data.cutout": 0}
    assert are_fixed(make_config(still))
    for change in (
        {"finetune.layers": "all"},
        {"data.pad": 1},
        {"data.flip": "random"},
        {"data.cutout": 2},
    ):
        assert not are_fixed(make_config(still | change))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_head_learns_from_features_as_from_the_images(world, compiled, monkeypatch, fresh_dynamo):
    """As much is learned whether a frozen body sees each image at every step or once."""
    compile_without_inductor(monkeypatch)
    config = make_config(
        {"finetune.layers": "head", "data.pad": 0, "data.flip": "none", "compile.enabled": compiled}
    )
    kept = learn_from_features(world, config, are_kept=True)
    seen = learn_from_features(world, config, are_kept=False)
    assert kept.losses == pytest.approx(seen.losses, rel=1e-4)
    assert kept.score.confusion == seen.score.confusion
    assert kept.score.loss == pytest.approx(seen.score.loss, rel=1e-4)
    start = start_of(0)
    assert different(kept.state, start) == different(seen.state, start)
    assert different(kept.state, start) == ["head.weight", "head.bias"]
    for key in ("head.weight", "head.bias"):
        torch.testing.assert_close(kept.state[key], seen.state[key], rtol=1e-3, atol=1e-4)


@dataclasses.dataclass(frozen=True)
class Learned:
    """What a few steps came to."""

    losses: list[float]
    score: Score
    state: dict[str, Tensor]


def learn_from_features(world: World, config: ExperimentConfig, *, are_kept: bool) -> Learned:
    """Train a head on a frozen body's features, kept or computed at each step."""
    raw = build("small_cnn", CLASSES)
    body, head = split_head(raw)
    program = Program(raw, head if are_kept else raw, config, world, CLASSES)
    images = make_images(world)
    features = Features(images, images.labels, body_call(body, config, world))
    order = Order(
        samples=20, global_batch_size=BATCH, rank=0, world_size=1, seed=3, last_batch="drop"
    )
    warm_up_batches = features.batches(order, 0, 1) if are_kept else [make_batch(0)]
    evaluation = features if are_kept else images
    program.reset(start_of(0))
    program.warm_up(warm_up_batches, evaluation)
    program.reset(start_of(0))
    features.compute()
    pixels = torch.cat([batch.images for batch in images])
    losses = []
    for step, batch in enumerate(features.batches(order, 0, 6)):
        if not are_kept:
            batch = dataclasses.replace(batch, images=pixels[batch.samples])
        losses.append(float(program.step(batch, step)))
    score = program.evaluate(evaluation)
    state = {key: value.clone() for key, value in raw.state_dict().items()}
    return Learned(losses=losses, score=score, state=state)


def make_images(world: World) -> EvaluationSet:
    """Make twenty images, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(CLASSES, (20,), generator=generator)
    spec = LoaderSpec(
        device=world.device,
        dtype=torch.float32,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        threads=1,
        augmentation=Augmentation(pad=0, pad_mode="zero", flip="none", cutout=0),
    )
    split = Split(images=pixels.numpy(), labels=labels.numpy())
    return EvaluationSet(split, spec, batch_size=BATCH, rank=0, world_size=1)
