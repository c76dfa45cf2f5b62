"""A 3x3 stem from weights with a 7x7 one: what is kept of it, and which of the ways answers an
image more alike.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
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


def start_from(path, stem, conversion, **weights):
    return file_weights(
        path, build("resnet18", 10, stem), weights_config(stem=conversion, **weights), tag=None
    )


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
    assert (start.facts.stem, start.facts.loaded) == ("random", len(start.tensors))
    first, other, again = (
        initial_state(model_config("resnet18", stem="3x3"), 10, seed, start)[KEY]
        for seed in (0, 1, 0)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)  # He, fan out


def test_the_transform_sees_the_converted_stem(path):
    start = start_from(path, "3x3", "crop", transform="shuffled")
    stem_weights = initial_state(model_config("resnet18", stem="3x3"), 10, 0, start)[KEY]
    assert torch.equal(stem_weights.flatten().sort()[0], start.tensors[KEY].flatten().sort()[0])


def test_a_7x7_stem_does_not_become_a_3x3_one_unasked(path):
    with pytest.raises(
        ValueError,
        match=r"weights.stem: None: the weights have a 7x7 stem, .*; "
        r"allowed: crop, resample, random$",
    ):
        start_from(path, "3x3", None)


@pytest.mark.parametrize("conversion", ["crop", "resample", "random"])
def test_a_stem_that_fits_is_not_converted(path, tmp_path, trained, conversion):
    assert torch.equal(start_from(path, "stock", None).tensors[KEY], trained[KEY])
    with pytest.raises(
        ValueError,
        match=rf"weights.stem: '{conversion}': there is no 7x7 stem to make a 3x3 one of; "
        r"allowed: null",
    ):
        start_from(path, "stock", conversion)
    small = build("resnet18", 10, "3x3").state_dict()
    save_file(small, tmp_path / "small.safetensors")
    assert torch.equal(
        start_from(tmp_path / "small.safetensors", "3x3", None).tensors[KEY], small[KEY]
    )
    with pytest.raises(ValueError, match=rf"weights.stem: '{conversion}'"):
        start_from(tmp_path / "small.safetensors", "3x3", conversion)
    # no such convolution at all
    with pytest.raises(ValueError, match=rf"weights.stem: '{conversion}'"):
        convert_stem({"a": torch.zeros(1)}, {"a": torch.zeros(1)}, conversion)


def smooth_kernels(seed: int) -> Tensor:
    """Random 7x7 kernels without fine detail [64, 3, 7, 7]."""
    drawn = torch.randn(64, 3, 19, 19, generator=torch.Generator().manual_seed(seed))
    return gaussian_blur(drawn, [9, 9], [2.0, 2.0])[:, :, 6:13, 6:13].double()


def gabor_kernels(seed: int) -> Tensor:
    """What the first layer of a trained network looks like: a wave under a bell, of some
    direction and colour [64, 3, 7, 7].
    """
    generator = torch.Generator().manual_seed(seed)
    angle, phase = 2 * math.pi * torch.rand(2, 64, 1, 1, generator=generator, dtype=torch.float64)
    wavelength = 5 + 5 * torch.rand(64, 1, 1, generator=generator)
    spread = 1.5 + torch.rand(64, 1, 1, generator=generator)
    y, x = torch.meshgrid(*[torch.arange(-3.0, 4.0, dtype=torch.float64)] * 2, indexing="ij")
    wave = torch.cos(2 * math.pi * (x * angle.cos() + y * angle.sin()) / wavelength + phase)
    colour = torch.randn(64, 3, 1, 1, generator=generator, dtype=torch.float64)
    return colour * (wave * torch.exp(-(x**2 + y**2) / (2 * spread**2)))[:, None]


def error(conversion: str, kernels: Tensor, seed: int) -> float:
    """Mean square of (the 3x3 kernels' answer to shrunk patches - the 7x7 kernels' to the
    patches), relative to the latter's.
    """
    drawn = torch.randn(256, 3, 31, 31, generator=torch.Generator().manual_seed(1000 + seed))
    patches = gaussian_blur(drawn, [17, 17], [4.0, 4.0])[:, :, 12:19, 12:19].double()
    shrunk = F.interpolate(
        patches, size=(3, 3), mode="bicubic", antialias=True, align_corners=False
    )
    network_tensors = {KEY: torch.empty(64, 3, 3, 3)}
    answer = F.conv2d(shrunk, convert_stem({KEY: kernels}, network_tensors, conversion)[KEY])
    wanted = F.conv2d(patches, kernels)
    return ((answer - wanted).square().mean() / wanted.square().mean()).item()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kernels", [smooth_kernels, gabor_kernels])
def test_a_resampled_stem_answers_smooth_images_more_as_the_7x7_one_than_its_centre_does(
    kernels, seed
):
    resampled, cropped = (
        error(conversion, kernels(seed), seed) for conversion in ("resample", "crop")
    )
    assert resampled < 0.1
    assert resampled < cropped / 4
