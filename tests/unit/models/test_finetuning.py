"""What fine-tuning asks of a network: its classifier apart, a learning rate for each layer,
BatchNorm's pace.
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


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_head_and_body_are_the_network_with_shared_parameters(name, size):
    network = build(name, 10).eval()
    modules = list(network.modules())
    names = list(network.state_dict())
    body, head = split_head(network)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = body(images)
        assert features.ndim == 2
        assert torch.equal(head(features), network(images))
        assert (features != 0).sum() > 10
    # The network is left as it was.
    for module, before in zip(network.modules(), modules, strict=True):
        assert module is before
    assert list(network.state_dict()) == names
    both = {id(parameter) for part in (body, head) for parameter in part.parameters()}
    assert both == {id(parameter) for parameter in network.parameters()}
    heads = {
        id(parameter)
        for key, parameter in network.named_parameters()
        if key.startswith(head_prefixes(network))
    }
    assert {id(parameter) for parameter in head.parameters()} == heads
    assert not heads & {id(parameter) for parameter in body.parameters()}


def test_a_network_with_two_classifiers_cannot_be_split():
    with torch.device("meta"):
        network = build("deit_tiny_distilled_patch16_224", 10)
    with pytest.raises(
        ValueError, match=r"finetune.layers: .* \('head.', 'head_dist.'\), not one; allowed: all"
    ):
        split_head(network)


@pytest.mark.parametrize("decay", [0.5, 0.75, 1.0])
@pytest.mark.parametrize(
    ("name", "stem"), [*((name, "stock") for name in list(SIZES)[:4]), ("resnet18", "3x3")]
)
def test_timms_layers_decay_as_timm_has_it(name, stem, decay):
    network = build(name, 10, stem)
    scales = layer_scales(network, decay)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = param_groups_layer_decay(network, layer_decay=decay)
    timms = {
        names[id(parameter)]: group["lr_scale"] for group in groups for parameter in group["params"]
    }
    assert scales == pytest.approx(timms)
    assert {scale for key, scale in scales.items() if key.startswith(head_prefixes(network))} == {
        1.0
    }


def test_a_resnet_has_ten_layers_and_either_stem_is_the_first():
    for stem in ("stock", "3x3"):
        scales = layer_scales(build("resnet18", 10, stem), 0.5)
        assert (scales["conv1.weight"], scales["bn1.bias"]) == (2**-9, 2**-9)
        assert (
            scales["layer1.0.conv1.weight"],
            scales["layer4.1.bn2.weight"],
            scales["fc.bias"],
        ) == (2**-8, 0.5, 1)


def test_our_networks_decay_layer_by_layer():
    network = build("small_cnn", 10)
    expected = {}
    layer = 0
    for name, module in reversed(list(network.named_modules())):
        if isinstance(module, nn.Conv2d | nn.Linear):
            expected |= {f"{name}.weight": 0.5**layer, f"{name}.bias": 0.5**layer}
            layer += 1
        elif isinstance(module, nn.BatchNorm2d):  # of the convolution before it
            expected |= {f"{name}.weight": 0.5**layer, f"{name}.bias": 0.5**layer}
    assert layer == 8
    assert layer_scales(network, 0.5) == expected
    assert set(layer_scales(network, 1.0).values()) == {1.0}


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "small_cnn", "test_vit"])
def test_the_momentum_is_every_batch_norms_and_nothing_elses(name):
    network = build(name, 10)
    set_batch_norm_momentum(network, 0.37)
    probabilities = {
        type(module): module.momentum for module in network.modules() if hasattr(module, "momentum")
    }
    assert set(probabilities.values()) == (set() if name == "test_vit" else {0.37})


def count_saved(network: nn.Module, images: torch.Tensor) -> int:
    """How many tensors a forward pass saves for the backward one, which is run too."""
    saved = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(images).square().sum().backward()
    return len(saved)


@pytest.mark.parametrize("name", ["test_vit", "convnext_atto"])
def test_activations_computed_again_give_the_same_gradients(name):
    plain = build(name, 10)
    again = copy.deepcopy(plain)
    wrap(again, model_config(name, checkpoint_activations=True))
    images = torch.randn(2, 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(0))
    saved = []
    for network in (plain, again):
        saved.append(count_saved(network, images))
    assert saved[1] < saved[0] / 2
    for (key, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=key)


@pytest.mark.parametrize(
    ("name", "message"),
    [("resnet18", "BatchNorm"), ("small_cnn", "BatchNorm"), ("ours", "cannot do it")],
)
def test_a_network_whose_activations_cannot_be_computed_again_is_refused(name, message):
    network = nn.Sequential(nn.Linear(2, 2)) if name == "ours" else build(name, 10)
    with pytest.raises(
        ValueError, match=rf"model.checkpoint_activations: {name} .*{message}.*; allowed: false"
    ):
        checkpoint_activations(network, name)


def test_nothing_is_computed_again_unasked():
    network = build("test_vit", 10)
    wrap(network, model_config("test_vit"))
    assert not network.grad_checkpointing
