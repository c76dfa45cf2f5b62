"""How fast `augment` is on this machine, beside its reference and a plain copy of as many bytes; asserts nothing.

python -m pytest -m benchmark -s tests/kernels/test_augment_speed.py
"""

import statistics
import time

import pytest
import torch

from kernels.augment.op import augment, compile_reference
from kernels.augment.reference import Recipe, draw_numbers
from kernels.augment.reference import augment as reference
from tests.kernels.augment_cases import CIFAR, make_images

IMAGES, ROUNDS = 50_000, 7
RECIPES = {
    "float32": CIFAR,
    "bfloat16": {**CIFAR, "dtype": torch.bfloat16},
    "float32, zero, alternating, cutout 12": {**CIFAR, "pad_mode": "zero", "flip": "alternating", "cutout": 12},
}


def images_per_s(step, batches, device) -> float:
    """Of one pass over all images."""
    start_s = time.perf_counter()
    for number, samples in enumerate(batches):
        step(number, samples)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return sum(map(len, batches)) / (time.perf_counter() - start_s)


@pytest.mark.benchmark
@pytest.mark.parametrize("name", RECIPES)
def test_speed(name):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch_size, recipe = 8192 if device.type == "cuda" else 512, RECIPES[name]
    images = make_images(IMAGES, 32, 32).to(device)
    batches = torch.randperm(IMAGES, device=device).split(batch_size)[:-1]
    moved_bytes = batch_size * 3072 * (1 + recipe["dtype"].itemsize) // 2  # a copy reads and writes each once
    flat, fused = images.view(-1), compile_reference(images.shape[1:], Recipe(**recipe))

    def numbers(epoch):
        return draw_numbers(3, epoch, device)

    steps = {
        "op": lambda epoch, samples: augment(images, samples, seed=3, epoch=epoch, **recipe),
        "reference": lambda epoch, samples: reference(images, samples, numbers(epoch), Recipe(**recipe)),
        "copy": lambda epoch, _: flat[epoch * 3072 :][:moved_bytes].clone(),
    }
    if device.type == "cuda":  # on a CPU this is the op
        steps["compiled reference"] = lambda epoch, samples: fused(images, samples, numbers(epoch))
    passes = {what: [images_per_s(step, batches, device)] for what, step in steps.items()}
    for what, step in list(steps.items()) * ROUNDS:
        passes[what].append(images_per_s(step, batches, device))
    for what, (_, *speeds) in passes.items():  # the first compiles
        ratios = [ours / theirs for ours, theirs in zip(passes["op"][1:], speeds, strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        speed = f"{statistics.median(speeds):,.0f} images/s ({min(speeds):,.0f} to {max(speeds):,.0f})"
        print(f"\n{name}: {what}: {speed}; op / {what} {ratio}", end="")
