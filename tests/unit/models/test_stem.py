"""A 3x3 stem from weights with a 7x7 one.

What is kept of it, and which conversion answers an image more as the 7x7 one does.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from bench.models.networks import build
from bench.models.stem import KEY, convert_stem
from bench.models.weights import file_weights, initial_state
from tests.unit.models.factory import model_config, weights_config

SEEDS = range(8)


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    return {key: value + 1 for key, value in build("resnet18", 10).state_dict().items()}


@pytest.fixture(scope="module")
def path(tmp_path_factory, trained):
    file = tmp_path_factory.mktemp("weights") / "stock.safetensors"
    save_file(trained, file)
    return file


@pytest.fixture(scope="module")
def small_path(tmp_path_factory):
    """Weights with a 3x3 stem."""
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(build("resnet18", 10, "3x3").state_dict(), file)
    return file


def start_from(path, stem, conversion, **changes):
    network = build("resnet18", 10, stem)
    return file_weights(path, network, weights_config(stem=conversion, **changes), tag=None)


@pytest.mark.parametrize("conversion", ["crop", "resample"])
def test_a_7x7_stem_becomes_a_3x3_one_and_nothing_else_changes(path, trained, conversion):
    start = start_from(path, "3x3", conversion)
    assert start.tensors[KEY].shape == (64, 3, 3, 3)
    assert start.tensors[KEY].is_contiguous()
    assert start.facts.stem == conversion
    others = start.tensors.keys() - {KEY}
    assert others == trained.keys() - {KEY, "fc.weight", "fc.bias"}
    assert all(torch.equal(start.tensors[key], trained[key]) for key in others)
    state = initial_state(model_config("resnet18", stem="3x3"), 10, 0, start)
    assert torch.equal(state[KEY], start.tensors[KEY])
    build("resnet18", 10, "3x3").load_state_dict(state)


def test_a_crop_is_the_centre(path, trained):
    assert torch.equal(start_from(path, "3x3", "crop").tensors[KEY], trained[KEY][:, :, 2:5, 2:5])


def test_a_random_stem_is_the_runs_own(path):
    start = start_from(path, "3x3", "random")
    assert KEY not in start.tensors
    assert start.facts.stem == "random"
    assert start.facts.loaded == len(start.tensors)
    first, other, again = (
        initial_state(model_config("resnet18", stem="3x3"), 10, seed, start)[KEY]
        for seed in (0, 1, 0)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)  # He, fan out


def test_the_transform_sees_the_converted_stem(path):
    start = start_from(path, "3x3", "crop", transform="shuffled")
    shuffled = initial_state(model_config("resnet18", stem="3x3"), 10, 0, start)[KEY]
    assert torch.equal(shuffled.flatten().sort()[0], start.tensors[KEY].flatten().sort()[0])


def test_a_7x7_stem_does_not_become_a_3x3_one_unasked(path):
    message = (
        "weights.stem: None: the weights have a 7x7 stem, .*; allowed: crop, resample, random$"
    )
    with pytest.raises(ValueError, match=message):
        start_from(path, "3x3", None)


def test_a_stem_that_fits_stays(path, small_path, trained):
    assert torch.equal(start_from(path, "stock", None).tensors[KEY], trained[KEY])
    small_stem = load_file(small_path)[KEY]
    assert torch.equal(start_from(small_path, "3x3", None).tensors[KEY], small_stem)


@pytest.mark.parametrize("conversion", ["crop", "resample", "random"])
def test_where_no_7x7_stem_meets_a_3x3_one_a_conversion_is_refused(path, small_path, conversion):
    message = (
        f"weights.stem: '{conversion}': there is no 7x7 stem to make a 3x3 one of; allowed: null"
    )
    with pytest.raises(ValueError, match=message):
        start_from(path, "stock", conversion)
    with pytest.raises(ValueError, match=message):
        start_from(small_path, "3x3", conversion)
    without_convolution = {"a": torch.zeros(1)}
    with pytest.raises(ValueError, match=message):
        convert_stem(without_convolution, without_convolution, conversion)


def smooth_kernels(seed: int) -> Tensor:
    """Random 7x7 kernels without fine detail [64, 3, 7, 7]."""
    drawn = torch.randn(64, 3, 19, 19, generator=torch.Generator().manual_seed(seed))
    return gaussian_blur(drawn, [9, 9], [2.0, 2.0])[:, :, 6:13, 6:13].double()


def gabor_kernels(seed: int) -> Tensor:
    """Kernels as of a trained network's first layer [64, 3, 7, 7].

    Each is a wave under a bell, of a random direction and colour.
    """
    generator = torch.Generator().manual_seed(seed)
    angle, phase = 2 * math.pi * torch.rand(2, 64, 1, 1, generator=generator, dtype=torch.float64)
    wavelength = 5 + 5 * torch.rand(64, 1, 1, generator=generator)
    spread = 1.5 + torch.rand(64, 1, 1, generator=generator)
    places = torch.arange(-3.0, 4.0, dtype=torch.float64)
    y, x = torch.meshgrid(places, places, indexing="ij")
    wave = torch.cos(2 * math.pi * (x * angle.cos() + y * angle.sin()) / wavelength + phase)
    bell = torch.exp(-(x**2 + y**2) / (2 * spread**2))
    colour = torch.randn(64, 3, 1, 1, generator=generator, dtype=torch.float64)
    return colour * (wave * bell)[:, None]


def relative_error(conversion: str, kernels: Tensor, seed: int) -> float:
    """How far the converted kernels' answer to shrunk patches is from the 7x7 kernels' to them.

    The mean square of the difference, relative to that of the 7x7 kernels' answer.
    """
    drawn = torch.randn(256, 3, 31, 31, generator=torch.Generator().manual_seed(1000 + seed))
    patches = gaussian_blur(drawn, [17, 17], [4.0, 4.0])[:, :, 12:19, 12:19].double()
    shrunk = F.interpolate(
        patches, size=(3, 3), mode="bicubic", antialias=True, align_corners=False
    )
    network_state = {KEY: torch.empty(64, 3, 3, 3)}
    converted = convert_stem({KEY: kernels}, network_state, conversion)[KEY]
    answer = F.conv2d(shrunk, converted)
    wanted = F.conv2d(patches, kernels)
    return ((answer - wanted).square().mean() / wanted.square().mean()).item()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kernels", [smooth_kernels, gabor_kernels])
def test_a_resampled_stem_answers_more_as_the_7x7_one_than_its_centre_does(kernels, seed):
    """The patches are smooth."""
    resampled = relative_error("resample", kernels(seed), seed)
    cropped = relative_error("crop", kernels(seed), seed)
    assert resampled < 0.1
    assert resampled < cropped / 4
