"""Images a second of each op: as it is called, its reference run eagerly, and the reference under a stock torch.compile."""

from functools import partial

import pytest
import torch

from kernels.augment import reference
from kernels.augment.op import Resident
from kernels.augment.reference import Recipe
from tests.benchmarks.rounds import Contender, Pair, check_close, measure, record

pytestmark = pytest.mark.benchmark

BATCH, IMAGES, ROUNDS = 512, 10_000, 5
PATIENCE_S = 30  # a case
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CASES = [(size, dtype, cutout) for size in (32, 64) for dtype in DTYPES for cutout in (0, 8)]
OP, EAGER, COMPILED = "op", "eager reference", "compiled reference"
PAIRS = (Pair(name=OP, against=EAGER), Pair(name=OP, against=COMPILED))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}px-{case[1]}-cutout{case[2]}")
def board(request, publish):
    """One size, dtype and cutout; on a GPU where there is one."""
    size, dtype, cutout = request.param
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = Recipe(
        pad=4, pad_mode="reflect", flip="random", cutout=cutout, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616),
        dtype=DTYPES[dtype],
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (IMAGES, size, size, 3), dtype=torch.uint8, generator=generator).to(device)
    samples = torch.randint(0, IMAGES, (BATCH,), generator=generator).to(device)
    calls = {
        OP: partial(Resident(images, recipe).batch, samples, seed=1, epoch=2),
        EAGER: partial(eager, images, samples, recipe),
        COMPILED: partial(torch.compile(eager, fullgraph=True, dynamic=False, isolate_recompiles=True), images, samples, recipe),
    }
    meaning = calls[EAGER]().double()
    makers = {name: partial(make_contender, call, meaning) for name, call in calls.items()}
    return publish(
        measure(f"augment, {device}, {size} px, {dtype}, cutout {cutout}", makers, PAIRS, rounds=ROUNDS, patience_s=PATIENCE_S)
    )


@pytest.mark.parametrize("name", [OP, EAGER, COMPILED])
def test_augment(name, board, request):
    record(board, name, request)


def eager(images: torch.Tensor, samples: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    return reference.augment(images, samples, reference.draw_numbers(1, 2, images.device), recipe)


def make_contender(call, meaning: torch.Tensor) -> Contender:
    """A call a pass. Its gate: the reference's pixels, channels last."""

    def check() -> None:
        images = call()
        check_close(images, meaning)
        assert images.is_contiguous(memory_format=torch.channels_last), f"strides {images.stride()}"

    def one_pass() -> int:
        made = len(call())
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return made

    return Contender(images=BATCH, one_pass=one_pass, check=check)
