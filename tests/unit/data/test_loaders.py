"""Every loader against a plain numpy reference, and against each other."""

import threading
from copy import deepcopy
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data import dali
from bench.data.batches import Batch, LoaderSpec
from bench.data.dali import DaliLoader, build_pipeline
from bench.data.loaders import ResidentLoader, TorchLoader
from bench.data.order import Augmentation, Order
from bench.data.source import Split
from bench.runtime.streams import Stream, permutation
from kernels.augment.reference import draw_numbers, draws
from tests.kernels.augment_cases import expected as slow_meaning

LOADERS = [ResidentLoader, DaliLoader, TorchLoader]
DTYPES = [torch.float32, torch.float16]
PAD_MODES = ["zero", "reflect"]
FLIPS = ["none", "random", "alternating"]
SAMPLES = 45
BATCH = 6
HEIGHT = 10
WIDTH = 8
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# Normalised pixels reach 2.7; a float32 there has steps of 2.4e-7, and three roundings at most.
FLOAT32_ATOL = 1e-6


def make_split(n: int = SAMPLES, height: int = HEIGHT, width: int = WIDTH) -> Split:
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    images[0] = 0
    images[1] = 255
    return Split(images=images, labels=rng.integers(0, 10, n))


def make_spec(**changes) -> LoaderSpec:
    """Fields of the spec, or of its augmentation."""
    augmentation = {"pad": 4, "pad_mode": "reflect", "flip": "random", "cutout": 0}
    for key in augmentation.keys() & changes.keys():
        augmentation[key] = changes.pop(key)
    base = {
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "threads": 1,
        "compiled": False,
        **IMAGENET,
    }
    return LoaderSpec(**{**base, **changes}, augmentation=Augmentation(**augmentation))


def make_order(**changes) -> Order:
    base = {
        "samples": SAMPLES,
        "global_batch_size": BATCH,
        "rank": 0,
        "world_size": 1,
        "seed": 3,
        "last_batch": "drop",
    }
    return Order(**{**base, **changes})


def expected(split: Split, spec: LoaderSpec, order: Order, step: int) -> np.ndarray:
    """The images of a step in float64, [B, 3, H, W], by the slow meaning."""
    rows = order.rows(step)
    return slow_meaning(
        torch.from_numpy(split.images),
        torch.from_numpy(rows.samples),
        seed=rows.seed,
        epoch=rows.epoch,
        mean=spec.mean,
        std=spec.std,
        **vars(spec.augmentation),
    )


def check_images(images: torch.Tensor, reference: np.ndarray) -> None:
    """float32 within FLOAT32_ATOL, float16 within one unit in the last place."""
    error = np.abs(images.cpu().double().numpy() - reference)
    allowed = FLOAT32_ATOL
    if images.dtype == torch.float16:
        allowed = np.spacing(np.abs(reference).astype(np.float16))
    assert (error <= allowed).all(), error.max()


def same(a: Batch, b: Batch, **tolerance: float) -> None:
    torch.testing.assert_close(a.images, b.images, **(tolerance or {"rtol": 0, "atol": 0}))
    assert torch.equal(a.labels, b.labels)
    assert torch.equal(a.samples, b.samples)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pad_mode", PAD_MODES)
@pytest.mark.parametrize(("pad", "cutout"), [(0, 0), (2, 5), (3, 0), (4, 8)])
def test_images_are_the_references(loader, dtype, pad_mode, pad, cutout):
    split = make_split()
    spec = make_spec(dtype=dtype, pad=pad, pad_mode=pad_mode, cutout=cutout)
    order = make_order()
    batches = list(loader(split, spec).batches(order, 0, order.steps_per_epoch))
    assert len(batches) == order.steps_per_epoch == 7
    mirrored = 0
    for step, batch in enumerate(batches):
        assert batch.images.dtype == dtype
        check_images(batch.images, expected(split, spec, order, step))
        rows = order.rows(step)
        numbers = draw_numbers(rows.seed, rows.epoch, batch.samples.device)
        mirrored += int(draws(batch.samples, numbers, pad, spec.augmentation.flip)[2].sum())
    assert 5 < mirrored < 37  # of 42: both kinds were there


@st.composite
def splits_with_augmentations(draw, samples: int):
    """Images, and how they may be augmented."""
    height = draw(st.integers(3, 9))
    width = draw(st.integers(3, 9))
    augmentation = {
        "pad": draw(st.integers(0, min(height, width) - 1)),
        "pad_mode": draw(st.sampled_from(PAD_MODES)),
        "flip": draw(st.sampled_from(FLIPS)),
        "cutout": draw(st.integers(0, min(height, width))),
    }
    return make_split(samples, height, width), augmentation


