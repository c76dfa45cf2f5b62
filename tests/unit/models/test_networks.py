"""Networks: what they hold and cost, the resize in front of them, whose normalisation they get."""

from typing import NamedTuple

import pytest
import torch
from torch import nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from bench.models.counting import IsoFlopSize, count, iso_flop_size, network_facts
from bench.models.counts import Counts, counts_table, stored_counts
from bench.models.networks import (
    Resized,
    build,
    check_network,
    head_prefixes,
    preprocessing,
    wrap,
)
from tests.unit.data.factory import data_config
from tests.unit.models.factory import model_config


class Convolution(NamedTuple):
    """A 3x3 convolution: the side of its maps, and its channels in and out."""

    side: int
    before: int
    after: int

    @property
    def weights(self) -> int:
        return 9 * self.before * self.after

    @property
    def macs(self) -> int:
        return self.side**2 * self.weights


def all_stored_counts() -> dict[tuple[str, str, int], Counts]:
    """The stored counts by network, stem and size."""
    counts = {}
    for network, stems in counts_table().items():
        for stem, row in stems.items():
            for size in row.forward_mmac:
                model = model_config(network, stem=stem, input_size=size)
                counts[network, stem, size] = stored_counts(model, data_config())
    return counts


COUNTS = all_stored_counts()
DATA_MEAN = (0.1, 0.2, 0.3)
DATA_STD = (0.4, 0.5, 0.6)
SMALL_CNN = [
    Convolution(32, 3, 32),
    Convolution(32, 32, 32),
    Convolution(16, 32, 64),
    Convolution(16, 64, 64),
    Convolution(8, 64, 128),
    Convolution(8, 128, 128),
]
MAXPOOL_CNN = [
    Convolution(32, 3, 64),
    Convolution(32, 64, 64),
    Convolution(16, 64, 128),
    Convolution(16, 128, 128),
    Convolution(8, 128, 256),
    Convolution(8, 256, 256),
]


def on_meta(name: str, classes: int = 10) -> nn.Module:
    with torch.device("meta"):
        return build(name, classes)


@pytest.mark.parametrize(("network", "stem", "size"), COUNTS)
def test_stored_counts_are_those_of_the_built_network(network, stem, size):
    stored = COUNTS[network, stem, size]
    built = count(model_config(network, stem=stem), 10, size)
    assert stored.parameters == built.parameters
    assert stored.statistics == built.statistics
    assert stored.forward_mmac == pytest.approx(built.forward_mmac, rel=1e-3)


