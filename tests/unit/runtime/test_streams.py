"""Philox against its published answers, and draws that depend on nothing but (seed, stream,
sample, epoch).
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.runtime.streams import Stream, below, derive_seed, permutation, philox4x32, words

ONES = 0xFFFFFFFF
SEEDS = st.integers(0, 2**64 - 1)
STREAMS = st.sampled_from(Stream)
EPOCHS = st.integers(0, 1000)

few = settings(deadline=None, max_examples=30)


# Random123, tests/kat_vectors, "philox4x32 10": counter, key, answer.
@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ONES] * 4, (ONES, ONES), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_answers(counter, key, answer):
    assert philox4x32(counter, key).tolist() == answer


def test_words_are_philox_of_the_documented_counter_and_key():
    seed = 0x299F31D0_A4093822
    expected = philox4x32([7, 5, int(Stream.AUGMENT), 0], (0xA4093822, 0x299F31D0))
    assert words(seed, Stream.AUGMENT, [7], epoch=5).tolist() == [expected.tolist()]


def test_stream_numbers_are_part_of_the_method():
    numbers = {
        "INIT": 0,
        "ORDER": 1,
        "AUGMENT": 2,
        "SPLIT": 3,
        "BLOCK_ORDER": 4,
        "RENDER": 5,
        "LAYERS": 6,
    }
    assert {stream.name: stream.value for stream in Stream} == numbers


@few
@given(
    seed=SEEDS,
    stream=STREAMS,
    epoch=EPOCHS,
    samples=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40),
)
def test_draws_do_not_depend_on_the_batch(seed, stream, epoch, samples):
    together = words(seed, stream, samples, epoch)
    assert together.dtype == np.uint32
    assert together.shape == (len(samples), 4)
    for i, sample in enumerate(samples):
        assert np.array_equal(together[i], words(seed, stream, [sample], epoch)[0])
    assert np.array_equal(together[::-1], words(seed, stream, samples[::-1], epoch))


@few
@given(n=st.integers(0, 300), seed=SEEDS, stream=STREAMS, epoch=EPOCHS)
def test_a_permutation_is_one(n, seed, stream, epoch):
    drawn = permutation(n, seed, stream, epoch)
    assert sorted(drawn.tolist()) == list(range(n))
    assert np.array_equal(drawn, permutation(n, seed, stream, epoch))


def test_every_permutation_of_four_is_as_likely():
    trials = 4800
    drawn = [tuple(permutation(4, seed, Stream.ORDER).tolist()) for seed in range(trials)]
    counts = [drawn.count(order) for order in itertools.permutations(range(4))]
    assert max(abs(count - trials / 24) for count in counts) < 5 * (trials / 24) ** 0.5


@few
@given(n=st.integers(1, 16), seed=SEEDS, word=st.integers(0, 3))
def test_below_is_in_range_and_roughly_uniform(n, seed, word):
    draws = 4096
    drawn = below(words(seed, Stream.AUGMENT, np.arange(draws))[:, word], n)
    counts = np.bincount(drawn, minlength=n)
    assert drawn.dtype == np.int64
    assert len(counts) == n
    assert np.abs(counts - draws / n).max() <= 6.5 * (draws / n) ** 0.5


@given(n=st.integers(1, 2**31))
def test_below_reaches_both_ends_and_no_further(n):
    assert below(np.array([0, ONES], dtype=np.uint32), n).tolist() == [0, ONES * n >> 32]
    assert ONES * n >> 32 == n - 1


def equal_bits(a: np.ndarray, b: np.ndarray) -> float:
    """The fraction of bits in which two draws of one shape agree: a half for independent ones."""
    return 1 - np.unpackbits((a ^ b).view(np.uint8)).mean()


@few
@given(
    pair=st.lists(
        st.tuples(st.integers(0, 3), STREAMS, st.integers(0, 3)),
        min_size=2,
        max_size=2,
        unique=True,
    ),
    shift=st.sampled_from([0, 32, 60]),
)
def test_seeds_streams_and_epochs_are_decorrelated(pair, shift):
    samples = np.arange(256)
    a, b = (words(seed << shift, stream, samples, epoch) for seed, stream, epoch in pair)
    assert abs(equal_bits(a, b) - 0.5) < 0.02  # 7 standard deviations of 32,768 bits
    a, b = (permutation(256, seed << shift, stream, epoch) for seed, stream, epoch in pair)
    assert (a == b).sum() <= 10  # Poisson with mean 1


@few
@given(seed=SEEDS, bit=st.integers(0, 63))
def test_both_words_of_a_seed_are_used(seed, bit):
    samples = np.arange(64)
    a, b = (words(each, Stream.ORDER, samples) for each in (seed, seed ^ 1 << bit))
    assert abs(equal_bits(a, b) - 0.5) < 0.04
    assert derive_seed(seed, Stream.INIT) != derive_seed(seed ^ 1 << bit, Stream.INIT)


@given(seed=SEEDS, stream=STREAMS)
def test_a_derived_seed_suits_torch(seed, stream):
    assert 0 <= derive_seed(seed, stream) < 2**63


def test_derived_seeds_differ_by_seed_and_stream():
    assert len({derive_seed(seed, stream) for seed in range(50) for stream in Stream}) == 50 * len(
        Stream
    )