@st.composite
def shared_orders(draw):
    """The fields of an order that ranks can share."""
    world_size = draw(st.integers(1, 8))
    batch_size = world_size * draw(st.integers(1, 5))
    samples = draw(st.integers(max(batch_size, 2), 90))
    last_batches = ["drop"]
    if samples % batch_size % world_size == 0:
        last_batches.append("partial")
    return {
        "samples": samples,
        "global_batch_size": batch_size,
        "world_size": world_size,
        "seed": draw(st.integers(0, 2**63 - 1)),
        "last_batch": draw(st.sampled_from(last_batches)),
    }


@st.composite
def cases(draw):
    """Images, how they are augmented, an order that ranks share, and the step to start at."""
    order_fields = draw(shared_orders())
    split, augmentation = draw(splits_with_augmentations(order_fields["samples"]))
    return split, augmentation, order_fields, draw(st.integers(0, 40))


def samples_of_an_epoch(order: Order, fields: dict, epoch: int) -> list[int]:
    """The permutation, without a last batch that is dropped."""
    samples = permutation(fields["samples"], fields["seed"], Stream.ORDER, epoch).tolist()
    if fields["last_batch"] == "partial":
        return samples
    return samples[: order.steps_per_epoch * fields["global_batch_size"]]


@settings(deadline=None, max_examples=100)
@given(case=cases())
def test_all_loaders_give_the_same_bytes_in_the_same_order_on_every_rank(case):
    """From the start to the end of its epoch. Mean 0 and std 1 / 255 leave the byte itself."""
    split, augmentation, order_fields, start = case
    spec = make_spec(mean=(0.0,) * 3, std=(1 / 255,) * 3, threads=0, **augmentation)
    loaders = [
        ResidentLoader(split, spec),
        DaliLoader(split, replace(spec, threads=1)),
        TorchLoader(split, spec),
    ]
    steps_per_epoch = make_order(**order_fields).steps_per_epoch
    epoch = start // steps_per_epoch
    stop = (epoch + 1) * steps_per_epoch
    samples_by_step = {step: [] for step in range(start, stop)}
    for rank in range(order_fields["world_size"]):
        order = make_order(**order_fields, rank=rank)
        passes = [loader.batches(order, start, stop) for loader in loaders]
        for step, batches in enumerate(zip(*passes, strict=True), start):
            reference = expected(split, spec, order, step).round()
            for batch in batches:
                assert np.array_equal(batch.images.double().numpy(), reference)
                assert np.array_equal(batch.samples, order.rows(step).samples)
                assert np.array_equal(batch.labels, split.labels[batch.samples.numpy()])
            samples_by_step[step] += batches[0].samples.tolist()
    epoch_samples = samples_of_an_epoch(order, order_fields, epoch)
    first = start % steps_per_epoch * order_fields["global_batch_size"]
    assert list(chain(*samples_by_step.values())) == epoch_samples[first:]


@pytest.mark.parametrize("loader", LOADERS)
def test_labels_samples_dtypes_and_memory(loader):
    split = make_split()
    order = make_order()
    for step, batch in enumerate(loader(split, make_spec()).batches(order, 0, 3)):
        rows = order.rows(step)
        assert batch.labels.dtype == batch.samples.dtype == torch.int64
        assert batch.labels.shape == batch.samples.shape == (BATCH,)
        assert np.array_equal(batch.samples, rows.samples)
        assert np.array_equal(batch.labels, split.labels[rows.samples])
        assert batch.images.shape == (BATCH, 3, HEIGHT, WIDTH)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.images.stride() == (HEIGHT * WIDTH * 3, 1, WIDTH * 3, 3)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("flip", FLIPS)
def test_loaders_are_interchangeable(flip, compiled):
    """For two epochs: the same pixels to the last float32 rounding, labels and samples."""
    split = make_split()
    spec = make_spec(flip=flip, cutout=3, compiled=compiled)
    passes = [list(loader(split, spec).batches(make_order(), 0, 14)) for loader in LOADERS]
    for resident, *others in zip(*passes, strict=True):
        for other in others:
            same(resident, other, rtol=0, atol=FLOAT32_ATOL)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pad_mode", PAD_MODES)
@pytest.mark.parametrize("cutout", [0, 3, 8])
def test_dali_gives_what_resident_gives_to_the_last_bit(dtype, pad_mode, cutout):
    """On a CPU; a cutout is made in float32 and cast, which rounds as the normalisation does."""
    split = make_split()
    spec = make_spec(dtype=dtype, pad_mode=pad_mode, cutout=cutout)
    expected_batches = ResidentLoader(split, spec).batches(make_order(), 0, 14)
    batches = DaliLoader(split, spec).batches(make_order(), 0, 14)
    for expected_batch, batch in zip(expected_batches, batches, strict=True):
        same(batch, expected_batch)


@pytest.mark.parametrize(("allowed", "expected_compilations"), [(False, []), (True, [(HEIGHT, 3)])])
def test_resident_compiles_where_it_is_allowed_to(monkeypatch, allowed, expected_compilations):
    compilations = []

    def note_compilation(height, recipe):
        compilations.append((height, recipe.cutout))

    monkeypatch.setattr("kernels.augment.op.compiled_batch", note_compilation)
    ResidentLoader(make_split(), make_spec(cutout=3, compiled=allowed))
    assert compilations == expected_compilations


