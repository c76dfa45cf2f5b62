"""Pretrained values taken apart, in each run anew: their order gone, or all but their mean and
variance.
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


def given_start(transform: str, tensors: dict[str, Tensor] | None = None) -> InitialWeights:
    """Of a trained-looking small CNN: every tensor has its own mean and spread, and no
    variance is negative.
    """
    if tensors is None:
        generator = torch.Generator().manual_seed(9)
        tensors = {}
        for place, (key, value) in enumerate(build("small_cnn", 10).state_dict().items()):
            if key not in HEAD:
                drawn = torch.rand(value.shape, generator=generator) ** 3 * (place + 1) / 10
                tensors[key] = drawn if key.endswith("running_var") else drawn - place / 40
                tensors[key] = tensors[key] if value.is_floating_point() else value + 77
    facts = replace(random_weights().facts, source="file", transform=transform)
    return InitialWeights(tensors=tensors, facts=facts)


def state_of(
    transform: str, seed: int, tensors: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    return initial_state(model_config(), 10, seed, given_start(transform, tensors))


def moments(value: Tensor) -> tuple[float, float]:
    return value.double().mean().item(), value.double().var(correction=0).item()


@pytest.mark.parametrize("seed", SEEDS)
def test_shuffled_keeps_each_tensors_values_and_not_their_places(seed):
    state = state_of("shuffled", seed)
    for key, value in given_start("shuffled").tensors.items():
        assert torch.equal(state[key].flatten().sort()[0], value.flatten().sort()[0]), key
        assert torch.equal(state[key], value) == (not value.is_floating_point()), key


@pytest.mark.parametrize("seed", SEEDS)
def test_random_matched_keeps_each_tensors_moments_and_none_of_its_values(seed):
    state = state_of("random_matched", seed)
    for key, value in given_start("random_matched").tensors.items():
        assert state[key].dtype == value.dtype
        if not value.is_floating_point():
            assert torch.equal(state[key], value)
        elif key.endswith("running_var"):
            assert torch.equal(state[key].sort()[0], value.sort()[0])
        else:
            assert moments(state[key]) == pytest.approx(moments(value), rel=1e-5, abs=1e-7), key
            assert torch.isin(state[key], value).double().mean() < 0.01, key


@pytest.mark.parametrize("seed", SEEDS)
def test_random_matched_is_normal(seed):
    """Skewness 0 and kurtosis 3, unlike what was given, within six standard errors."""
    value = state_of("random_matched", seed)["hidden.0.weight"].double()
    z = (value - value.mean()) / value.std()
    assert (z**3).mean().abs() < 6 * (6 / z.numel()) ** 0.5
    assert (z**4).mean().sub(3).abs() < 6 * (24 / z.numel()) ** 0.5


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_no_variance_is_negative(transform):
    for seed in SEEDS:
        assert all(
            (value >= 0).all()
            for key, value in state_of(transform, seed).items()
            if key.endswith("running_var")
        )


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([2.5]),
        torch.tensor(0.1),
        torch.full((3, 5), 0.1),
        torch.zeros(4),
        torch.tensor([7, 8]),
    ],
)
def test_one_number_and_a_constant_stay(transform, value):
    for seed in SEEDS:
        assert torch.equal(state_of(transform, seed, {"extra": value})["extra"], value)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_half_precision_stays_half(transform):
    value = torch.linspace(-1, 1, 999).bfloat16()
    changed = state_of(transform, 0, {"extra": value})["extra"]
    assert changed.dtype == torch.bfloat16
    assert moments(changed) == pytest.approx(moments(value), abs=2e-3)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_draw_is_of_the_seed_and_the_tensors_name_alone(transform):
    start = given_start(transform)
    before = torch.get_rng_state()
    state = initial_state(model_config(), 10, 3, start)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    again = state_of(transform, 3)
    other = state_of(transform, 4)
    drawn = {key for key, value in start.tensors.items() if value.is_floating_point()}
    assert all(torch.equal(state[key], again[key]) for key in state)
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
    """The first normal numbers of a run's initialisation do not come again as a transformed
    tensor.
    """
    for seed in SEEDS:
        first = torch.randn(
            1000,
            dtype=torch.float64,
            generator=torch.Generator().manual_seed(derive_seed(seed, Stream.INIT)),
        )
        values = torch.randn(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        changed = state_of("random_matched", seed, {"extra": values})["extra"]
        assert abs(torch.corrcoef(torch.stack([first, changed]))[0, 1]) < 0.2


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
    save_file(given_start(transform).tensors, path)
    changed = initial_weights(
        model_config(), weights_config(file=str(path), transform=transform), network
    )
    assert (changed.facts.transform, changed.facts.stem) == (transform, None)
    state = initial_state(model_config(), 10, 2, changed)
    assert all(torch.equal(state[key], value) for key, value in state_of(transform, 2).items())
    assert file_weights(path, network, weights_config(), tag=None).facts.transform is None


@pytest.mark.parametrize(
    ("key", "value"), [("transform", "shuffled"), ("transform", "random_matched"), ("stem", "crop")]
)
def test_random_weights_have_nothing_to_transform(key, value):
    with pytest.raises(
        ValueError,
        match=rf"weights.{key}: '{value}' needs pretrained values; weights.source is 'random'",
    ):
        initial_weights(
            model_config(), weights_config("random", **{key: value}), build("small_cnn", 10)
        )
