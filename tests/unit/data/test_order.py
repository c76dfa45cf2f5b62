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
    drawn = draws(torch.from_numpy(rows.samples), numbers, pad, flip)
    top, left, mirror, word = (words_of_samples.numpy() for words_of_samples in drawn)
    cutout_middle = np.stack(middle(word, *SIZE), axis=1)
    return SimpleNamespace(top=top, left=left, mirror=mirror, middle=cutout_middle)


def check_equal(rows: Rows, expected: Rows) -> None:
    assert rows.seed == expected.seed
    assert rows.epoch == expected.epoch
    assert np.array_equal(rows.samples, expected.samples)


def side_by_side(parts: list[Rows]) -> Rows:
    return Rows(
        seed=parts[0].seed,
        epoch=parts[0].epoch,
        samples=np.concatenate([part.samples for part in parts]),
    )


@st.composite
def order_fields(draw):
    """Fields of an order: a batch that an epoch fills, any seed, and either last batch."""
    samples = draw(st.integers(8, 120))
    return {
        "samples": samples,
        "global_batch_size": draw(st.integers(1, samples)),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "last_batch": draw(st.sampled_from(["drop", "partial"])),
    }


@few
@given(fields=order_fields(), world_size=st.integers(1, 8), step=st.integers(0, 40))
def test_ranks_side_by_side_are_one_rank(fields, world_size, step):
    assume(fields["samples"] >= world_size)
    size = max(fields["global_batch_size"] // world_size, 1) * world_size
    assume(fields["last_batch"] == "drop" or fields["samples"] % size % world_size == 0)
    fields = {**fields, "global_batch_size": size}
    alone = make_order(**fields)
    ranks = [make_order(**fields, world_size=world_size, rank=rank) for rank in range(world_size)]
    for either_step in (step, step + 1):
        parts = [rank.rows(either_step) for rank in ranks]
        assert len({len(part.samples) for part in parts}) == 1
        check_equal(side_by_side(parts), alone.rows(either_step))


@few
@given(fields=order_fields(), epoch=st.integers(0, 3))
def test_an_epoch_is_the_permutation_with_or_without_its_last_incomplete_batch(fields, epoch):
    order = make_order(**fields)
    batch_size = fields["global_batch_size"]
    first_step = epoch * order.steps_per_epoch
    batches = [order.rows(first_step + batch) for batch in range(order.steps_per_epoch)]
    assert {rows.epoch for rows in batches} == {epoch}
    assert {len(rows.samples) for rows in batches[:-1]} <= {batch_size}
    expected = permutation(fields["samples"], fields["seed"], Stream.ORDER, epoch)
    if fields["last_batch"] == "drop":
        full_batches = fields["samples"] // batch_size
        expected = expected[: full_batches * batch_size]
    assert np.array_equal(np.concatenate([rows.samples for rows in batches]), expected)


@few
@given(fields=order_fields(), step=st.integers(0, 60))
def test_samples_seen_are_those_of_the_steps_so_far(fields, step):
    order = make_order(**fields)
    batch_sizes = [len(order.rows(earlier).samples) for earlier in range(step)]
    assert order.samples_seen(step) == sum(batch_sizes)


def test_a_partial_batch_that_the_ranks_cannot_share_is_refused():
    message = "data.last_batch: 'partial' leaves 2 of 50 images, which 4 processes cannot share"
    with pytest.raises(ValueError, match=message):
        make_order(world_size=4, last_batch="partial")
    assert make_order(world_size=2, last_batch="partial").steps_per_epoch == 7


@few
@given(fields=order_fields(), start=st.integers(0, 60))
def test_starting_at_a_step_is_arriving_there(fields, start):
    arriving = make_order(**fields)
    for step in range(start):
        arriving.rows(step)
    check_equal(arriving.rows(start), make_order(**fields).rows(start))
    check_equal(arriving.rows(0), make_order(**fields).rows(0))


@few
@given(fields=order_fields(), step=st.integers(0, 40))
def test_augmentation_belongs_to_the_sample_and_the_epoch_not_to_the_batch(fields, step):
    """In a batch of all samples of the epoch, one is cropped, mirrored and cut out alike."""
    order = make_order(**fields)
    rows = order.rows(step)
    epoch = step // order.steps_per_epoch
    all_rows = Rows(seed=fields["seed"], epoch=epoch, samples=np.arange(fields["samples"]))
    for flip in ("random", "alternating"):
        drawn = draws_of(rows, flip=flip)
        all_drawn = draws_of(all_rows, flip=flip)
        for name in ("top", "left", "mirror", "middle"):
            assert np.array_equal(getattr(drawn, name), getattr(all_drawn, name)[rows.samples])


MANY = 4000


def many(epoch: int = 0, **changes) -> SimpleNamespace:
    return draws_of(Rows(seed=0, epoch=epoch, samples=np.arange(MANY)), **changes)


def check_equally_likely(drawn: np.ndarray, places: int) -> None:
    """Each place was drawn as often as the others, within five standard deviations."""
    counts = np.bincount(drawn, minlength=places)
    assert len(counts) == places
    mean = MANY / places
    assert np.abs(counts - mean).max() <= 5 * mean**0.5


@pytest.mark.parametrize("pad", [0, 1, 4])
def test_every_corner_is_as_likely_and_lines_do_not_follow_columns(pad):
    drawn = many(pad=pad)
    places = 2 * pad + 1
    for corner in (drawn.top, drawn.left):
        assert corner.dtype == np.int64
        assert corner.min() >= 0
        assert corner.max() <= 2 * pad
    check_equally_likely(drawn.top * places + drawn.left, places**2)


def test_every_pixel_is_as_likely_to_be_a_cutouts_middle():
    height, width = SIZE
    y, x = many().middle.T
    assert (y.min(), y.max()) == (0, height - 1)
    assert (x.min(), x.max()) == (0, width - 1)
    check_equally_likely(y, height)
    check_equally_likely(x, width)
    assert abs(np.corrcoef(y, x)[0, 1]) < 5 / MANY**0.5


def test_flip_none_mirrors_nothing_and_random_half():
    assert not many(flip="none").mirror.any()
    mirror = many(flip="random").mirror
    assert mirror.dtype == np.bool_
    assert abs(mirror.mean() - 0.5) < 5 * 0.5 / MANY**0.5


def test_alternating_mirrors_a_random_half_and_then_the_other():
    first, second, third = (many(epoch, flip="alternating").mirror for epoch in range(3))
    assert np.array_equal(first, many(flip="random").mirror)
    assert np.array_equal(second, ~first)
    assert np.array_equal(third, first)


def test_flip_does_not_move_the_corners():
    unflipped = many(1, flip="none")
    for flip in ("random", "alternating"):
        flipped = many(1, flip=flip)
        assert np.array_equal(flipped.top, unflipped.top)
        assert np.array_equal(flipped.left, unflipped.left)
        assert np.array_equal(flipped.middle, unflipped.middle)


@pytest.mark.parametrize(("key", "value", "most"), [("pad", 32, 31), ("cutout", 33, 32)])
def test_what_an_image_is_too_small_for_is_refused(key, value, most):
    base = {"pad": 4, "pad_mode": "reflect", "flip": "random", "cutout": 0}
    Augmentation(**{**base, key: most}).check(SIZE)
    message = f"data.{key}: {value} is too much for images of 48x32; at most {most}"
    with pytest.raises(ValueError, match=message):
        Augmentation(**{**base, key: value}).check(SIZE)


def test_epochs_and_seeds_have_their_own_order_and_augmentation():
    order = make_order()
    first = order.rows(0)
    second_epoch = order.rows(order.steps_per_epoch)
    other_seed = make_order(seed=1).rows(0)
    assert not np.array_equal(first.samples, second_epoch.samples)
    assert not np.array_equal(first.samples, other_seed.samples)
    drawn = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1)):
        drawn.add(words(seed, Stream.AUGMENT, 3, epoch).tobytes())
    assert len(drawn) == 4


@given(size=st.integers(1, 500), world_size=st.integers(2, 16))
def test_a_batch_that_does_not_divide_names_the_nearest_that_does(size, world_size):
    assume(size % world_size)
    message = f"global_batch_size: {size} .* {world_size} processes"
    with pytest.raises(ValueError, match=message) as error:
        make_order(samples=1000, global_batch_size=size, world_size=world_size)
    named = int(re.search(r"nearest: (\d+)$", str(error.value)).group(1))
    divisible = range(world_size, 1000, world_size)
    assert named in divisible
    assert abs(named - size) == min(abs(candidate - size) for candidate in divisible)


def test_a_batch_larger_than_the_epoch_is_refused():
    message = "global_batch_size: 51 is more than the 50 training images"
    with pytest.raises(ValueError, match=message):
        make_order(global_batch_size=51)
    assert make_order(global_batch_size=50).steps_per_epoch == 1


def test_an_order_checks_its_batch():
    with pytest.raises(ValueError, match="nearest: 9"):
        make_order(world_size=3)
