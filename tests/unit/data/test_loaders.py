"""Both loaders against a plain numpy reference, and against each other; DALI's GPU graph without a GPU."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bench.data import dali
from bench.data.batches import Batch, LoaderSpec
from bench.data.dali import DaliLoader, build_pipeline
from bench.data.order import Order
from bench.data.resident import ResidentLoader
from bench.data.source import Split

LOADERS = [ResidentLoader, DaliLoader]
SAMPLES, BATCH, HEIGHT, WIDTH = 45, 6, 10, 8
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# Normalised pixels reach 2.7; a float32 there has steps of 2.4e-7, and three roundings at most.
FLOAT32_ATOL = 1e-6


def make_split(n: int = SAMPLES, height: int = HEIGHT, width: int = WIDTH) -> Split:
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    images[0], images[1] = 0, 255
    return Split(images=images, labels=rng.integers(0, 10, n))


def make_spec(**changes) -> LoaderSpec:
    base = {"device": torch.device("cpu"), "dtype": torch.float32, "pad": 4, "pad_mode": "reflect", "threads": 1, **IMAGENET}
    return LoaderSpec(**{**base, **changes})


def make_order(**changes) -> Order:
    base = {"samples": SAMPLES, "global_batch_size": BATCH, "rank": 0, "world_size": 1, "seed": 3, "pad": 4, "flip": "random"}
    return Order(**{**base, **changes})


def expected(split: Split, spec: LoaderSpec, order: Order, step: int) -> np.ndarray:
    """The images of a step in float64, [B, 3, H, W]: pad, cut the window, mirror, normalise; one image at a time."""
    rows, (height, width) = order.rows(step), split.images.shape[1:3]
    around = ((spec.pad, spec.pad), (spec.pad, spec.pad), (0, 0))
    images = []
    for sample, top, left, mirror in zip(rows.samples, rows.top, rows.left, rows.mirror, strict=True):
        image = np.pad(split.images[sample], around, mode={"zero": "constant", "reflect": "reflect"}[spec.pad_mode])
        window = image[top : top + height, left : left + width]
        window = window[:, ::-1] if mirror else window
        images.append((window / 255 - np.array(spec.mean)) / np.array(spec.std))
    return np.stack(images).transpose(0, 3, 1, 2)


def check_images(images: torch.Tensor, reference: np.ndarray) -> None:
    """float32 within FLOAT32_ATOL, float16 within one unit in the last place."""
    error = np.abs(images.cpu().double().numpy() - reference)
    half = images.dtype == torch.float16
    assert (error <= (np.spacing(np.abs(reference).astype(np.float16)) if half else FLOAT32_ATOL)).all(), error.max()


def same(a: Batch, b: Batch, **tolerance: float) -> None:
    torch.testing.assert_close(a.images, b.images, **(tolerance or {"rtol": 0, "atol": 0}))
    assert torch.equal(a.labels, b.labels)
    assert torch.equal(a.samples, b.samples)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("pad_mode", ["zero", "reflect"])
@pytest.mark.parametrize("pad", [0, 2, 3, 4])
def test_images_are_the_references(loader, dtype, pad_mode, pad):
    split, spec, order = make_split(), make_spec(dtype=dtype, pad=pad, pad_mode=pad_mode), make_order(pad=pad)
    batches = list(loader(split, spec).batches(order, 0, order.steps_per_epoch))
    assert len(batches) == order.steps_per_epoch == 7
    mirrored = 0
    for step, batch in enumerate(batches):
        assert batch.images.dtype == dtype
        check_images(batch.images, expected(split, spec, order, step))
        mirrored += int(order.rows(step).mirror.sum())
    assert 5 < mirrored < 37  # of 42: both kinds were there


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("pad_mode", ["zero", "reflect"])
@pytest.mark.parametrize("pad", [0, 2, 3, 4])
def test_before_normalisation_pixels_are_exact(loader, dtype, pad_mode, pad):
    """With mean 0 and std 1 / 255 the result is the byte itself."""
    raw = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}
    split, spec, order = make_split(), make_spec(dtype=dtype, pad=pad, pad_mode=pad_mode, **raw), make_order(pad=pad)
    for step, batch in enumerate(loader(split, spec).batches(order, 0, 3)):
        reference = expected(split, spec, order, step).round()
        assert np.array_equal(batch.images.double().numpy(), reference)


@pytest.mark.parametrize("loader", LOADERS)
def test_labels_samples_dtypes_and_memory(loader):
    split, order = make_split(), make_order()
    for step, batch in enumerate(loader(split, make_spec()).batches(order, 0, 3)):
        rows = order.rows(step)
        assert (batch.labels.dtype, batch.samples.dtype) == (torch.int64, torch.int64)
        assert batch.labels.shape == batch.samples.shape == (BATCH,)
        assert np.array_equal(batch.samples, rows.samples)
        assert np.array_equal(batch.labels, split.labels[rows.samples])
        assert batch.images.shape == (BATCH, 3, HEIGHT, WIDTH)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.images.stride() == (HEIGHT * WIDTH * 3, 1, WIDTH * 3, 3)


@pytest.mark.parametrize("flip", ["none", "random"])
def test_dali_is_resident(flip):
    """All of two epochs: the same pixels to the last float32 rounding, the same labels and samples."""
    split, spec = make_split(), make_spec()
    pairs = [list(loader(split, spec).batches(make_order(flip=flip), 0, 14)) for loader in LOADERS]
    for resident, fed in zip(*pairs, strict=True):
        same(resident, fed, rtol=0, atol=FLOAT32_ATOL)


@pytest.mark.parametrize("loader", LOADERS)
def test_a_start_in_the_middle_of_an_epoch(loader):
    made = loader(make_split(), make_spec())
    whole = list(made.batches(make_order(), 0, 12))
    for start, stop in [(3, 12), (7, 9), (11, 12), (5, 5)]:
        for a, b in zip(made.batches(make_order(), start, stop), whole[start:stop], strict=True):
            same(a, b)


@pytest.mark.parametrize("loader", LOADERS)
def test_ranks_share_a_batch(loader):
    split, spec = make_split(), make_spec()
    alone = list(loader(split, spec).batches(make_order(), 5, 9))
    parts = [list(loader(split, spec).batches(make_order(rank=r, world_size=2), 5, 9)) for r in range(2)]
    for first, second, whole in zip(*parts, alone, strict=True):
        assert len(first.samples) == len(second.samples) == BATCH // 2
        joined = {name: torch.cat([getattr(first, name), getattr(second, name)]) for name in ("images", "labels", "samples")}
        same(Batch(**joined), whole)


class Watched:
    """An order that writes down which steps it was asked for."""

    def __init__(self) -> None:
        self._order = make_order()
        self.global_batch_size, self.world_size = self._order.global_batch_size, self._order.world_size
        self.asked: list[int] = []

    def rows(self, step: int):
        self.asked.append(step)
        return self._order.rows(step)


@pytest.mark.parametrize(("loader", "ahead"), [(ResidentLoader, 0), (DaliLoader, 2)])
def test_epochs_follow_without_a_pause(loader, ahead, monkeypatch):
    """DALI stays its queue's length ahead across the end of an epoch: one pipeline, nothing drained; no step twice."""
    built = []
    monkeypatch.setattr(dali, "build_pipeline", lambda *args, **named: built.append(1) or build_pipeline(*args, **named))
    order = Watched()
    for step, batch in enumerate(loader(make_split(), make_spec()).batches(order, 0, 21)):
        assert np.array_equal(batch.samples, make_order().rows(step).samples)
        assert len(order.asked) >= min(21, step + 1 + ahead)
    assert step == 20
    assert order.asked == list(range(21))
    assert len(built) == (1 if loader is DaliLoader else 0)


