"""Pretrained values taken apart, in each run anew.

`shuffled` loses their places, `random_matched` all but each tensor's mean and variance.
"""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.models.networks import build
from bench.models.weights import (
    InitialWeights,
    file_weights,
    initial_state,
    initial_weights,
    random_weights,
)
from bench.runtime.streams import Stream, derive_seed
from tests.unit.models.factory import model_config, weights_config

SEEDS = range(8)
HEAD = {"head.weight", "head.bias"}
TRANSFORMS = ["shuffled", "random_matched"]


def trained_tensors() -> dict[str, Tensor]:
    """Of a trained-looking small CNN: every tensor has another mean and spread.

    No variance is negative.
    """
    generator = torch.Generator().manual_seed(9)
    tensors = {}
    for place, (key, value) in enumerate(build("small_cnn", 10).state_dict().items()):
        if key in HEAD:
            continue
        if not value.is_floating_point():
            tensors[key] = value + 77
            continue
        tensors[key] = torch.rand(value.shape, generator=generator) ** 3 * (place + 1) / 10
        if not key.endswith("running_var"):
            tensors[key] -= place / 40
    return tensors


def start_with(transform: str, tensors: dict[str, Tensor] | None = None) -> InitialWeights:
    if tensors is None:
        tensors = trained_tensors()
    facts = replace(random_weights().facts, source="file", transform=transform)
    return InitialWeights(tensors=tensors, facts=facts)


def state_of(
    transform: str, seed: int, tensors: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    return initial_state(model_config(), 10, seed, start_with(transform, tensors))


def moments(value: Tensor) -> tuple[float, float]:
    return value.double().mean().item(), value.double().var(correction=0).item()


@pytest.mark.parametrize("seed", SEEDS)
def test_shuffled_keeps_each_tensors_values_and_not_their_places(seed):
    state = state_of("shuffled", seed)
    for key, value in start_with("shuffled").tensors.items():
        assert torch.equal(state[key].flatten().sort()[0], value.flatten().sort()[0]), key
        assert torch.equal(state[key], value) == (not value.is_floating_point()), key


@pytest.mark.parametrize("seed", SEEDS)
def test_random_matched_keeps_each_tensors_moments_and_none_of_its_values(seed):
    state = state_of("random_matched", seed)
    tensors = tensors_by_kind()
    assert len(tensors["drawn"]) == 23
    for key, value in tensors["drawn"].items():
        assert state[key].dtype == value.dtype
        assert moments(state[key]) == pytest.approx(moments(value), rel=1e-5, abs=1e-7), key
        assert torch.isin(state[key], value).double().mean() < 0.01, key


@pytest.mark.parametrize("seed", SEEDS)
def test_random_matched_keeps_counts_and_shuffles_variances(seed):
    state = state_of("random_matched", seed)
    tensors = tensors_by_kind()
    assert (len(tensors["counts"]), len(tensors["variances"])) == (3, 3)
    for key, value in tensors["counts"].items():
        assert torch.equal(state[key], value)
    for key, value in tensors["variances"].items():
        assert state[key].dtype == value.dtype
        assert torch.equal(state[key].sort()[0], value.sort()[0])


def tensors_by_kind() -> dict[str, dict[str, Tensor]]:
    """Counts of batches, running variances, and what is drawn: all else."""
    tensors = {"counts": {}, "variances": {}, "drawn": {}}
    for key, value in trained_tensors().items():
        kind = "variances" if key.endswith("running_var") else "drawn"
        if not value.is_floating_point():
            kind = "counts"
        tensors[kind][key] = value
    return tensors


@pytest.mark.parametrize("seed", SEEDS)
def test_random_matched_is_normal(seed):
    """Skewness 0 and kurtosis 3 within six standard errors, unlike the pretrained values'."""
    value = state_of("random_matched", seed)["hidden.0.weight"].double()
    z = (value - value.mean()) / value.std()
    assert (z**3).mean().abs() < 6 * (6 / z.numel()) ** 0.5
    assert (z**4).mean().sub(3).abs() < 6 * (24 / z.numel()) ** 0.5


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_no_variance_is_negative(transform):
    for seed in SEEDS:
        state = state_of(transform, seed)
        variances = [value for key, value in state.items() if key.endswith("running_var")]
        assert len(variances) == 3
        assert all((variance >= 0).all() for variance in variances)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(torch.tensor([2.5]), id="one number"),
        pytest.param(torch.tensor(0.1), id="a scalar"),
        pytest.param(torch.full((3, 5), 0.1), id="a constant"),
        pytest.param(torch.zeros(4), id="zeros"),
        pytest.param(torch.tensor([7, 8]), id="integers"),
    ],
)
def test_one_number_a_constant_and_integers_stay(transform, value):
    for seed in SEEDS:
        assert torch.equal(state_of(transform, seed, {"extra": value})["extra"], value)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_half_precision_stays_half(transform):
    value = torch.linspace(-1, 1, 999).bfloat16()
    transformed = state_of(transform, 0, {"extra": value})["extra"]
    assert transformed.dtype == torch.bfloat16
    assert moments(transformed) == pytest.approx(moments(value), abs=2e-3)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_draw_is_of_the_seed_and_the_tensors_name_alone(transform):
    start = start_with(transform)
    rng_before = torch.get_rng_state()
    state = initial_state(model_config(), 10, 3, start)
    assert torch.equal(torch.get_rng_state(), rng_before)
    torch.rand(5)
    again = state_of(transform, 3)
    assert all(torch.equal(state[key], again[key]) for key in state)
    other = state_of(transform, 4)
    drawn = {key for key, value in start.tensors.items() if value.is_floating_point()}
    assert not any(torch.equal(state[key], other[key]) for key in drawn)
    key = "hidden.0.weight"
    alone = state_of(transform, 3, {key: start.tensors[key]})
    assert torch.equal(alone[key], state[key])


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_tensors_of_one_shape_have_draws_of_their_own(transform):
    value = torch.arange(500.0)
    state = state_of(transform, 0, {"a": value, "b": value})
    assert not torch.equal(state["a"], state["b"])


