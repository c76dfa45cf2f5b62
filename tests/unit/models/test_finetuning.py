"""What fine-tuning asks of a network.

Its classifier apart, a learning rate for each layer, BatchNorm's pace, activations computed again.
"""

import copy

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from bench.models.layers import layer_scales, set_batch_norm_momentum, split_head
from bench.models.networks import build, checkpoint_activations, head_prefixes, wrap
from tests.unit.models.factory import model_config

SIZES = {
    "resnet18": 32,
    "test_vit": 160,
    "tf_efficientnet_lite0": 64,
    "convnext_atto": 64,
    "small_cnn": 32,
    "maxpool_cnn": 32,
}


def make_images(size: int) -> torch.Tensor:
    """Two random images [2, 3, size, size]."""
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_head_after_body_is_the_network(name, size):
    network = build(name, 10).eval()
    body, head = split_head(network)
    images = make_images(size)
    with torch.no_grad():
        features = body(images)
        assert features.ndim == 2
        assert torch.equal(head(features), network(images))
        assert (features != 0).sum() > 10


@pytest.mark.parametrize("name", SIZES)
def test_a_split_leaves_the_network_as_it_was(name):
    network = build(name, 10)
    modules_before = list(network.modules())
    keys_before = list(network.state_dict())
    split_head(network)
    for module, module_before in zip(network.modules(), modules_before, strict=True):
        assert module is module_before
    assert list(network.state_dict()) == keys_before


@pytest.mark.parametrize("name", SIZES)
def test_head_and_body_share_the_networks_parameters_out(name):
    network = build(name, 10)
    body, head = split_head(network)
    named = dict(network.named_parameters())
    prefixes = head_prefixes(network)
    in_head = {id(parameter) for key, parameter in named.items() if key.startswith(prefixes)}
    in_body = {id(parameter) for parameter in named.values()} - in_head
    assert {id(parameter) for parameter in head.parameters()} == in_head
    assert {id(parameter) for parameter in body.parameters()} == in_body


def test_a_network_with_two_classifiers_cannot_be_split():
    with torch.device("meta"):
        network = build("deit_tiny_distilled_patch16_224", 10)
    message = r"finetune.layers: .* \('head.', 'head_dist.'\), not one; allowed: all"
    with pytest.raises(ValueError, match=message):
        split_head(network)


@pytest.mark.parametrize("decay", [0.5, 0.75, 1.0])
@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("resnet18", "stock"),
        ("resnet18", "3x3"),
        ("test_vit", "stock"),
        ("tf_efficientnet_lite0", "stock"),
        ("convnext_atto", "stock"),
    ],
)
def test_timms_layers_decay_as_timm_has_it(name, stem, decay):
    network = build(name, 10, stem)
    scales = layer_scales(network, decay)
    timm_scales = {}
    for group in param_groups_layer_decay(network, layer_decay=decay):
        timm_scales |= {id(parameter): group["lr_scale"] for parameter in group["params"]}
    named = dict(network.named_parameters())
    assert scales == pytest.approx({key: timm_scales[id(named[key])] for key in named})
    prefixes = head_prefixes(network)
    assert {scale for key, scale in scales.items() if key.startswith(prefixes)} == {1.0}


@pytest.mark.parametrize("stem", ["stock", "3x3"])
def test_a_resnet_has_ten_layers_and_either_stem_is_the_first(stem):
    scales = layer_scales(build("resnet18", 10, stem), 0.5)
    assert scales["conv1.weight"] == 2**-9
    assert scales["bn1.bias"] == 2**-9
    assert scales["layer1.0.conv1.weight"] == 2**-8
    assert scales["layer4.1.bn2.weight"] == 0.5
    assert scales["fc.bias"] == 1


def test_our_networks_decay_layer_by_layer():
    network = build("small_cnn", 10)
    expected = {}
    layer = 0  # from the head
    for name, module in reversed(list(network.named_modules())):
        # A BatchNorm belongs to the convolution before it.
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            expected |= {f"{name}.weight": 0.5**layer, f"{name}.bias": 0.5**layer}
        if isinstance(module, nn.Conv2d | nn.Linear):
            layer += 1
    assert layer == 8
    assert layer_scales(network, 0.5) == expected
    assert set(layer_scales(network, 1.0).values()) == {1.0}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", {0.37}),
        ("tf_efficientnet_lite0", {0.37}),
        ("small_cnn", {0.37}),
        ("test_vit", set()),
    ],
)
def test_the_momentum_is_every_batch_norms_and_nothing_elses(name, expected):
    network = build(name, 10)
    set_batch_norm_momentum(network, 0.37)
    momenta = {module.momentum for module in network.modules() if hasattr(module, "momentum")}
    assert momenta == expected


@pytest.mark.parametrize("name", ["test_vit", "convnext_atto"])
def test_activations_computed_again_give_the_same_gradients(name):
    plain = build(name, 10)
    again = copy.deepcopy(plain)
    wrap(again, model_config(name, checkpoint_activations=True))
    images = make_images(SIZES[name])
    assert saved_tensors_of_a_step(again, images) < saved_tensors_of_a_step(plain, images) / 2
    for (key, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=key)


def saved_tensors_of_a_step(network: nn.Module, images: torch.Tensor) -> int:
    """How many tensors a forward pass saves for its backward pass, which is made too."""
    saved_shapes = []

    def pack(tensor):
        saved_shapes.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(images).square().sum().backward()
    return len(saved_shapes)


@pytest.mark.parametrize("name", ["resnet18", "small_cnn"])
def test_with_batch_norm_activations_cannot_be_computed_again(name):
    message = rf"model.checkpoint_activations: {name} .*BatchNorm.*; allowed: false"
    with pytest.raises(ValueError, match=message):
        checkpoint_activations(build(name, 10), name)


def test_a_network_that_cannot_compute_activations_again_is_refused():
    message = r"model.checkpoint_activations: ours .*cannot do it.*; allowed: false"
    with pytest.raises(ValueError, match=message):
        checkpoint_activations(nn.Sequential(nn.Linear(2, 2)), "ours")


def test_nothing_is_computed_again_unasked():
    network = build("test_vit", 10)
    wrap(network, model_config("test_vit"))
    assert not network.grad_checkpointing
