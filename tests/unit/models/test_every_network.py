"""What every network in the registry does, timm's left out."""

import pytest
import torch

from bench import registry
from bench.models.networks import build

CLASSES = 7
SIZES: dict[str, int] = {}  # pixels a side, of a network that takes no images of 32
NETWORKS = pytest.mark.parametrize("name", registry.names("network"))


@NETWORKS
def test_images_become_a_logit_for_each_class(name):
    size = SIZES.get(name, 32)
    network = build(name, CLASSES)
    logits = network(torch.zeros(2, 3, size, size))
    assert logits.shape == (2, CLASSES)
    assert logits.isfinite().all()


@NETWORKS
def test_its_last_layer_is_its_head(name):
    network = build(name, CLASSES)
    assert list(network.state_dict())[-1].startswith("head.")
    assert len(network.head.bias) == CLASSES


@NETWORKS
def test_its_first_weights_are_drawn_from_torchs_generator(name):
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(build(name, CLASSES).head.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@NETWORKS
def test_all_of_it_learns(name):
    size = SIZES.get(name, 32)
    torch.manual_seed(0)
    network = build(name, CLASSES)
    network(torch.randn(8, 3, size, size)).square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.any(), key
