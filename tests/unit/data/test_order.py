"""The order of training is one order, however many ranks share it and wherever it is entered."""

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.data.order import Order, Rows, check_batch
from bench.runtime.streams import Stream, permutation, words

few = settings(deadline=None, max_examples=40)
FIELDS = ("samples", "top", "left", "mirror")


def make_order(**changes) -> Order:
    base = {"samples": 50, "global_batch_size": 8, "rank": 0, "world_size": 1, "seed": 0, "pad": 4, "flip": "random"}
    return Order(**{**base, **changes})


def equal(a: Rows, b: Rows) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


def side_by_side(parts: list[Rows]) -> Rows:
    return Rows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS})


@st.composite
def settings_of(draw):
    """Samples, a batch that an epoch fills, seed and augmentation."""
    samples = draw(st.integers(8, 120))
    return {
        "samples": samples,
        "global_batch_size": draw(st.integers(1, samples)),
        "seed": draw(st.integers(0, 2**64 - 1)),
        "pad": draw(st.integers(0, 5)),
        "flip": draw(st.sampled_from(["random", "none"])),
    }


@few
@given(asked=settings_of(), world_size=st.integers(1, 8), step=st.integers(0, 40))
def test_ranks_side_by_side_are_one_rank(asked, world_size, step):
    assume(asked["samples"] >= world_size)
    size = max(asked["global_batch_size"] // world_size, 1) * world_size
    alone = make_order(**{**asked, "global_batch_size": size})
    ranks = [make_order(**{**asked, "global_batch_size": size, "world_size": world_size, "rank": r}) for r in range(world_size)]
    for at in (step, step + 1):
        parts = [rank.rows(at) for rank in ranks]
        assert {len(getattr(part, name)) for part in parts for name in FIELDS} == {size // world_size}
        assert equal(side_by_side(parts), alone.rows(at))


@few
@given(asked=settings_of(), epoch=st.integers(0, 3))
def test_an_epoch_is_the_permutation_without_its_last_incomplete_batch(asked, epoch):
    order = make_order(**asked)
    steps = asked["samples"] // asked["global_batch_size"]
    assert order.steps_per_epoch == steps
    seen = np.concatenate([order.rows(epoch * steps + batch).samples for batch in range(steps)])
    whole = permutation(asked["samples"], asked["seed"], Stream.ORDER, epoch)
    assert np.array_equal(seen, whole[: steps * asked["global_batch_size"]])


@few
@given(asked=settings_of(), start=st.integers(0, 60))
def test_starting_at_a_step_is_arriving_there(asked, start):
    arriving = make_order(**asked)
    for step in range(start):
        arriving.rows(step)
    assert equal(arriving.rows(start), make_order(**asked).rows(start))
    assert equal(arriving.rows(0), make_order(**asked).rows(0))


@few
@given(asked=settings_of(), step=st.integers(0, 40))
def test_augmentation_belongs_to_the_sample_and_the_epoch_not_to_the_batch(asked, step):
    """Another batch size, the same epoch: a sample that both reach is cropped and mirrored alike."""
    order = make_order(**asked)
    rows, epoch = order.rows(step), step // order.steps_per_epoch
    other = make_order(**{**asked, "global_batch_size": 1})
    numbers = {}
    for at in range(epoch * asked["samples"], (epoch + 1) * asked["samples"]):
        row = other.rows(at)
        numbers[int(row.samples[0])] = (int(row.top[0]), int(row.left[0]), bool(row.mirror[0]))
    assert [numbers[int(sample)] for sample in rows.samples] == list(
        zip(rows.top.tolist(), rows.left.tolist(), rows.mirror.tolist(), strict=True)
    )


@few
@given(asked=settings_of(), step=st.integers(0, 40))
def test_corners_lie_in_the_padding(asked, step):
    rows = make_order(**asked).rows(step)
    for corner in (rows.top, rows.left):
        assert corner.dtype == np.int64
        assert corner.min() >= 0
        assert corner.max() <= 2 * asked["pad"]


def epoch_of_one_batch(**changes) -> Rows:
    return make_order(samples=4000, global_batch_size=4000, **changes).rows(0)


@pytest.mark.parametrize("pad", [0, 1, 4])
def test_every_corner_is_as_likely_and_lines_do_not_follow_columns(pad):
    rows, places = epoch_of_one_batch(pad=pad), (2 * pad + 1) ** 2
    counts = np.bincount(rows.top * (2 * pad + 1) + rows.left, minlength=places)
    assert len(counts) == places
    assert np.abs(counts - 4000 / places).max() <= 5 * (4000 / places) ** 0.5


def test_flip_none_mirrors_nothing_and_random_half():
    assert not epoch_of_one_batch(flip="none").mirror.any()
    mirror = epoch_of_one_batch(flip="random").mirror
    assert mirror.dtype == np.bool_
    assert abs(mirror.mean() - 0.5) < 5 * 0.5 / 4000**0.5


def test_flip_does_not_move_the_corners():
    a, b = epoch_of_one_batch(flip="none"), epoch_of_one_batch(flip="random")
    assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("samples", "top", "left"))


def test_epochs_and_seeds_have_their_own_order_and_augmentation():
    first, again = make_order().rows(0), make_order().rows(make_order().steps_per_epoch)
    other = make_order(seed=1).rows(0)
    assert not np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)
    drawn = [words(seed, Stream.AUGMENT, [3], epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({str(each) for each in drawn}) == 4


@given(size=st.integers(1, 500), world_size=st.integers(2, 16))
def test_a_batch_that_does_not_divide_names_the_nearest_that_does(size, world_size):
    assume(size % world_size)
    with pytest.raises(ValueError, match=rf"global_batch_size: {size} .* {world_size} processes") as error:
        check_batch(size, 1000, world_size)
    near = int(re.search(r"nearest: (\d+)$", str(error.value)).group(1))
    divisible = range(world_size, 1000, world_size)
    assert near in divisible
    assert abs(near - size) == min(abs(each - size) for each in divisible)


def test_a_batch_larger_than_the_epoch_is_refused():
    with pytest.raises(ValueError, match=r"global_batch_size: 51 is more than the 50 training images"):
        make_order(global_batch_size=51)
    assert make_order(global_batch_size=50).steps_per_epoch == 1


def test_an_order_checks_its_batch():
    with pytest.raises(ValueError, match="nearest: 9"):
        make_order(world_size=3)
