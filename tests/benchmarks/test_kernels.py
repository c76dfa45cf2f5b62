"""Images a second of each op: as the resident loader calls it, as plain torch, and compiled.

On a GPU by its own clock, beside a copy of the same bytes (gpu_clock.py); on a CPU in rounds.
"""

from functools import partial

import pytest
import torch

from kernels.augment import reference
from kernels.augment.op import Resident
from kernels.augment.reference import Recipe
from kernels.compiling import with_own_code
from tests.benchmarks.gpu_clock import (
    REPLAYED,
    DeviceCall,
    copy_call,
    measure_on_gpu,
    moved_bytes,
)
from tests.benchmarks.rounds import Contender, Pair, check_close, measure, record

pytestmark = pytest.mark.benchmark

BATCH = 512
IMAGES = 10_000
ROUNDS = 5
GPU_ROUNDS = 3
PATIENCE_S = 30  # a case
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CASES = [(size, dtype, cutout) for size in (32, 64) for dtype in DTYPES for cutout in (0, 8)]
OP = "op"
EAGER = "eager torch"
COMPILED = "compiled torch"
COPY = "copy"
PAIRS = (Pair(name=OP, against=EAGER), Pair(name=OP, against=COMPILED))
GPU_PAIRS = (
    *PAIRS,
    Pair(name=OP, against=COPY),
    Pair(name=OP + REPLAYED, against=COPY + REPLAYED),
)
GPU_ALONE = (COPY, OP + REPLAYED, COPY + REPLAYED)


@pytest.fixture(
    scope="module", params=CASES, ids=lambda case: f"{case[0]}px-{case[1]}-cutout{case[2]}"
)
def board(request, publish):
    """One size, dtype and cutout; on a GPU where there is one."""
    size, dtype, cutout = request.param
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = Recipe(
        pad=4,
        pad_mode="reflect",
        flip="random",
        cutout=cutout,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        dtype=DTYPES[dtype],
    )
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(
        0, 256, (IMAGES, size, size, 3), dtype=torch.uint8, generator=generator
    ).to(device)
    samples = torch.randint(0, IMAGES, (BATCH,), generator=generator).to(device)
    calls = {
        OP: partial(Resident(images, recipe).batch, samples, seed=1, epoch=2),
        EAGER: partial(eager, images, samples, recipe),
        COMPILED: partial(
            torch.compile(with_own_code(eager), fullgraph=True, dynamic=False),
            images,
            samples,
            recipe,
        ),
    }
    meaning = calls[EAGER]().double()
    title = f"augment, {device}, {size} px, {dtype}, cutout {cutout}"
    if device.type == "cuda":
        return publish(gpu_board(title, calls, meaning, images, recipe.dtype))
    makers = {name: partial(make_contender, call, meaning) for name, call in calls.items()}
    return publish(measure(title, makers, PAIRS, rounds=ROUNDS, patience_s=PATIENCE_S))


def gpu_board(title, calls, meaning, images, dtype):
    """The calls and a copy, by the GPU's clock; the op alone copies nothing from the host."""
    device_calls = {COPY: copy_call(images, BATCH, dtype)}
    for name, call in calls.items():
        device_calls[name] = DeviceCall(
            images=BATCH,
            moved_bytes=moved_bytes(images[:BATCH], dtype),
            call=call,
            check=make_contender(call, meaning).check,
            replayable=name == OP,
        )
    return measure_on_gpu(title, device_calls, GPU_PAIRS, rounds=GPU_ROUNDS)


@pytest.mark.parametrize("name", [OP, EAGER, COMPILED, *GPU_ALONE])
def test_augment(name, board, request):
    if name not in board.results:
        pytest.skip(f"{name} is timed on a GPU alone")
    record(board, name, request)


def eager(images: torch.Tensor, samples: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Byte by byte from images as they are, reflected.

    torch.compile makes one pass of it, which it cannot of padded images.
    """
    _, height, width, channels = images.shape
    y = torch.arange(height, device=samples.device)
    at = torch.arange(width * channels, device=samples.device)
    drawn = reference.draws(
        samples, reference.draw_numbers(1, 2, images.device), recipe.pad, recipe.flip
    )
    top, left, mirror, word = (each[:, None] for each in drawn)
    column, shift, scale = reference.along_a_row(width, recipe.mean, recipe.std, samples.device)
    rows = reflected(y + top - recipe.pad, height)
    columns = reflected(torch.where(mirror, width - 1 - column, column) + left - recipe.pad, width)
    lines = samples[:, None] * height + rows
    bytes_ = columns * channels + at % channels
    result = (
        (images.view(-1, width * channels)[lines[:, :, None], bytes_[:, None, :]].float() - shift)
        * scale
    ).to(recipe.dtype)
    if recipe.cutout:
        middle_y, middle_x = reference.middle(word[:, 0], height, width)
        tall = reference.covered(y, middle_y, recipe.cutout)
        wide = reference.covered(column, middle_x, recipe.cutout)
        result = result.masked_fill(tall[:, :, None] & wide[:, None, :], 0)
    return result.view(-1, height, width, channels).permute(0, 3, 1, 2)


def reflected(index: torch.Tensor, size: int) -> torch.Tensor:
    return torch.where(index.abs() < size, index.abs(), 2 * (size - 1) - index.abs())


def make_contender(call, meaning: torch.Tensor) -> Contender:
    """A call a pass. Its gate: plain torch's pixels, channels last."""

    def check() -> None:
        images = call()
        check_close(images, meaning)
        assert images.is_contiguous(memory_format=torch.channels_last), f"strides {images.stride()}"

    return Contender(images=BATCH, one_pass=lambda: len(call()), check=check)
