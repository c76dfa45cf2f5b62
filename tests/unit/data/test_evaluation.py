"""Evaluation batches: every image counts exactly once over all ranks, and all batches have one
shape.
"""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from bench.data.batches import EvaluationBatch, EvaluationSet, LoaderSpec
from bench.data.order import Augmentation
from bench.data.source import Split


def make_spec(**changes) -> LoaderSpec:
    """Unit statistics: a normalised pixel is the byte itself."""
    augmentation = Augmentation(pad=4, pad_mode="zero", flip="random", cutout=0)
    base = {
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "augmentation": augmentation,
        "threads": 1,
    }
    return LoaderSpec(**{**base, "mean": (0.0,) * 3, "std": (1 / 255,) * 3, **changes})


def numbered(n: int, height: int = 2, width: int = 3) -> Split:
    """Images whose every pixel is their own number (below 256), labels 1,000 more."""
    images = np.broadcast_to(
        np.arange(n, dtype=np.uint8)[:, None, None, None], (n, height, width, 3)
    )
    return Split(images=images, labels=np.arange(n) + 1000)


def ranks(split: Split, batch_size: int, world_size: int, **changes) -> list[list[EvaluationBatch]]:
    spec = make_spec(**changes)
    return [
        list(EvaluationSet(split, spec, batch_size=batch_size, rank=r, world_size=world_size))
        for r in range(world_size)
    ]


@settings(deadline=None, max_examples=80)
@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), world_size=st.integers(1, 3))
@example(n=2, batch_size=4, world_size=3)
@example(n=6, batch_size=4, world_size=3)
@example(n=7, batch_size=6, world_size=3)
def test_every_image_counts_exactly_once(n, batch_size, world_size):
    batches = ranks(numbered(n), batch_size, world_size)
    counted = []
    for rank in batches:
        for batch in rank:
            pixels = batch.images[:, 0, 0, 0].round().long()
            assert torch.equal(pixels + 1000, batch.labels)  # also where a row does not count
            counted += pixels[batch.counts].tolist()
    assert sorted(counted) == list(range(n))


@settings(deadline=None, max_examples=80)
@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), world_size=st.integers(1, 3))
@example(n=6, batch_size=4, world_size=3)
def test_one_shape_and_as_many_batches_on_every_rank(n, batch_size, world_size):
    batches = ranks(numbered(n), batch_size, world_size)
    size = -(-batch_size // world_size)
    shapes = {
        (b.images.shape, b.labels.shape, b.counts.shape, b.images.stride())
        for rank in batches
        for b in rank
    }
    assert shapes == {((size, 3, 2, 3), (size,), (size,), (18, 1, 9, 3))}
    assert {len(rank) for rank in batches} == {-(-n // (world_size * size))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_dtypes(dtype):
    ((batch,),) = ranks(numbered(3), 4, 1, dtype=dtype)
    assert (batch.images.dtype, batch.labels.dtype, batch.counts.dtype) == (
        dtype,
        torch.int64,
        torch.bool,
    )
    assert batch.counts.tolist() == [True, True, True, False]


def test_a_second_pass_gives_the_same():
    images = EvaluationSet(numbered(5), make_spec(), batch_size=2, rank=0, world_size=1)
    first = list(images)
    second = list(images)
    assert len(first) == 3
    for batch, again in zip(first, second, strict=True):
        assert torch.equal(batch.images, again.images)
        assert torch.equal(batch.labels, again.labels)
        assert torch.equal(batch.counts, again.counts)


class CalledOps(TorchDispatchMode):
    """Collects the names of the ops that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_a_pass_copies_no_numbers_from_the_host():
    """On a GPU each such copy, a tensor of Python numbers, waits for all that is still to be
    done.
    """
    with CalledOps() as building:
        images = EvaluationSet(numbered(5), make_spec(), batch_size=2, rank=0, world_size=1)
    with CalledOps() as passing:
        assert len(list(images)) == 3
    assert "lift_fresh" in building.names  # what a tensor of Python numbers comes to
    assert "index" in passing.names
    assert "lift_fresh" not in passing.names


def test_normalised_by_the_statistics_given_and_not_padded():
    mean = (0.1, 0.2, 0.3)
    std = (0.5, 0.25, 0.125)
    ((batch,),) = ranks(numbered(200, 4, 5), 200, 1, mean=mean, std=std)
    expected = (np.arange(200)[:, None] / 255 - np.array(mean)) / np.array(std)
    assert batch.images.shape == (200, 3, 4, 5)
    np.testing.assert_allclose(batch.images[:, :, 2, 3].double(), expected, rtol=0, atol=1e-6)