def test_the_draw_is_not_that_of_the_random_weights():
    """A run's first normal numbers do not come again as a transformed tensor."""
    pretrained = normal_numbers(seed=0)
    for seed in SEEDS:
        first_numbers = normal_numbers(derive_seed(seed, Stream.INIT))
        transformed = state_of("random_matched", seed, {"extra": pretrained})["extra"]
        assert abs(torch.corrcoef(torch.stack([first_numbers, transformed]))[0, 1]) < 0.2


def normal_numbers(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1000, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_head_is_the_random_one(transform):
    for seed in SEEDS:
        scratch = initial_state(model_config(), 10, seed, random_weights())
        state = state_of(transform, seed)
        assert all(torch.equal(scratch[key], state[key]) for key in HEAD)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_config_asks_for_it_and_the_record_says_so(tmp_path, transform):
    network = build("small_cnn", 10)
    path = tmp_path / "w.safetensors"
    save_file(trained_tensors(), path)
    config = weights_config(file=str(path), transform=transform)
    start = initial_weights(model_config(), config, network)
    assert start.facts.transform == transform
    assert start.facts.stem is None
    state = initial_state(model_config(), 10, 2, start)
    assert all(torch.equal(state[key], value) for key, value in state_of(transform, 2).items())
    assert file_weights(path, network, weights_config(), tag=None).facts.transform is None


@pytest.mark.parametrize(
    ("key", "value"), [("transform", "shuffled"), ("transform", "random_matched"), ("stem", "crop")]
)
def test_random_weights_have_nothing_to_transform(key, value):
    config = weights_config("random", **{key: value})
    message = f"weights.{key}: '{value}' needs pretrained values; weights.source is 'random'"
    with pytest.raises(ValueError, match=message):
        initial_weights(model_config(), config, build("small_cnn", 10))
