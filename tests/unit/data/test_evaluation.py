"""Evaluation batches: every image counts exactly once over all ranks.

All batches have one shape.
"""

import itertools

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
    base = {
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "augmentation": Augmentation(pad=4, pad_mode="zero", flip="random", cutout=0),
        "threads": 1,
        "mean": (0.0,) * 3,
        "std": (1 / 255,) * 3,
    }
    return LoaderSpec(**{**base, **changes})


def numbered(n: int, height: int = 2, width: int = 3) -> Split:
    """Images whose every pixel is their own number (below 256), labels 1,000 more."""
    numbers = np.arange(n, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(numbers, (n, height, width, 3))
    return Split(images=images, labels=np.arange(n) + 1000)


def batches_of_ranks(
    split: Split, batch_size: int, world_size: int, **changes
) -> list[list[EvaluationBatch]]:
    spec = make_spec(**changes)
    batches = []
    for rank in range(world_size):
        images = EvaluationSet(split, spec, batch_size=batch_size, rank=rank, world_size=world_size)
        batches.append(list(images))
    return batches


@settings(deadline=None, max_examples=80)
@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), world_size=st.integers(1, 3))
@example(n=2, batch_size=4, world_size=3)
@example(n=6, batch_size=4, world_size=3)
@example(n=7, batch_size=6, world_size=3)
def test_every_image_counts_exactly_once(n, batch_size, world_size):
    ranks = batches_of_ranks(numbered(n), batch_size, world_size)
    counted = []
    for batch in itertools.chain(*ranks):
        pixels = batch.images[:, 0, 0, 0].round().long()
        assert torch.equal(pixels + 1000, batch.labels)  # also where a row does not count
        counted += pixels[batch.counts].tolist()
    assert sorted(counted) == list(range(n))


@settings(deadline=None, max_examples=80)
@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), world_size=st.integers(1, 3))
@example(n=6, batch_size=4, world_size=3)
def test_one_shape_and_as_many_batches_on_every_rank(n, batch_size, world_size):
    ranks = batches_of_ranks(numbered(n), batch_size, world_size)
    size = -(-batch_size // world_size)
    for batch in itertools.chain(*ranks):
        assert batch.images.shape == (size, 3, 2, 3)
        assert batch.images.stride() == (18, 1, 9, 3)
        assert batch.labels.shape == (size,)
        assert batch.counts.shape == (size,)
    assert {len(batches) for batches in ranks} == {-(-n // (world_size * size))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_dtypes(dtype):
    ((batch,),) = batches_of_ranks(numbered(3), 4, 1, dtype=dtype)
    assert batch.images.dtype == dtype
    assert batch.labels.dtype == torch.int64
    assert batch.counts.dtype == torch.bool
    assert batch.counts.tolist() == [True, True, True, False]


def test_a_second_pass_gives_the_same():
    images = EvaluationSet(numbered(5), make_spec(), batch_size=2, rank=0, world_size=1)
    first = list(images)
    assert len(first) == 3
    for batch, expected in zip(images, first, strict=True):
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.labels, expected.labels)
        assert torch.equal(batch.counts, expected.counts)


class CalledOps(TorchDispatchMode):
    """Collects the names of the ops that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_a_pass_copies_no_numbers_from_the_host():
    """On a GPU each such copy, a tensor of Python numbers, waits for all work before it."""
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
    ((batch,),) = batches_of_ranks(numbered(200, 4, 5), 200, 1, mean=mean, std=std)
    expected = (np.arange(200)[:, None] / 255 - np.array(mean)) / np.array(std)
    assert batch.images.shape == (200, 3, 4, 5)
    np.testing.assert_allclose(batch.images[:, :, 2, 3].double(), expected, rtol=0, atol=1e-6)