@pytest.mark.parametrize("loader", LOADERS)
def test_batches_are_not_overwritten_by_later_ones(loader):
    batches, copies = [], []
    for batch in loader(make_split(), make_spec()).batches(make_order(), 0, 14):
        batches.append(batch)
        copies.append(Batch(images=batch.images.clone(), labels=batch.labels.clone(), samples=batch.samples.clone()))
    for batch, copy in zip(batches, copies, strict=True):
        same(batch, copy)


@pytest.mark.parametrize("loader", LOADERS)
def test_giving_up_early_leaves_nothing_hanging(loader):
    made, results = loader(make_split(), make_spec()), []

    def take_one_twice_then_all() -> None:
        for _ in range(2):
            batches: Iterator[Batch] = made.batches(make_order(), 0, 1000)
            next(batches)
            batches.close()
        results.extend(made.batches(make_order(), 0, 14))

    thread = threading.Thread(target=take_one_twice_then_all, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert [batch.samples.tolist() for batch in results] == [make_order().rows(step).samples.tolist() for step in range(14)]


def serialized(device: str) -> bytes:
    """The graph for a device, built where there is no GPU and never run."""
    pipeline = build_pipeline(lambda: (), make_spec(), batch_size=4, size=(HEIGHT, WIDTH), device=device, device_id=None)
    return pipeline.serialize()


def test_the_gpu_graph_is_the_cpu_graph_with_transfers():
    """Images, labels and samples go over, the crop runs there, three outputs come from there; the numbers stay on the host."""
    on_cpu, on_gpu = serialized("cpu"), serialized("gpu")
    assert on_gpu.count(b"ExternalSource\x1a") == 6
    assert on_gpu.count(b"\x13CropMirrorNormalize") == 1
    assert on_gpu.replace(b"gpu", b"cpu") == on_cpu
    assert b"gpu" not in on_cpu
    for moved in (b"CropMirrorNormalize_6\x12\x03gpu", b"ExternalSource_0\x12\x03gpu", b"ExternalSource_1\x12\x03gpu"):
        assert moved in on_gpu
    assert b"ExternalSource_2\x12\x03gpu" in on_gpu
    assert not any(b"ExternalSource_%d\x12\x03gpu" % corner in on_gpu for corner in (3, 4, 5))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("pad_mode", ["zero", "reflect"])
@pytest.mark.parametrize("pad", [0, 3, 4])
def test_the_gpu_graph_gives_what_the_cpu_graph_gives(dtype, pad_mode, pad):
    split, order = make_split(), make_order(pad=pad)
    spec = {"dtype": dtype, "pad": pad, "pad_mode": pad_mode}
    gpu = torch.device("cuda", 0)
    passes = [loader(split, make_spec(**spec, device=gpu)).batches(order, 0, 14) for loader in LOADERS]
    passes.append(DaliLoader(split, make_spec(**spec)).batches(make_order(pad=pad), 0, 14))
    for step, (resident, fed, on_cpu) in enumerate(zip(*passes, strict=True)):
        assert resident.images.device == fed.images.device == fed.labels.device == gpu
        assert fed.images.stride() == on_cpu.images.stride()
        check_images(fed.images, on_cpu.images.double().numpy())
        check_images(fed.images, expected(split, make_spec(**spec), order, step))
        check_images(resident.images, fed.images.cpu().double().numpy())
        assert torch.equal(fed.labels.cpu(), on_cpu.labels)
        assert torch.equal(resident.samples.cpu(), on_cpu.samples)
