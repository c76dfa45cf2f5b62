"""The Triton kernel of `augment` on a CPU.

Run by test_augment_kernel.py in a process with TRITON_INTERPRET=1.
"""

import pytest
import torch

from kernels.augment.kernel import constants, launch
from kernels.augment.reference import Recipe, draw_numbers
from kernels.augment.reference import augment as reference
from tests.kernels.augment_cases import (
    BIG_SEED,
    BITS,
    CIFAR,
    IMAGENET,
    MODES,
    check_guards,
    check_images,
    expected,
    guarded,
    make_images,
)

SAMPLES = torch.tensor([3, 0, 10, 3])
# Height, width, pad. Among them: more than one program an image, an incomplete last one, a row of
# one pixel, a wide row.
SIZES = [(32, 32, 4), (9, 6, 3), (150, 10, 4), (5, 1, 0), (2, 700, 1)]


def run(images, samples=SAMPLES, *, seed=BIG_SEED, epoch=3, **recipe):
    buffer, out = guarded(len(samples), *images.shape[1:3], recipe["dtype"])
    launch(images, samples, out, Recipe(**recipe), seed=seed, epoch=epoch)
    check_guards(buffer)
    return out


def test_sizes_cover_whole_and_parts():
    programs = {
        (height, width): -(-height // constants(height, width, Recipe(**CIFAR))["ROWS"])
        for height, width, _ in SIZES
    }
    assert programs == {(32, 32): 1, (9, 6): 1, (150, 10): 2, (5, 1): 1, (2, 700): 2}


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize(("pad_mode", "flip", "cutout"), MODES)
def test_it_is_the_slow_meaning(pad_mode, flip, cutout, dtype):
    recipe = {
        "pad": 3,
        "pad_mode": pad_mode,
        "flip": flip,
        "cutout": cutout,
        "dtype": dtype,
        **IMAGENET,
    }
    images = make_images(11, 9, 6)
    for epoch in (0, 5):
        result = run(images, epoch=epoch, **recipe)
        check_images(result, expected(images, SAMPLES, seed=BIG_SEED, epoch=epoch, **recipe))


@pytest.mark.parametrize("pad_mode", ["zero", "reflect"])
@pytest.mark.parametrize(("height", "width", "pad"), SIZES)
def test_it_is_the_reference_to_the_bit(height, width, pad, pad_mode):
    """float32 and float16; the interpreter truncates to bfloat16, where a GPU rounds."""
    images = make_images(11, height, width)
    for dtype in (torch.float32, torch.float16):
        recipe = {**CIFAR, "pad": pad, "pad_mode": pad_mode, "cutout": 3, "dtype": dtype}
        for seed in (0, 1, 2**32, BIG_SEED):
            numbers = draw_numbers(seed, 1, images.device)
            meant = reference(images, SAMPLES, numbers, Recipe(**recipe))
            assert torch.equal(run(images, seed=seed, epoch=1, **recipe), meant)


def test_bytes_past_two_to_the_31():
    # 2.15 GB that stay untouched, but for one image.
    images = torch.empty(700_001, 32, 32, 3, dtype=torch.uint8)
    images[-1] = make_images(3, 32, 32)[1]
    last_sample = torch.tensor([700_000])
    result = run(images, last_sample, **CIFAR)
    check_images(result, expected(images, last_sample, seed=BIG_SEED, epoch=3, **CIFAR))
