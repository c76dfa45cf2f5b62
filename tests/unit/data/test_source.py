"""Splits depend on what the images are, never on the order in which a source holds them."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.source import Dataset, Split, Splits, content_sha256, cut, gather, subset
from tests.unit.data.factory import data_config, random_split, shuffled


@st.composite
def pools(draw, low=3, high=40):
    """Splits of tiny images, from so few values that equal images and equal pairs are common."""
    n = draw(st.integers(low, high))
    values = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    images = np.zeros((n, 2, 2, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = values
    return Split(images=images, labels=np.array(labels, dtype=np.int64))


def check_same(split: Split, expected: Split) -> None:
    assert np.array_equal(split.images, expected.images)
    assert np.array_equal(split.labels, expected.labels)


def check_same_splits(splits: Splits, expected: Splits) -> None:
    check_same(splits.train, expected.train)
    check_same(splits.val, expected.val)
    check_same(splits.test, expected.test)


def dataset(train: Split, test: Split) -> Dataset:
    splits = cut(gather(train, test), val=2)
    return Dataset(
        name="few",
        sha256="",
        classes=("a",),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        train=splits.train,
        val=splits.val,
        test=splits.test,
    )


def test_gathered_images_are_in_the_order_of_pixel_hash_then_label():
    split = random_split(50, seed=0, size=4)
    twice = Split(
        images=np.concatenate([split.images] * 2),
        labels=np.concatenate([split.labels + 1, split.labels]),
    )

    def hash_and_label(row: int) -> tuple[bytes, int]:
        return hashlib.sha256(twice.images[row].tobytes()).digest(), int(twice.labels[row])

    expected_rows = np.array(sorted(range(100), key=hash_and_label))
    check_same(gather(twice).train, twice.take(expected_rows))


@given(pools(), st.integers(0, 2**32 - 1))
def test_row_order_changes_neither_digest_nor_splits(split, seed):
    other = shuffled(split, seed)
    assert content_sha256(split) == content_sha256(other)
    other_splits = cut(gather(other), val=1, test=1)
    check_same_splits(other_splits, cut(gather(split), val=1, test=1))


@given(pools(), pools(), st.integers(0, 2**32 - 1))
def test_row_order_of_a_test_pool_changes_nothing(train, test, seed):
    splits = cut(gather(train, shuffled(test, seed)), val=1)
    check_same_splits(splits, cut(gather(train, test), val=1))


@given(pools(low=6), st.integers(1, 2), st.integers(1, 2))
def test_a_cut_keeps_every_image_once(split, val, test):
    parts = cut(gather(split), val=val, test=test)
    assert [len(part.labels) for part in parts] == [len(split.labels) - val - test, val, test]
    images = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    assert content_sha256(Split(images=images, labels=labels)) == content_sha256(split)


def test_a_test_pool_is_kept_whole_and_apart():
    train = random_split(20, seed=1)
    test = random_split(7, seed=2)
    splits = cut(gather(train, test), val=4)
    assert len(splits.train.labels) == 16
    assert len(splits.val.labels) == 4
    assert content_sha256(splits.test) == content_sha256(test)


def test_the_permutation_is_fixed():
    images = np.zeros((12, 1, 1, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(12)
    splits = cut(gather(Split(images=images, labels=np.arange(12))), val=3, test=2)
    assert splits.train.labels.tolist() == [5, 6, 7, 10, 11, 9, 1]
    assert splits.val.labels.tolist() == [8, 0, 3]
    assert splits.test.labels.tolist() == [4, 2]


def test_digest_sees_pixels_labels_shape_and_which_pool():
    split = random_split(6, seed=3, size=4)
    other = random_split(6, seed=4, size=4)
    other_pixel = split.images.copy()
    other_pixel[5, 3, 3, 2] ^= 1
    other_label = split.labels.copy()
    other_label[0] += 1
    other_shape = split.images.reshape(6, 2, 8, 3)
    digests = {
        content_sha256(split),
        content_sha256(Split(images=other_pixel, labels=split.labels)),
        content_sha256(Split(images=split.images, labels=other_label)),
        content_sha256(Split(images=other_shape, labels=split.labels)),
        content_sha256(split, other),
        content_sha256(other, split),
        content_sha256(Split(images=split.images[:5], labels=split.labels[:5])),
    }
    assert len(digests) == 7


def test_digest_sees_which_image_a_label_belongs_to():
    images = random_split(2, seed=5, size=4).images
    split = Split(images=images, labels=np.array([0, 1]))
    exchanged = Split(images=images, labels=np.array([1, 0]))
    assert content_sha256(split) != content_sha256(exchanged)


@pytest.mark.parametrize(
    ("images", "val", "test"), [(5, 5, 0), (5, 0, 1), (5, 1, 0), (5, 2, 3), (0, 0, 0)]
)
def test_an_empty_split_is_refused(images, val, test):
    with pytest.raises(ValueError, match=f"{images} images cannot be cut .* one is empty"):
        cut(gather(random_split(images, seed=6)), val=val, test=test)


def test_subset_takes_the_first_of_each_split():
    full = dataset(random_split(12, seed=7), random_split(5, seed=8))
    few = subset(full, data_config(train_samples=3, val_samples=1, test_samples=5))
    check_same(few.train, full.train.take(slice(3)))
    check_same(few.val, full.val.take(slice(1)))
    check_same(few.test, full.test.take(slice(5)))
    assert (few.name, few.sha256, few.mean) == (full.name, full.sha256, full.mean)


def test_without_numbers_a_subset_is_everything():
    full = dataset(random_split(12, seed=7), random_split(5, seed=8))
    check_same(subset(full, data_config()).train, full.train)


@pytest.mark.parametrize(("name", "most"), [("train", 10), ("val", 2), ("test", 5)])
def test_subset_refuses_more_than_there_are(name, most):
    full = dataset(random_split(12, seed=7), random_split(5, seed=8))
    config = data_config(**{f"{name}_samples": most + 1})
    with pytest.raises(ValueError, match=f"data.{name}_samples: {most + 1} .* at most {most}"):
        subset(full, config)
