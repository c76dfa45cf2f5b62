"""Images a second of our loaders, of other ways to make the same batches, and of a copy of the
same bytes.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.config.load import load
from bench.data import builtin, cifar10
from bench.data.batches import Loader, LoaderSpec
from bench.data.dali import DaliLoader
from bench.data.loaders import ResidentLoader, TorchLoader
from bench.data.order import Augmentation, Order
from bench.data.source import Dataset, Split
from tests.benchmarks import rivals
from tests.benchmarks.rounds import Contender, Pair, check_close, measure, record
from tests.clean_environment import CIFAR10_DIR
from tests.unit.data.test_loaders import expected

pytestmark = pytest.mark.benchmark

BATCH = 512
ROUNDS = 7
THREADS = 2
PATIENCE_S = 300
SLOW = 22 * BATCH  # images a pass of what makes one image at a time: seconds even so
FP32 = torch.float32
BF16 = torch.bfloat16
LOADERS: dict[str, tuple[type[Loader], torch.dtype]] = {
    "resident fp32": (ResidentLoader, FP32),
    "resident bf16": (ResidentLoader, BF16),
    "dali fp32": (DaliLoader, FP32),
    "torch fp32": (TorchLoader, FP32),
}
RIVALS = {
    "bare DALI fp32": (rivals.bare_dali, FP32, None),
    "airbench fp32": (rivals.airbench, FP32, None),
    "airbench bf16": (rivals.airbench, BF16, None),
    "kornia fp32": (rivals.kornia, FP32, None),
    "ffcv": (rivals.ffcv, FP32, None),
    "v2 on tensors": (rivals.v2, FP32, SLOW),
    "PIL": (rivals.pil, FP32, SLOW),
    "copy fp32 (roof)": (rivals.copy, FP32, None),
    "copy bf16 (roof)": (rivals.copy, BF16, None),
}
PAIRS = (
    Pair(name="resident fp32", against="airbench fp32", required=5),
    Pair(name="resident bf16", against="airbench bf16", required=5),
    Pair(name="resident fp32", against="PIL", required=40),
    Pair(name="dali fp32", against="bare DALI fp32", required=0.9),
    Pair(name="resident fp32", against="copy fp32 (roof)"),
    Pair(name="resident bf16", against="copy bf16 (roof)"),
    Pair(name="resident fp32", against="dali fp32"),
    Pair(name="resident fp32", against="kornia fp32"),
    Pair(name="resident fp32", against="v2 on tensors"),
    Pair(name="dali fp32", against="PIL"),
    Pair(name="torch fp32", against="PIL"),
)


@pytest.fixture(scope="module")
def board(publish):
    """Everything in turns, once a round: whole passes over the train split of CIFAR-10, or of
    noise where it is not here.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    read = cifar10.load if CIFAR10_DIR else builtin.synthetic
    dataset = read(load("small_cnn", [f"--data.dir={CIFAR10_DIR or 'null'}"]).data)
    makers: dict[str, Callable[[], Contender]] = {}
    for name, (loader, dtype) in LOADERS.items():
        makers[name] = partial(our_contender, dataset, loader, dtype)
    for name, rival in RIVALS.items():
        makers[name] = partial(rival_contender, dataset, *rival)
    yield publish(
        measure(
            f"loaders, {dataset.name}, batch {BATCH}, {THREADS} threads or workers",
            makers,
            PAIRS,
            rounds=ROUNDS,
            patience_s=PATIENCE_S,
        )
    )
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", [*LOADERS, *RIVALS])
def test_images_per_s(name, board, request):
    record(board, name, request)


def make_spec(dataset: Dataset, dtype: torch.dtype) -> LoaderSpec:
    return LoaderSpec(
        device=torch.device("cpu"),
        dtype=dtype,
        mean=dataset.mean,
        std=dataset.std,
        augmentation=Augmentation(pad=4, pad_mode="reflect", flip="random", cutout=0),
        threads=THREADS,
    )


def make_order(split: Split) -> Order:
    return Order(
        samples=len(split.labels),
        global_batch_size=BATCH,
        rank=0,
        world_size=1,
        seed=1,
        last_batch="drop",
    )


def our_contender(dataset: Dataset, loader: type[Loader], dtype: torch.dtype) -> Contender:
    """One epoch after the other, as in training. Its gate: pixels, labels and samples are those
    of the plain reference.
    """
    spec = make_spec(dataset, dtype)
    order = make_order(dataset.train)
    our_loader = loader(dataset.train, spec)
    steps = order.steps_per_epoch
    epochs = iter(range(1, 1_000))

    def check() -> None:
        for step, batch in enumerate(our_loader.batches(order, 0, 2)):
            rows = order.rows(step)
            check_close(batch.images, torch.from_numpy(expected(dataset.train, spec, order, step)))
            check_form(batch.images, dtype)
            assert np.array_equal(batch.samples, rows.samples), f"wrong samples in step {step}"
            assert np.array_equal(batch.labels, dataset.train.labels[rows.samples]), (
                f"wrong labels in step {step}"
            )

    def one_pass() -> int:
        epoch = next(epochs)
        batches = our_loader.batches(order, epoch * steps, (epoch + 1) * steps)
        return sum(len(batch.images) for batch in batches)

    return Contender(images=steps * BATCH, one_pass=one_pass, check=check)


def rival_contender(
    dataset: Dataset, rival: Callable[..., rivals.Pass], dtype: torch.dtype, samples: int | None
) -> Contender:
    """A pass of batches. Its gate: form and dtype, and pixels as many and as bright as they must
    be.
    """
    split = dataset.train.take(slice(samples))
    spec = make_spec(dataset, dtype)
    batches = rival(split, spec, make_order(split) if rival is rivals.bare_dali else BATCH)

    def check() -> None:
        first = next(batches())
        check_form(first, dtype)
        if rival is not rivals.copy:
            check_content(first)

    def one_pass() -> int:
        return sum(len(images) for images in batches())

    return Contender(images=len(split.labels) // BATCH * BATCH, one_pass=one_pass, check=check)


def check_form(images: Tensor, dtype: torch.dtype) -> None:
    """[BATCH, 3, 32, 32] of the dtype, in channels-last memory."""
    assert images.shape == (BATCH, 3, 32, 32), f"shape {tuple(images.shape)}"
    assert images.dtype == dtype, f"dtype {images.dtype}"
    assert images.is_contiguous(memory_format=torch.channels_last), f"strides {images.stride()}"


def check_content(images: Tensor) -> None:
    """Normalised by the split's own mean and std, so each channel's are about 0 and 1; images
    differ from each other.
    """
    channels = images.double().transpose(0, 1).flatten(1)
    assert channels.mean(1).abs().max() < 0.15, f"channels' means {channels.mean(1).tolist()}"
    assert (channels.std(1) - 1).abs().max() < 0.15, (
        f"channels' standard deviations {channels.std(1).tolist()}"
    )
    assert len(images.flatten(1).unique(dim=0)) > BATCH // 2, "images repeat"
