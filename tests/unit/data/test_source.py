"""Splits depend on what the images are, never on the order in which a source holds them."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.source import Dataset, Split, content_sha256, cut, gather, subset
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


def same(a: Split, b: Split) -> bool:
    return np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels)


def dataset(train: Split, test: Split) -> Dataset:
    facts = {"name": "few", "sha256": "", "classes": ("a",), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    return Dataset(**facts, **cut(gather(train, test), val=2)._asdict())


def test_gathered_images_are_in_the_order_of_pixel_hash_then_label():
    split = random_split(50, seed=0, size=4)
    twice = Split(
        images=np.concatenate([split.images] * 2),
        labels=np.concatenate([split.labels + 1, split.labels]),
    )
    expected = sorted(
        range(100),
        key=lambda row: (
            hashlib.sha256(twice.images[row].tobytes()).digest(),
            int(twice.labels[row]),
        ),
    )
    assert same(gather(twice).train, twice.take(np.array(expected)))


@given(pools(), st.integers(0, 2**32 - 1))
def test_row_order_changes_neither_digest_nor_splits(split, seed):
    other = shuffled(split, seed)
    assert content_sha256(split) == content_sha256(other)
    a = cut(gather(split), val=1, test=1)
    b = cut(gather(other), val=1, test=1)
    assert all(same(part, other_part) for part, other_part in zip(a, b, strict=True))


@given(pools(), pools(), st.integers(0, 2**32 - 1))
def test_row_order_of_a_test_pool_changes_nothing(train, test, seed):
    a = cut(gather(train, test), val=1)
    b = cut(gather(train, shuffled(test, seed)), val=1)
    assert all(same(part, other_part) for part, other_part in zip(a, b, strict=True))


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
    assert (len(splits.train.labels), len(splits.val.labels)) == (16, 4)
    assert content_sha256(splits.test) == content_sha256(test)


def test_the_permutation_is_fixed():
    images = np.zeros((12, 1, 1, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(12)
    splits = cut(gather(Split(images=images, labels=np.arange(12))), val=3, test=2)
    assert [part.labels.tolist() for part in splits] == [
        [5, 6, 7, 10, 11, 9, 1],
        [8, 0, 3],
        [4, 2],
    ]


def test_digest_sees_pixels_labels_shape_and_which_pool():
    split = random_split(6, seed=3, size=4)
    other = random_split(6, seed=4, size=4)
    pixel = split.images.copy()
    label = split.labels.copy()
    pixel[5, 3, 3, 2] ^= 1
    label[0] += 1
    flat = split.images.reshape(6, 2, 8, 3)
    digests = {
        content_sha256(split),
        content_sha256(Split(images=pixel, labels=split.labels)),
        content_sha256(Split(images=split.images, labels=label)),
        content_sha256(Split(images=flat, labels=split.labels)),
        content_sha256(split, other),
        content_sha256(other, split),
        content_sha256(Split(images=split.images[:5], labels=split.labels[:5])),
    }
    assert len(digests) == 7


def test_digest_sees_which_image_a_label_belongs_to():
    split = random_split(2, seed=5, size=4)
    a = Split(images=split.images, labels=np.array([0, 1]))
    assert content_sha256(a) != content_sha256(Split(images=split.images, labels=np.array([1, 0])))


@pytest.mark.parametrize(
    ("images", "val", "test"), [(5, 5, 0), (5, 0, 1), (5, 1, 0), (5, 2, 3), (0, 0, 0)]
)
def test_an_empty_split_is_refused(images, val, test):
    with pytest.raises(ValueError, match=f"{images} images cannot be cut .* one is empty"):
        cut(gather(random_split(images, seed=6)), val=val, test=test)


def test_subset_takes_the_first_of_each_split():
    full = dataset(random_split(12, seed=7), random_split(5, seed=8))
    few = subset(full, data_config(train_samples=3, val_samples=1, test_samples=5))
    for name, samples in (("train", 3), ("val", 1), ("test", 5)):
        assert same(getattr(few, name), getattr(full, name).take(slice(samples)))
    assert (few.name, few.sha256, few.mean) == (full.name, full.sha256, full.mean)
    assert same(subset(full, data_config()).train, full.train)


@pytest.mark.parametrize(("name", "most"), [("train", 10), ("val", 2), ("test", 5)])
def test_subset_refuses_more_than_there_are(name, most):
    full = dataset(random_split(12, seed=7), random_split(5, seed=8))
    with pytest.raises(ValueError, match=rf"data.{name}_samples: {most + 1} .* at most {most}"):
        subset(full, data_config(**{f"{name}_samples": most + 1}))