@pytest.mark.parametrize("loader", LOADERS)
def test_a_start_in_the_middle_of_an_epoch(loader):
    images = loader(make_split(), make_spec())
    from_the_start = list(images.batches(make_order(), 0, 12))
    for start, stop in [(3, 12), (7, 9), (11, 12), (5, 5)]:
        batches = images.batches(make_order(), start, stop)
        for batch, expected_batch in zip(batches, from_the_start[start:stop], strict=True):
            same(batch, expected_batch)


@pytest.mark.parametrize("loader", LOADERS)
def test_ranks_share_a_batch(loader):
    images = loader(make_split(), make_spec())
    alone = images.batches(make_order(), 5, 9)
    rank_0 = images.batches(make_order(rank=0, world_size=2), 5, 9)
    rank_1 = images.batches(make_order(rank=1, world_size=2), 5, 9)
    for expected_batch in alone:
        first = next(rank_0)
        second = next(rank_1)
        assert len(first.samples) == len(second.samples) == BATCH // 2
        joined = Batch(
            images=torch.cat([first.images, second.images]),
            labels=torch.cat([first.labels, second.labels]),
            samples=torch.cat([first.samples, second.samples]),
        )
        same(joined, expected_batch)
    assert list(rank_0) == list(rank_1) == []


class Watched:
    """An order that writes down which steps were looked up in it."""

    def __init__(self) -> None:
        self._order = make_order()
        self.global_batch_size = self._order.global_batch_size
        self.world_size = self._order.world_size
        self.steps: list[int] = []

    def rows(self, step: int):
        self.steps.append(step)
        return self._order.rows(step)


# Of the torch loader's workers no order is seen.
@pytest.mark.parametrize(
    ("loader", "ahead", "pipelines"), [(ResidentLoader, 0, 0), (DaliLoader, 2, 1)]
)
def test_epochs_follow_without_a_pause(loader, ahead, pipelines, monkeypatch):
    """DALI stays its queue's length ahead across the end of an epoch.

    One pipeline, nothing drained, no step twice.
    """
    built_pipelines = []

    def watched_build(*arguments, **named):
        pipeline = build_pipeline(*arguments, **named)
        built_pipelines.append(pipeline)
        return pipeline

    monkeypatch.setattr(dali, "build_pipeline", watched_build)
    order = Watched()
    for step, batch in enumerate(loader(make_split(), make_spec()).batches(order, 0, 21)):
        assert np.array_equal(batch.samples, make_order().rows(step).samples)
        assert len(order.steps) >= min(21, step + 1 + ahead)
    assert step == 20
    assert order.steps == list(range(21))
    assert len(built_pipelines) == pipelines


@pytest.mark.parametrize("loader", LOADERS)
def test_batches_are_not_overwritten_by_later_ones(loader):
    batches = []
    copies = []
    for batch in loader(make_split(), make_spec()).batches(make_order(), 0, 14):
        batches.append(batch)
        copies.append(deepcopy(batch))
    for batch, copy in zip(batches, copies, strict=True):
        same(batch, copy)


@pytest.mark.parametrize("loader", LOADERS)
def test_giving_up_early_leaves_nothing_hanging(loader):
    images = loader(make_split(), make_spec())
    results = []

    def take_one_twice_then_all() -> None:
        for _ in range(2):
            batches = images.batches(make_order(), 0, 1000)
            next(batches)
            batches.close()
        results.extend(images.batches(make_order(), 0, 14))

    thread = threading.Thread(target=take_one_twice_then_all, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert len(results) == 14
    for step, batch in enumerate(results):
        assert np.array_equal(batch.samples, make_order().rows(step).samples)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pad_mode", PAD_MODES)
@pytest.mark.parametrize(("pad", "cutout"), [(0, 0), (3, 4), (4, 8)])
def test_on_a_gpu_every_loader_gives_what_dali_gives_on_the_cpu(dtype, pad_mode, pad, cutout):
    split = make_split()
    order = make_order()
    gpu = torch.device("cuda", 0)
    cpu_spec = make_spec(dtype=dtype, pad=pad, pad_mode=pad_mode, cutout=cutout)
    gpu_spec = replace(cpu_spec, device=gpu)
    passes = [loader(split, gpu_spec).batches(order, 0, 14) for loader in LOADERS]
    on_cpu = DaliLoader(split, cpu_spec).batches(make_order(), 0, 14)
    for step, (twin, *batches) in enumerate(zip(on_cpu, *passes, strict=True)):
        for batch in batches:
            assert batch.images.device == batch.labels.device == batch.samples.device == gpu
            assert batch.images.stride() == twin.images.stride()
            check_images(batch.images, expected(split, cpu_spec, order, step))
            assert torch.equal(batch.labels.cpu(), twin.labels)
            assert torch.equal(batch.samples.cpu(), twin.samples)
