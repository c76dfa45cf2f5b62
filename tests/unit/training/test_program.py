"""One program, many runs: put back without a trace and without a recompile.

It is scored without being changed.
"""

import copy
import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.utils import counters

from bench.runtime.compute import no_recompile
from bench.training.program import Objective
from tests.unit.training.factory import (
    BATCH,
    CLASSES,
    compile_without_inductor,
    different,
    make_batch,
    make_evaluation,
    make_program,
    opened_world,
    start_of,
    state_of,
    train,
)


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_nothing_is_compiled_after_the_kernel_warm_up(world, monkeypatch, backend):
    compile_without_inductor(monkeypatch, backend)
    program = make_program(world, compile__enabled=True)
    program.reset(start_of(0))
    record = program.warm_up([make_batch(0)], [make_evaluation(0)])
    assert (record.enabled, record.mode, record.fullgraph) == (True, "default", True)
    assert record.graphs == 2
    before = graphs()
    losses = []
    for seed in (0, 1, 0):
        program.reset(start_of(seed))
        with no_recompile(True):
            losses.append(train(program, 0, 3))
            score = program.evaluate([make_evaluation(0), make_evaluation(1, counted=3)])
            losses.append([score.loss])
            losses.append(train(program, 3, 4))
    assert graphs() == before
    assert losses[:3] == losses[6:]  # the same seed, another one in between
    assert losses[:3] != losses[3:6]
    with no_recompile(True), pytest.raises(RuntimeError, match="recompile"):
        program.step(make_batch(0, size=BATCH - 1), 0)


@pytest.mark.usefixtures("fresh_dynamo")
def test_compiled_steps_are_the_eager_ones(world, monkeypatch):
    compile_without_inductor(monkeypatch)
    losses = []
    for enabled in (False, True):
        program = make_program(world, compile__enabled=enabled)
        program.reset(start_of(0))
        losses.append([*train(program, 0, 3), program.evaluate([make_evaluation(0)]).loss])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_without_compiling_there_is_nothing_to_guard(world):
    program = make_program(world)
    record = program.warm_up([make_batch(0)], [make_evaluation(0)])
    assert (record.enabled, record.fullgraph, record.graphs) == (False, False, 0)
    with no_recompile(False):
        program.step(make_batch(0, size=3), 0)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_after_a_reset_nothing_is_left_of_what_went_before(world, optimizer):
    program = make_program(world, optim__name=optimizer)
    program.reset(start_of(0))
    first_losses = train(program, 0, 3)
    first_state = state_of(program)
    program.step(make_batch(77), 0)
    program.evaluate([make_evaluation(0)])
    program.raw(make_batch(5).images).sum().backward()  # a gradient that nobody used
    program.reset(start_of(0))
    assert train(program, 0, 3) == first_losses
    assert different(first_state, state_of(program)) == []


def test_after_a_warm_up_and_a_reset_a_program_is_a_new_one(world):
    warm = make_program(world)
    new = make_program(world)
    warm.reset(start_of(1))
    warm.warm_up([make_batch(9)], [make_evaluation(9)])
    for program in (warm, new):
        program.reset(start_of(0))
    assert train(warm, 0, 3) == train(new, 0, 3)
    assert different(state_of(warm), state_of(new)) == []
    assert warm.average.updates == new.average.updates == 3


def test_the_kernel_warm_up_does_not_learn_from_the_labels(world):
    """Two label sets, one draw of random ones: the same network comes out."""
    states = []
    for labels in (torch.zeros(BATCH, dtype=torch.int64), torch.full((BATCH,), 9)):
        program = make_program(world)
        batch = dataclasses.replace(make_batch(0), labels=labels)
        program.reset(start_of(0))
        torch.manual_seed(0)
        program.warm_up([batch], [make_evaluation(0)])
        states.append(state_of(program))
    assert different(*states) == []


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_an_evaluation_changes_nothing(world, decay):
    program = make_program(world, schedule__average_decay=decay)
    program.reset(start_of(0))
    train(program, 0, 2)
    before = state_of(program)
    first = program.evaluate([make_evaluation(0), make_evaluation(1)])
    assert different(before, state_of(program)) == []
    assert program.evaluate([make_evaluation(0), make_evaluation(1)]) == first
    other = make_program(world, schedule__average_decay=decay)
    other.reset(start_of(0))
    assert train(program, 2, 4) == train(other, 0, 4)[2:]


