"""Networks: what they hold, what they cost, the resize in front of them, whose normalisation they get."""

import pytest
import torch
from torch import nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from bench.config.schema import ModelConfig
from bench.models.counts import COUNTS, Counts, stored_counts
from bench.models.networks import Resized, build, check_network, count, head_prefixes, preprocessing, wrap

DATA_MEAN, DATA_STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def on_meta(name: str, classes: int = 10) -> nn.Module:
    with torch.device("meta"):
        return build(name, classes)


def model_config(**changes) -> ModelConfig:
    return ModelConfig(**{"name": "small_cnn", "stem": "stock", "input_size": None, "interpolation": "bicubic", **changes})


@pytest.mark.parametrize(("network", "size"), COUNTS)
def test_stored_counts_are_those_of_the_built_network(network, size):
    built, stored = count(network, 10, size), COUNTS[network, size]
    assert (stored.parameters, stored.statistics) == (built.parameters, built.statistics)
    assert stored.forward_mmac == pytest.approx(built.forward_mmac, rel=1e-3)


def test_the_small_cnn_is_the_asked_one():
    counts = COUNTS["small_cnn", 32]
    assert (counts.parameters, counts.statistics) == (551_018, 448)
    network = on_meta("small_cnn")
    kernels = [tuple(p.shape) for p in network.parameters() if p.ndim == 4]
    channels = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    assert kernels == [(after, before, 3, 3) for before, after in channels]
    assert [type(module) for module in network.modules()].count(nn.BatchNorm2d) == 3
    assert network(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_the_small_cnns_multiplications_by_hand():
    maps = [(32, 3, 32), (32, 32, 32), (16, 32, 64), (16, 64, 64), (8, 64, 128), (8, 128, 128)]
    convolutions = sum(side * side * 9 * before * after for side, before, after in maps)
    assert COUNTS["small_cnn", 32].forward_mmac == (convolutions + 128 * 4 * 4 * 128 + 128 * 10) / 1e6


@pytest.mark.parametrize(("size", "mmac"), [(32, 37.02), (64, 148.1), (128, 592.2), (224, 1813.6)])
def test_resnet18s_parameters_and_multiplications(size, mmac):
    counts = COUNTS["resnet18", size]
    assert counts.parameters == 11_181_642
    assert counts.forward_mmac == pytest.approx(mmac, rel=5e-4)


def test_a_multiply_accumulate_is_two_operations():
    assert Counts(parameters=1, statistics=1, forward_mmac=37.0165).flops_per_image == 74_033_000


def test_stored_counts_are_of_the_size_after_resizing():
    assert stored_counts("resnet18", None, "cifar10") is COUNTS["resnet18", 32]
    assert stored_counts("resnet18", 64, "cifar10") is COUNTS["resnet18", 64]
    assert stored_counts("resnet18", 96, "cifar10") is None
    assert stored_counts("resnet18", None, "elsewhere") is None


def test_a_size_that_a_network_cannot_take_is_refused():
    with pytest.raises(ValueError, match=r"model.input_size: small_cnn cannot take images of 16 px: "):
        count("small_cnn", 10, 16)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 64), (32, 32, 47), (64, 64, 20), (48, 31, 32)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_resized_is_torchvisions_resize(interpolation, height, width, size, memory_format):
    images = torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(0)).to(memory_format=memory_format)
    expected = transforms.resize(images, [size, size], interpolation=InterpolationMode(interpolation), antialias=True)
    resized = Resized(nn.Identity(), size, interpolation)(images)
    assert resized.shape == (3, 3, size, size)
    torch.testing.assert_close(resized, expected, rtol=0, atol=1e-5)


def test_wrap_without_a_size_is_the_network():
    network = on_meta("small_cnn")
    assert wrap(network, model_config()) is network


def test_wrap_leaves_the_state_with_the_raw_network():
    raw = build("small_cnn", 10).eval()
    keys = list(raw.state_dict())
    wrapped = wrap(raw, model_config(input_size=32, interpolation="bilinear"))
    assert wrapped.network is raw
    assert (wrapped.resize.keywords["size"], wrapped.resize.keywords["mode"]) == ((32, 32), "bilinear")
    assert list(raw.state_dict()) == keys
    assert [id(p) for p in wrapped.parameters()] == [id(p) for p in raw.parameters()]
    raw.load_state_dict(build("small_cnn", 10).state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(wrapped(images), raw(wrapped.resize(images)))


def test_our_own_network_takes_the_datas_normalisation():
    prepared = preprocessing(on_meta("small_cnn"), DATA_MEAN, DATA_STD)
    assert (prepared.mean, prepared.std, prepared.of) == (DATA_MEAN, DATA_STD, "data")


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("tf_efficientnet_lite0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_a_timm_network_keeps_the_one_its_weights_were_trained_with(name, mean, std):
    """Whatever it starts from: the arms of one comparison then see the same images."""
    prepared = preprocessing(on_meta(name), DATA_MEAN, DATA_STD)
    assert (prepared.mean, prepared.std, prepared.of) == (mean, std, "weights")


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [("small_cnn", ("head.",)), ("resnet18", ("fc.",)), ("tf_efficientnet_lite0", ("classifier.",))],
)
def test_the_heads_keys(name, prefixes):
    network = on_meta(name)
    assert head_prefixes(network) == prefixes
    heads = {key: value for key, value in network.state_dict().items() if key.startswith(prefixes)}
    assert [value.shape[0] for value in heads.values()] == [10, 10]


@pytest.mark.parametrize(
    ("wrong", "meant"), [("resnet81", "resnet"), ("smal_cnn", "small_cnn"), ("efficientnet_lite_0", "lite0")]
)
def test_an_unknown_network_names_the_nearest(wrong, meant):
    with pytest.raises(ValueError, match=rf"model.name: no network '{wrong}'; nearest: '\w*{meant}\w*'$"):
        check_network(wrong)
    with pytest.raises(ValueError, match=wrong):
        build(wrong, 10)


def test_nothing_near_says_where_to_look():
    with pytest.raises(ValueError, match=r"nearest: none; timm.list_models\(\)"):
        check_network("%%%")
