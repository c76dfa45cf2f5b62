"""The average of weights against a plain loop, and how it is put in and taken out again."""

import pytest
import torch
from torch import nn

from bench.training.averaging import WeightAverage


def make_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def averaged(network: nn.Module) -> dict[str, torch.Tensor]:
    """Copy what is averaged: parameters and statistics, but not the count of batches."""
    return {
        key: value.clone()
        for key, value in network.state_dict().items()
        if value.is_floating_point()
    }


def disturb(network: nn.Module, step: int) -> None:
    """What a training step does, for this purpose."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for value in network.state_dict().values():
            change = torch.ones_like(value)
            if value.is_floating_point():
                change = torch.randn(value.shape, generator=generator)
            value.add_(change)


def places_of(network: nn.Module) -> list[int]:
    return [value.data_ptr() for value in network.state_dict().values()]


def bits(network: nn.Module) -> dict[str, bytes]:
    return {key: value.numpy().tobytes() for key, value in network.state_dict().items()}


@pytest.mark.parametrize("every_steps", [1, 3])
@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99])
def test_the_average_is_that_of_a_plain_loop(decay, every_steps):
    network = make_network()
    average = WeightAverage(network, decay=decay, every_steps=every_steps)
    average.reset()
    expected = {key: value.double() for key, value in averaged(network).items()}
    updates = 0
    for step in range(25):
        disturb(network, step)
        average.update(step)
        if step % every_steps == every_steps - 1:
            kept = min(decay**every_steps, (1 + updates) / (10 + updates))
            for key, value in averaged(network).items():
                expected[key] = kept * expected[key] + (1 - kept) * value.double()
            updates += 1
    assert average.updates == updates == 25 // every_steps
    with average.applied():
        for key, value in averaged(network).items():
            torch.testing.assert_close(value.double(), expected[key], rtol=0, atol=1e-5)


def test_a_young_average_follows_the_weights_and_an_old_one_keeps_its_decay():
    network = make_network()
    average = WeightAverage(network, decay=0.9, every_steps=1)
    with torch.no_grad():
        for value in network.parameters():
            value.zero_()
        average.reset()
        for value in network.parameters():
            value.fill_(1)
    gaps = []
    for step in range(200):
        average.update(step)
        gaps.append(1 - float(average.tensors[0].flatten()[0]))
    assert gaps[0] == pytest.approx(0.1)
    assert gaps[1] / gaps[0] == pytest.approx(2 / 11, rel=1e-3)
    old = WeightAverage(network, decay=0.9, every_steps=1)
    old.reset()
    old.updates = 1000
    with torch.no_grad():
        network[0].weight.zero_()
    old.update(0)
    assert float(old.tensors[0].flatten()[0]) == pytest.approx(0.9)


def test_applied_puts_the_average_in_and_the_weights_back_bit_for_bit():
    network = make_network()
    average = WeightAverage(network, decay=0.9, every_steps=1)
    average.reset()
    start = averaged(network)
    disturb(network, 0)
    before = bits(network)
    places = places_of(network)
    with average.applied():
        torch.testing.assert_close(averaged(network), start, rtol=0, atol=0)
        assert places_of(network) == places  # in place: nothing recompiles
    assert bits(network) == before
    assert places_of(network) == places


@pytest.mark.parametrize(("decay", "averages_kept"), [(0.0, 0), (0.9, 8)])
def test_the_weights_come_back_when_the_look_fails_or_changes_them(decay, averages_kept):
    network = make_network()
    average = WeightAverage(network, decay=decay, every_steps=1)
    average.reset()
    disturb(network, 0)
    before = bits(network)
    averages = [tensor.clone() for tensor in average.tensors]

    def look() -> None:
        with torch.no_grad(), average.applied():
            for value in network.state_dict().values():
                if value.is_floating_point():
                    value.mul_(3)
            raise RuntimeError("look")

    with pytest.raises(RuntimeError, match="look"):
        look()
    assert bits(network) == before
    assert len(averages) == averages_kept
    torch.testing.assert_close(average.tensors, averages, rtol=0, atol=0)


def test_decay_zero_is_the_weights_themselves():
    network = make_network()
    average = WeightAverage(network, decay=0.0, every_steps=1)
    average.reset()
    disturb(network, 0)
    average.update(0)
    before = bits(network)
    assert (average.tensors, average.updates) == ([], 0)
    with average.applied():
        assert bits(network) == before
    assert bits(network) == before


def test_reset_begins_again_at_the_weights_of_now():
    network = make_network()
    average = WeightAverage(network, decay=0.9, every_steps=1)
    average.reset()
    disturb(network, 0)
    average.update(0)
    average.reset()
    assert average.updates == 0
    before = bits(network)
    with average.applied():
        assert bits(network) == before


def test_statistics_are_the_networks_own_and_floating():
    network = make_network()
    average = WeightAverage(network, decay=0.9, every_steps=1)
    assert [id(t) for t in average.statistics] == [
        id(network[1].running_mean),
        id(network[1].running_var),
    ]
    assert len(average.tensors) == 8


def test_training_goes_on_with_gradients_after_a_look():
    network = make_network()
    average = WeightAverage(network, decay=0.9, every_steps=1)
    average.reset()
    with average.applied():
        pass
    network(torch.randn(2, 3, 3, 3)).sum().backward()
    gradients = [parameter.grad is not None for parameter in network.parameters()]
    assert gradients == [True] * 6