def test_the_small_cnns_layers():
    counts = COUNTS["small_cnn", "stock", 32]
    assert counts.parameters == 551_018
    assert counts.statistics == 448
    network = on_meta("small_cnn")
    kernels = [tuple(p.shape) for p in network.parameters() if p.ndim == 4]
    assert kernels == [(layer.after, layer.before, 3, 3) for layer in SMALL_CNN]
    assert [type(module) for module in network.modules()].count(nn.BatchNorm2d) == 3
    assert network(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_the_small_cnns_multiplications_by_hand():
    convolutions = sum(layer.macs for layer in SMALL_CNN)
    dense = 4 * 4 * 128 * 128 + 128 * 10
    assert COUNTS["small_cnn", "stock", 32].forward_mmac == (convolutions + dense) / 1e6


def halved(side: int) -> int:
    return (side + 1) // 2


def resnet18_by_hand(stem: str, size: int) -> tuple[float, int]:
    """Multiply-accumulates in millions, and parameters, layer by layer.

    The first block of each stage but the first halves the maps.
    """
    kernel = 3
    side = size
    if stem == "stock":
        kernel = 7
        side = halved(size)
    stem_weights = kernel**2 * 3 * 64
    macs = side**2 * stem_weights
    parameters = stem_weights + 2 * 64
    if stem == "stock":  # max-pooling
        side = halved(side)
    before = 64
    for after in (64, 128, 256, 512):
        if after != 64:
            side = halved(side)
        for entering in (before, after):
            weights = 9 * entering * after + 9 * after * after
            norms = 4 * after
            if entering != after:  # the shortcut is a convolution too
                weights += entering * after
                norms += 2 * after
            macs += side**2 * weights
            parameters += weights + norms
        before = after
    return (macs + 512 * 10) / 1e6, parameters + 512 * 10 + 10


@pytest.mark.parametrize("size", [32, 64, 96, 128, 160, 192, 224])
@pytest.mark.parametrize(("stem", "parameters"), [("stock", 11_181_642), ("3x3", 11_173_962)])
def test_counted_multiplications_are_those_by_hand(stem, parameters, size):
    counts = count(model_config("resnet18", stem=stem), 10, size)
    mmac_by_hand, parameters_by_hand = resnet18_by_hand(stem, size)
    assert counts.forward_mmac == pytest.approx(mmac_by_hand, rel=0.01)
    assert counts.parameters == parameters_by_hand == parameters


def test_resnet50s_parameters_by_hand():
    stem = 49 * 3 * 64 + 2 * 64
    head = 2048 * 10 + 10
    total = stem + head
    before = 64
    for inner, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        after = 4 * inner
        total += before * after + 2 * after  # the first block's shortcut
        entering = before
        for _ in range(blocks):
            weights = entering * inner + 9 * inner * inner + inner * after
            norms = 2 * (inner + inner + after)
            total += weights + norms
            entering = after
        before = after
    assert COUNTS["resnet50", "stock", 32].parameters == total == 23_528_522


@pytest.mark.parametrize(("size", "mmac"), [(32, 37.02), (64, 148.1), (128, 592.2), (224, 1813.6)])
def test_resnet18s_parameters_and_multiplications(size, mmac):
    counts = COUNTS["resnet18", "stock", size]
    assert counts.parameters == 11_181_642
    assert counts.forward_mmac == pytest.approx(mmac, rel=5e-4)


def test_the_facts_of_a_network_are_its_counts():
    facts = network_facts(model_config("resnet18", stem="3x3", input_size=48), 10, 16)
    counts = COUNTS["resnet18", "3x3", 16]
    assert (facts.name, facts.stem, facts.input_size) == ("resnet18", "3x3", 16)
    assert facts.parameters == counts.parameters
    assert facts.buffers == counts.statistics
    assert facts.flops_per_image == counts.flops_per_image


def test_a_multiply_accumulate_is_two_operations():
    assert Counts(parameters=1, statistics=1, forward_mmac=37.0165).flops_per_image == 74_033_000


def test_stored_counts_are_of_the_size_after_resizing():
    def stored(source: str = "cifar10", image_size: int | None = None, **model) -> Counts | None:
        data = data_config(source=source, image_size=image_size)
        return stored_counts(model_config("resnet18", **model), data)

    assert stored() == COUNTS["resnet18", "stock", 32]
    assert stored(input_size=64) == COUNTS["resnet18", "stock", 64]
    assert stored(stem="3x3") == COUNTS["resnet18", "3x3", 32]
    assert stored("image_folder", image_size=64) == COUNTS["resnet18", "stock", 64]
    assert stored("image_folder", image_size=64, input_size=128) == COUNTS["resnet18", "stock", 128]
    assert stored(input_size=80) is None
    assert stored("elsewhere") is None


def test_a_size_that_a_network_cannot_take_is_refused():
    message = "model.input_size: small_cnn cannot take images of 16 px: "
    with pytest.raises(ValueError, match=message):
        count(model_config(), 10, 16)
    message = "vit_tiny_patch16_224 cannot take images of 32 px: .*; it was made for 224 px$"
    with pytest.raises(ValueError, match=message):
        count(model_config("vit_tiny_patch16_224"), 10, 32)


def test_the_max_pooling_cnn_has_about_1_2_million_parameters():
    counts = COUNTS["maxpool_cnn", "stock", 32]
    kernels = sum(layer.weights for layer in MAXPOOL_CNN)
    dense = 256 * 192 + 192 * 10
    dense_biases = 192 + 10
    norms = 2 * 2 * (64 + 128 + 256)
    assert counts.parameters == kernels + dense + dense_biases + norms
    assert counts.parameters == pytest.approx(1.2e6, rel=0.03)
    convolutions = sum(layer.macs for layer in MAXPOOL_CNN)
    assert counts.forward_mmac == (convolutions + dense) / 1e6


def test_the_max_pooling_cnn_pools_four_times():
    modules = on_meta("maxpool_cnn").modules()
    poolings = nn.MaxPool2d | nn.AdaptiveMaxPool2d
    assert len([module for module in modules if isinstance(module, poolings)]) == 4


def test_the_3x3_stem_keeps_the_size_of_small_images():
    counts = COUNTS["resnet18", "3x3", 32]
    assert counts.parameters == 11_173_962
    assert counts.forward_mmac == pytest.approx(555.4, abs=0.05)
    network = build("resnet18", 10, "3x3").eval()
    assert network.conv1.kernel_size == (3, 3)
    assert network.conv1.stride == (1, 1)
    assert network.conv1.padding == (1, 1)
    stem = nn.Sequential(network.conv1, network.bn1, network.act1, network.maxpool)
    images = torch.randn(2, 3, 32, 32)
    assert network.layer1(stem(images)).shape == (2, 64, 32, 32)


def test_the_3x3_stem_is_initialised_as_the_stock_one_and_has_its_keys():
    torch.manual_seed(0)  # 5 % is three standard deviations of so many weights
    network = build("resnet18", 10, "3x3")
    he_fan_out = (2 / (64 * 9)) ** 0.5
    assert network.conv1.weight.std().item() == pytest.approx(he_fan_out, rel=0.05)
    assert network.state_dict().keys() == on_meta("resnet18").state_dict().keys()


@pytest.mark.parametrize(("stock_size", "small_size"), [(128, 32), (64, 16)])
def test_a_flop_matched_pair_is_within_a_tenth(stock_size, small_size):
    stock = COUNTS["resnet18", "stock", stock_size]
    small = COUNTS["resnet18", "3x3", small_size]
    assert stock.forward_mmac / small.forward_mmac == pytest.approx(1.066, abs=1e-3)


@pytest.mark.parametrize(("size", "expected"), [(16, 128), (32, 128), (128, 128), (224, 128)])
def test_resnet18_costs_at_128_px_what_its_3x3_stem_does_at_32(size, expected):
    small = count(model_config("resnet18", stem="3x3"), 10, 32).flops_per_image
    nearest = iso_flop_size(model_config("resnet18"), 10, size, small)
    assert nearest == IsoFlopSize(expected, pytest.approx(592.188416 / 555.42272))
    back = count(model_config("resnet18"), 10, 64).flops_per_image
    assert iso_flop_size(model_config("resnet18", stem="3x3"), 10, 64, back).input_size == 16


@pytest.mark.parametrize(("name", "size"), [("small_cnn", 32), ("vit_tiny_patch16_224", 224)])
def test_a_network_of_one_size_keeps_it_whatever_it_costs(name, size):
    for part in (0.1, 9.0):
        flops = round(count(model_config(name), 10, size).flops_per_image / part)
        nearest = iso_flop_size(model_config(name), 10, size, flops)
        assert nearest == IsoFlopSize(size, pytest.approx(part))


@pytest.mark.parametrize("name", ["small_cnn", "vit_tiny_patch16_224", "resnet18d", "resnet10t"])
def test_a_network_without_the_stock_stem_keeps_its_own(name):
    with pytest.raises(ValueError, match=rf"model.stem: '3x3' .* {name} .*allowed: stock"):
        build(name, 10, "3x3")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 64), (32, 32, 47), (64, 64, 20), (48, 31, 32)]
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_resized_is_torchvisions_resize(interpolation, height, width, size, memory_format):
    images = torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(0))
    images = images.to(memory_format=memory_format)
    mode = InterpolationMode(interpolation)
    expected = transforms.resize(images, [size, size], interpolation=mode, antialias=True)
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
    assert wrapped.resize.keywords["size"] == (32, 32)
    assert wrapped.resize.keywords["mode"] == "bilinear"
    assert list(raw.state_dict()) == keys
    for parameter, raw_parameter in zip(wrapped.parameters(), raw.parameters(), strict=True):
        assert parameter is raw_parameter
    raw.load_state_dict(build("small_cnn", 10).state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(wrapped(images), raw(wrapped.resize(images)))


def test_our_own_network_takes_the_datas_normalisation():
    prepared = preprocessing(on_meta("small_cnn"), DATA_MEAN, DATA_STD, "network")
    assert prepared == (DATA_MEAN, DATA_STD, "data")


def test_unit_normalisation_leaves_fractions_of_255_whatever_the_network():
    for name in ("small_cnn", "resnet18"):
        prepared = preprocessing(on_meta(name), DATA_MEAN, DATA_STD, "unit")
        assert prepared == ((0, 0, 0), (1, 1, 1), "unit")


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("tf_efficientnet_lite0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_a_timm_network_keeps_the_one_its_weights_were_trained_with(name, mean, std):
    """Whatever it starts from: the arms of one comparison then see the same images."""
    prepared = preprocessing(on_meta(name), DATA_MEAN, DATA_STD, "network")
    assert prepared == (mean, std, "weights")


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("small_cnn", ("head.",)),
        ("resnet18", ("fc.",)),
        ("tf_efficientnet_lite0", ("classifier.",)),
    ],
)
def test_the_heads_keys(name, prefixes):
    network = on_meta(name)
    assert head_prefixes(network) == prefixes
    state = network.state_dict()
    assert [len(state[key]) for key in state if key.startswith(prefixes)] == [10, 10]


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("resnet81", "resnet"), ("smal_cnn", "small_cnn"), ("efficientnet_lite_0", "lite0")],
)
def test_an_unknown_network_names_the_nearest(wrong, meant):
    message = rf"model.name: no network '{wrong}'; nearest: '\w*{meant}\w*'$"
    with pytest.raises(ValueError, match=message):
        check_network(wrong)
    with pytest.raises(ValueError, match=wrong):
        build(wrong, 10)


def test_nothing_near_says_where_to_look():
    with pytest.raises(ValueError, match=r"nearest: none; timm.list_models\(\)"):
        check_network("%%%")