def test_a_score_is_of_the_averaged_weights_and_of_the_rows_that_count(world):
    program = make_program(world)
    program.reset(start_of(0))
    train(program, 0, 3)
    averaged = copy.deepcopy(program.raw)
    statistics = [buffer for buffer in averaged.buffers() if buffer.is_floating_point()]
    with torch.no_grad():
        tensors = [*averaged.parameters(), *statistics]
        for tensor, value in zip(tensors, program.average.tensors, strict=True):
            tensor.copy_(value)
    batches = [make_evaluation(0), make_evaluation(1, counted=3)]
    batches[1].images[3:] = float("nan")
    batches[1].labels[3:] = 0  # what the maximum of such a row is: right, if it counted
    images = torch.cat([batch.images[batch.counts] for batch in batches])
    labels = torch.cat([batch.labels[batch.counts] for batch in batches])
    with torch.no_grad():
        logits = averaged.eval()(images)
    score = program.evaluate(batches)
    expected = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    for label, prediction in zip(labels.tolist(), logits.argmax(1).tolist(), strict=True):
        expected[label, prediction] += 1
    assert score.confusion == expected.tolist()
    assert int(expected.sum()) == 11
    unsmoothed = float(F.cross_entropy(logits, labels))
    assert score.loss == pytest.approx(unsmoothed, abs=1e-4)


def test_steps_are_those_of_a_plain_loop(world):
    """Of ten steps, the rate rising for two and falling as a cosine, the first few are taken."""
    changes = {
        "schedule__name": "cosine",
        "schedule__lr_warmup_steps": 2,
        "schedule__average_decay": 0,
    }
    program = make_program(world, **changes)
    program.reset(start_of(0))
    plain = copy.deepcopy(program.raw).train()
    kernels = [parameter for parameter in plain.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in plain.parameters() if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups)
    for step, fraction in enumerate([0.5, 1.0, 1.0, (1 + math.cos(math.pi / 8)) / 2]):
        batch = make_batch(step)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * fraction
        expected = F.cross_entropy(plain(batch.images), batch.labels, label_smoothing=0.1)
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
        loss = program.step(batch, step)
        assert not loss.requires_grad
        assert float(loss) == pytest.approx(expected.item(), abs=2e-3)
        rates = [group["lr"] for group in program.optimizer.param_groups]
        assert rates == pytest.approx([0.01 * fraction] * 4)


def test_a_loss_that_is_not_a_number_is_seen(world):
    program = make_program(world)
    batch = make_batch(0)
    program.reset(start_of(0))
    batch.images[2, 1, 5, 5] = float("nan")
    assert program.step(batch, 0).isnan()
    assert program.step(make_batch(1), 1).isnan()  # the weights are lost
    score = program.evaluate([make_evaluation(0)])
    assert math.isnan(score.loss)
    program.reset(start_of(0))
    losses = train(program, 0, 2)
    assert [math.isfinite(loss) for loss in losses] == [True, True]


def test_labels_are_smoothed_in_training_only():
    logits = torch.randn(5, 10)
    labels = torch.arange(5)
    objective = Objective(torch.nn.Identity(), label_smoothing=0.1)
    for training, smoothing in ((True, 0.1), (False, 0.0)):
        loss, predictions = objective.train(training)(logits, labels)
        torch.testing.assert_close(
            loss, F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        )
        assert torch.equal(predictions, logits.argmax(1))


def test_bf16_computes_in_it_and_keeps_everything_else_in_float32():
    seen = []
    with opened_world("bf16") as half:
        program = make_program(half)
        batch = make_batch(0)
        program.reset(start_of(0))
        program.raw.head.register_forward_hook(
            lambda module, inputs, output: seen.append(output.detach())
        )
        loss = program.step(batch, 0)
        program.evaluate([make_evaluation(0)])
        assert [logits.dtype for logits in seen] == [torch.bfloat16, torch.bfloat16]
        assert loss.dtype == torch.float32
        assert float(loss) == pytest.approx(
            float(F.cross_entropy(seen[0].float(), batch.labels, label_smoothing=0.1)), abs=1e-5
        )
        assert {value.dtype for value in state_of(program).values()} == {torch.float32, torch.int64}
