"""The op `augment` on a GPU: the kernel is the reference and writes its own result alone.

It also compiles into another's graph.
"""

import pytest
import torch

from kernels.augment.kernel import launch
from kernels.augment.op import augment, augment_op
from kernels.augment.reference import Recipe
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

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]
SAMPLES = torch.tensor([3, 0, 10, 3])


def on_gpu(images, samples=SAMPLES, *, seed=BIG_SEED, epoch=3, **recipe):
    return augment(images.cuda(), samples.cuda(), Recipe(**recipe), seed=seed, epoch=epoch)


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize(("pad_mode", "flip", "cutout"), MODES)
@pytest.mark.parametrize(
    ("height", "width", "pad"),
    [(32, 32, 4), (9, 6, 3), (150, 10, 4), (5, 1, 0), (2, 700, 1), (224, 224, 28)],
)
def test_it_is_the_reference(height, width, pad, pad_mode, flip, cutout, dtype):
    recipe = {
        "pad": pad,
        "pad_mode": pad_mode,
        "flip": flip,
        "cutout": cutout,
        "dtype": dtype,
        **IMAGENET,
    }
    images = make_images(11, height, width)
    for seed, epoch in ((BIG_SEED, 0), (1, 1)):
        result = on_gpu(images, seed=seed, epoch=epoch, **recipe)
        plain = augment(images, SAMPLES, Recipe(**recipe), seed=seed, epoch=epoch)
        assert torch.equal(result.cpu(), plain)
        assert (result.stride(), result.dtype) == (plain.stride(), dtype)
        check_images(result, expected(images, SAMPLES, seed=seed, epoch=epoch, **recipe))


@pytest.mark.parametrize("dtype", BITS)
def test_nothing_outside_is_written(dtype):
    images = make_images(11, 150, 10).cuda()
    recipe = Recipe(**{**CIFAR, "dtype": dtype})
    buffer, out = guarded(len(SAMPLES), 150, 10, dtype, "cuda")
    launch(images, SAMPLES.cuda(), out, recipe, seed=BIG_SEED, epoch=3)
    check_guards(buffer)


def test_bytes_past_two_to_the_31():
    images = torch.zeros(700_001, 32, 32, 3, dtype=torch.uint8, device="cuda")
    images[-1] = make_images(3, 32, 32)[1].cuda()
    samples = torch.tensor([700_000])
    result = augment(images, samples.cuda(), Recipe(**CIFAR), seed=BIG_SEED, epoch=3)
    all_as_the_last = images[-1:].cpu().expand(700_001, -1, -1, -1)
    check_images(result, expected(all_as_the_last, samples, seed=BIG_SEED, epoch=3, **CIFAR))


def test_no_host_sync():
    images = make_images(11, 32, 32).cuda()
    samples = SAMPLES.cuda()
    augment(images, samples, Recipe(**CIFAR), seed=1, epoch=0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment(images, samples, Recipe(**CIFAR), seed=BIG_SEED, epoch=1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_opcheck():
    images = make_images(11, 9, 6).cuda()
    torch.library.opcheck(augment_op, (images, SAMPLES.cuda(), BIG_SEED, 3), {**CIFAR, "pad": 3})


def test_inside_anothers_compile():
    images = make_images(11, 32, 32).cuda()
    samples = SAMPLES.cuda()

    def step(x, rows, epoch):
        return augment(x, rows, Recipe(**CIFAR), seed=BIG_SEED, epoch=epoch).relu()

    model = torch.compile(step, fullgraph=True)
    for epoch in (0, 1, 2, 3, 4, 9):  # three compilations: 0 and 1 are constants to torch
        assert torch.equal(model(images, samples, epoch), step(images, samples, epoch))
