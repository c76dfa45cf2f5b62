"""What decays, what rate is taken and the update of each optimizer against its formula.

Rates over all steps of a run too.
"""

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench import registry
from bench.models.networks import build
from bench.training.schedules import constant, cosine
from tests.unit.training.factory import make_config

NAMES = pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
SCHEDULES = pytest.mark.parametrize("schedule", [constant, cosine])
TOTALS = st.integers(1, 500)
WARMUPS = st.integers(0, 100)


def make_network() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return network


def make_optimizer(name: str, network: nn.Module, **changes) -> torch.optim.Optimizer:
    config = dataclasses.replace(make_config().optim, name=name, **changes)
    return registry.resolve("optimizer", name)(network, config)


def step(
    network: nn.Module, optimizer: torch.optim.Optimizer, gradient: float
) -> dict[str, Tensor]:
    """One step with this gradient everywhere; how far each parameter moved."""
    before = {key: p.detach().clone() for key, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step()
    return {key: p.detach() - before[key] for key, p in network.named_parameters()}


@NAMES
def test_all_that_learns_is_in_one_group_and_only_matrices_and_kernels_decay(name):
    network = make_network()
    network[2].weight.requires_grad_(False)
    decayed, kept = make_optimizer(name, network, weight_decay=0.3).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    assert [id(p) for p in decayed["params"]] == [id(network[0].weight)]
    biases_and_norms = [network[0].bias, *network[1].parameters(), network[2].bias]
    assert list(map(id, kept["params"])) == list(map(id, biases_and_norms))


@NAMES
def test_decay_pulls_the_others_to_zero_and_leaves_biases_and_normalisation(name):
    network = make_network()
    moved = step(network, make_optimizer(name, network, weight_decay=0.3), gradient=0.0)
    assert {key for key, by in moved.items() if (by < 0).all()} == {"0.weight", "2.weight"}
    assert all((by == 0).all() for key, by in moved.items() if key not in ("0.weight", "2.weight"))


@NAMES
def test_the_rate_is_the_configs_and_then_the_groups(name):
    network = make_network()
    optimizer = make_optimizer(name, network, lr=0.02, weight_decay=0.0)
    assert {group["lr"] for group in optimizer.param_groups} == {0.02}
    first = step(network, optimizer, gradient=1.0)
    optimizer.state.clear()
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    second = step(network, optimizer, gradient=1.0)
    for key in first:
        assert (first[key] < 0).all()
        torch.testing.assert_close(first[key], 2 * second[key], rtol=1e-4, atol=1e-6)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    assert all((by == 0).all() for by in step(network, optimizer, gradient=1.0).values())


def adam_by_hand(weight: Tensor, gradients: list[float], *, decay_apart: bool) -> Tensor:
    """Three steps of Adam in float64: lr 0.01, betas 0.8 and 0.9, decay 0.3."""
    mean = torch.zeros_like(weight)
    square = torch.zeros_like(weight)
    for t, gradient in enumerate(gradients, start=1):
        if decay_apart:
            weight = weight * (1 - 0.01 * 0.3)
            slope = torch.full_like(weight, gradient)
        else:
            slope = gradient + 0.3 * weight
        mean = 0.8 * mean + 0.2 * slope
        square = 0.9 * square + 0.1 * slope**2
        weight = weight - 0.01 * (mean / (1 - 0.8**t)) / ((square / (1 - 0.9**t)).sqrt() + 1e-8)
    return weight


@pytest.mark.parametrize(("name", "decay_apart"), [("adamw", True), ("adam", False)])
def test_adam_with_its_betas_and_its_decay(name, decay_apart):
    network = make_network()
    gradients = [1.0, -0.5, 0.25]
    optimizer = make_optimizer(name, network, beta1=0.8, beta2=0.9, weight_decay=0.3)
    expected = adam_by_hand(network[0].weight.detach().double(), gradients, decay_apart=decay_apart)
    for gradient in gradients:
        step(network, optimizer, gradient)
    torch.testing.assert_close(network[0].weight.detach().double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_nesterovs_or_plain(momentum):
    network = make_network()
    gradients = [1.0, -0.5, 0.25]
    optimizer = make_optimizer("sgd", network, momentum=momentum, weight_decay=0.3)
    weight = network[0].weight.detach().double()
    velocity = torch.zeros_like(weight)
    for gradient in gradients:
        slope = gradient + 0.3 * weight
        velocity = momentum * velocity + slope
        weight = weight - 0.01 * (slope + momentum * velocity)
        step(network, optimizer, gradient)
    torch.testing.assert_close(network[0].weight.detach().double(), weight, rtol=0, atol=1e-5)


@NAMES
def test_steps_are_fused(name):
    """One kernel for all parameters, not one compiled graph for each rate."""
    network = make_network()
    assert all(group["fused"] for group in make_optimizer(name, network).param_groups)


@SCHEDULES
@given(warmup_steps=st.integers(1, 100), more=TOTALS)
def test_the_rate_rises_evenly_to_its_peak(schedule, warmup_steps, more):
    rates = [schedule(step, warmup_steps, warmup_steps + more) for step in range(warmup_steps)]
    assert rates == pytest.approx([(step + 1) / warmup_steps for step in range(warmup_steps)])
    assert rates[-1] == 1


@SCHEDULES
@given(total_steps=TOTALS)
def test_without_a_rise_the_first_step_has_the_peak(schedule, total_steps):
    assert schedule(0, 0, total_steps) == 1


@SCHEDULES
@given(total_steps=TOTALS, warmup_steps=WARMUPS)
def test_a_rate_is_a_fraction_at_every_step(schedule, total_steps, warmup_steps):
    rates = [schedule(step, warmup_steps, total_steps) for step in range(total_steps)]
    assert all(0 < rate <= 1 for rate in rates)


@given(total_steps=TOTALS, warmup_steps=WARMUPS, step=st.integers(0, 10**6))
def test_constant_stays_at_its_peak_and_knows_no_end(total_steps, warmup_steps, step):
    assert constant(warmup_steps + step, warmup_steps, total_steps) == 1
    assert constant(step, warmup_steps, total_steps) == constant(
        step, warmup_steps, total_steps + 1
    )


@given(warmup_steps=WARMUPS, more=st.integers(2, 500))
def test_cosine_falls_from_its_peak_to_nearly_nothing(warmup_steps, more):
    total_steps = warmup_steps + more
    rates = [cosine(step, warmup_steps, total_steps) for step in range(warmup_steps, total_steps)]
    assert rates[0] == 1
    assert all(after < before for before, after in itertools.pairwise(rates))
    assert rates[-1] <= 2.5 / more**2  # (pi / 2 / more) ** 2, its last step before zero
    assert cosine(total_steps, warmup_steps, total_steps) == pytest.approx(0, abs=1e-12)


@given(half=st.integers(1, 200))
def test_cosine_is_a_half_at_half_way(half):
    assert cosine(half, 0, 2 * half) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "exempt"),
    [
        ("test_vit", {"pos_embed", "cls_token"}),
        ("resnet18", set()),
    ],
)
def test_what_timm_exempts_from_weight_decay_has_none(name, exempt):
    network = build(name, 10)
    decaying: set[str] = set()
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    optimizer = make_optimizer("adamw", network, weight_decay=0.3)
    for group in optimizer.param_groups:
        if group["weight_decay"] > 0:
            decaying |= {names[id(parameter)] for parameter in group["params"]}
    weights = {key for key, parameter in network.named_parameters() if parameter.ndim >= 2}
    assert exempt <= weights
    assert decaying == weights - exempt
