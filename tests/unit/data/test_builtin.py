"""The digits source: sizes, disjoint splits, and an enlargement that keeps what is drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bench.data import builtin
from tests.unit.data.factory import data_config, moments


@pytest.fixture(scope="module")
def data():
    return builtin.digits(data_config(source="digits"))


def test_splits(data):
    assert data.train.images.shape == (1197, 32, 32, 3)
    assert data.val.images.shape == (300, 32, 32, 3)
    assert data.test.images.shape == (300, 32, 32, 3)
    for split in (data.train, data.val, data.test):
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert set(split.labels.tolist()) == set(range(10))
        assert np.bincount(split.labels).min() > 0.07 * len(split.labels)


def test_splits_share_no_image(data):
    """No two of the 1,797 images are equal, neither as published nor enlarged."""
    images = np.concatenate([data.train.images, data.val.images, data.test.images])
    assert len(images) == 1797
    assert len({image.tobytes() for image in images}) == 1797


def test_identity(data):
    assert data.name == "digits"
    assert data.classes == tuple("0123456789")
    assert data.sha256 == "7464e8277efcfd802425c3df6e6a045cbbe4ed3469493102836eb4d5d92d8017"


def test_mean_and_std_are_the_train_splits(data):
    mean, std = moments(data.train.images)
    assert np.allclose(mean, data.mean, atol=5e-5)
    assert np.allclose(std, data.std, atol=5e-5)


def test_images_are_grey_bright_strokes_on_black(data):
    images = data.train.images
    assert np.array_equal(images[..., 0], images[..., 1])
    assert np.array_equal(images[..., 0], images[..., 2])
    assert (images[:, ::31, ::31] < 64).mean() > 0.7
    assert images.max() == 255


def test_labels_belong_to_their_images(data):
    from sklearn.datasets import load_digits

    published = load_digits()
    label_of = {}
    for image, label in zip(published.images, published.target, strict=True):
        label_of[builtin.enlarge(image[None]).tobytes()] = label
    for split in (data.train, data.val, data.test):
        assert [label_of[image.tobytes()] for image in split.images] == split.labels.tolist()


def test_one_pixel_enlarged():
    values = np.zeros((1, 8, 8))
    values[0, 3, 5] = 16
    large = builtin.enlarge(values)[0, ..., 0]
    profile = np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 8
    expected = np.zeros((32, 32))
    expected[10:18, 18:26] = np.outer(profile, profile) * 255
    assert np.abs(large - expected).max() <= 0.5


@settings(max_examples=25)
@given(arrays.arrays(np.float64, (2, 8, 8), elements=st.integers(0, 16).map(float)))
def test_enlarging_is_bilinear(values):
    """Against numpy's own interpolation, between the centres of pixels and with edges repeated."""
    places = (np.arange(32) + 0.5) / 4 - 0.5

    def enlarged(line: np.ndarray) -> np.ndarray:
        return np.interp(places, np.arange(8), line)

    rows = np.apply_along_axis(enlarged, 1, values)
    expected = np.apply_along_axis(enlarged, 2, rows) * 255 / 16
    assert np.abs(builtin.enlarge(values)[..., 0] - expected).max() <= 0.5 + 1e-9
