"""The order of training is one order, however many ranks share it and wherever it is entered."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.data.order import Augmentation, Order, Rows
from bench.runtime.streams import Stream, permutation, words
from kernels.augment.reference import draw_numbers, draws, middle

few = settings(deadline=None, max_examples=40)
SIZE = (32, 48)


def make_order(**changes) -> Order:
    base = {
        "samples": 50,
        "global_batch_size": 8,
        "rank": 0,
        "world_size": 1,
        "seed": 0,
        "last_batch": "drop",
    }
    return Order(**{**base, **changes})


def draws_of(rows: Rows, pad: int = 4, flip: str = "random") -> SimpleNamespace:
    numbers = draw_numbers(rows.seed, rows.epoch, torch.device("cpu"))
    top, left, mirror, word = (
        each.numpy() for each in draws(torch.from_numpy(rows.samples), numbers, pad, flip)
    )
    return SimpleNamespace(
        top=top, left=left, mirror=mirror, middle=np.stack(middle(word, *SIZE), axis=1)
    )


def equal(a: Rows, b: Rows) -> bool:
    return (a.seed, a.epoch) == (b.seed, b.epoch) and np.array_equal(a.samples, b.samples)


def side_by_side(parts: list[Rows]) -> Rows:
    return Rows(
        seed=parts[0].seed,
        epoch=parts[0].epoch,
        samples=np.concatenate([part.samples for part in parts]),
    )


@st.composite
def settings_of(draw):
    """Samples, a batch that an epoch fills, seed, and what becomes of the last batch."""
    samples = draw(st.integers(8, 120))
    return {
        "samples": samples,
        "global_batch_size": draw(st.integers(1, samples)),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "last_batch": draw(st.sampled_from(["drop", "partial"])),
    }


@few
@given(order_settings=settings_of(), world_size=st.integers(1, 8), step=st.integers(0, 40))
def test_ranks_side_by_side_are_one_rank(order_settings, world_size, step):
    assume(order_settings["samples"] >= world_size)
    size = max(order_settings["global_batch_size"] // world_size, 1) * world_size
    assume(
        order_settings["last_batch"] == "drop" or order_settings["samples"] % size % world_size == 0
    )
    alone = make_order(**{**order_settings, "global_batch_size": size})
    ranks = [
        make_order(
            **{**order_settings, "global_batch_size": size, "world_size": world_size, "rank": r}
        )
        for r in range(world_size)
    ]
    for at in (step, step + 1):
        parts = [rank.rows(at) for rank in ranks]
        assert len({len(part.samples) for part in parts}) == 1
        assert equal(side_by_side(parts), alone.rows(at))


@few
@given(order_settings=settings_of(), epoch=st.integers(0, 3))
def test_an_epoch_is_the_permutation_with_or_without_its_last_incomplete_batch(
    order_settings, epoch
):
    order = make_order(**order_settings)
    steps = order.steps_per_epoch
    seen = [order.rows(epoch * steps + batch) for batch in range(steps)]
    assert {rows.epoch for rows in seen} == {epoch}
    assert {len(rows.samples) for rows in seen[:-1]} <= {order_settings["global_batch_size"]}
    permuted = permutation(order_settings["samples"], order_settings["seed"], Stream.ORDER, epoch)
    dropped = (
        order_settings["samples"] % order_settings["global_batch_size"]
        if order_settings["last_batch"] == "drop"
        else 0
    )
    assert np.array_equal(
        np.concatenate([rows.samples for rows in seen]),
        permuted[: order_settings["samples"] - dropped],
    )


@few
@given(order_settings=settings_of(), step=st.integers(0, 60))
def test_samples_seen_are_those_of_the_steps_so_far(order_settings, step):
    order = make_order(**order_settings)
    assert order.samples_seen(step) == sum(len(order.rows(each).samples) for each in range(step))


def test_a_partial_batch_that_the_ranks_cannot_share_is_refused():
    with pytest.raises(
        ValueError,
        match=r"data.last_batch: 'partial' leaves 2 of 50 images, which 4 processes cannot share",
    ):
        make_order(world_size=4, last_batch="partial")
    assert make_order(world_size=2, last_batch="partial").steps_per_epoch == 7


@few
@given(order_settings=settings_of(), start=st.integers(0, 60))
def test_starting_at_a_step_is_arriving_there(order_settings, start):
    arriving = make_order(**order_settings)
    for step in range(start):
        arriving.rows(step)
    assert equal(arriving.rows(start), make_order(**order_settings).rows(start))
    assert equal(arriving.rows(0), make_order(**order_settings).rows(0))


@few
@given(order_settings=settings_of(), step=st.integers(0, 40))
def test_augmentation_belongs_to_the_sample_and_the_epoch_not_to_the_batch(order_settings, step):
    """Another batch size, the same epoch: a sample that both reach is cropped and mirrored
    alike.
    """
    order = make_order(**order_settings)
    rows = order.rows(step)
    every = Rows(
        seed=order_settings["seed"],
        epoch=step // order.steps_per_epoch,
        samples=np.arange(order_settings["samples"]),
    )
    for flip in ("random", "alternating"):
        alone = draws_of(rows, flip=flip)
        together = draws_of(every, flip=flip)
        for name in ("top", "left", "mirror", "middle"):
            assert np.array_equal(getattr(alone, name), getattr(together, name)[rows.samples])


def many(epoch: int = 0, **changes) -> SimpleNamespace:
    return draws_of(Rows(seed=0, epoch=epoch, samples=np.arange(4000)), **changes)


@pytest.mark.parametrize("pad", [0, 1, 4])
def test_every_corner_is_as_likely_and_lines_do_not_follow_columns(pad):
    drawn = many(pad=pad)
    places = (2 * pad + 1) ** 2
    assert drawn.top.dtype == drawn.left.dtype == np.int64
    assert min(drawn.top.min(), drawn.left.min()) >= 0
    assert max(drawn.top.max(), drawn.left.max()) <= 2 * pad
    counts = np.bincount(drawn.top * (2 * pad + 1) + drawn.left, minlength=places)
    assert len(counts) == places
    assert np.abs(counts - 4000 / places).max() <= 5 * (4000 / places) ** 0.5


def test_every_pixel_is_as_likely_to_be_a_cutouts_middle():
    (height, width) = SIZE
    (y, x) = many().middle.T
    assert (y.min(), y.max(), x.min(), x.max()) == (0, height - 1, 0, width - 1)
    for place, extent in ((y, height), (x, width)):
        assert (
            np.abs(np.bincount(place, minlength=extent) - 4000 / extent).max()
            <= 5 * (4000 / extent) ** 0.5
        )
    assert abs(np.corrcoef(y, x)[0, 1]) < 5 / 4000**0.5


def test_flip_none_mirrors_nothing_and_random_half():
    assert not many(flip="none").mirror.any()
    mirror = many(flip="random").mirror
    assert mirror.dtype == np.bool_
    assert abs(mirror.mean() - 0.5) < 5 * 0.5 / 4000**0.5


def test_alternating_mirrors_a_random_half_and_then_the_other():
    first, second, third = (many(epoch, flip="alternating").mirror for epoch in range(3))
    assert np.array_equal(first, many(flip="random").mirror)
    assert np.array_equal(second, ~first)
    assert np.array_equal(third, first)


def test_flip_does_not_move_the_corners():
    ways = [many(1, flip=flip) for flip in ("none", "random", "alternating")]
    for other in ways[1:]:
        assert all(
            np.array_equal(getattr(ways[0], name), getattr(other, name))
            for name in ("top", "left", "middle")
        )


@pytest.mark.parametrize(("key", "value", "most"), [("pad", 32, 31), ("cutout", 33, 32)])
def test_what_an_image_is_too_small_for_is_refused(key, value, most):
    augmentation = {"pad": 4, "pad_mode": "reflect", "flip": "random", "cutout": 0}
    Augmentation(**{**augmentation, key: most}).check(SIZE)
    with pytest.raises(
        ValueError, match=f"data.{key}: {value} is too much for images of 48x32; at most {most}"
    ):
        Augmentation(**{**augmentation, key: value}).check(SIZE)


def test_epochs_and_seeds_have_their_own_order_and_augmentation():
    first = make_order().rows(0)
    again = make_order().rows(make_order().steps_per_epoch)
    other = make_order(seed=1).rows(0)
    assert not np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)
    drawn = [
        words(seed, Stream.AUGMENT, [3], epoch).tolist() for seed in (0, 1) for epoch in (0, 1)
    ]
    assert len({str(each) for each in drawn}) == 4


@given(size=st.integers(1, 500), world_size=st.integers(2, 16))
def test_a_batch_that_does_not_divide_names_the_nearest_that_does(size, world_size):
    assume(size % world_size)
    with pytest.raises(
        ValueError, match=rf"global_batch_size: {size} .* {world_size} processes"
    ) as error:
        make_order(samples=1000, global_batch_size=size, world_size=world_size)
    near = int(re.search(r"nearest: (\d+)$", str(error.value)).group(1))
    divisible = range(world_size, 1000, world_size)
    assert near in divisible
    assert abs(near - size) == min(abs(each - size) for each in divisible)


def test_a_batch_larger_than_the_epoch_is_refused():
    with pytest.raises(
        ValueError, match=r"global_batch_size: 51 is more than the 50 training images"
    ):
        make_order(global_batch_size=51)
    assert make_order(global_batch_size=50).steps_per_epoch == 1


def test_an_order_checks_its_batch():
    with pytest.raises(ValueError, match="nearest: 9"):
        make_order(world_size=3)
