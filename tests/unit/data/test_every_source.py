"""What every source gives that needs neither files nor a download."""

import numpy as np
import pytest

from bench import registry
from bench.data.source import Dataset
from tests.unit.data.factory import data_config

SOURCES = ["digits", "synthetic"]  # test_letters.py says more of letters


def make(source: str) -> Dataset:
    config = data_config(source=source, train_samples=600, val_samples=100, test_samples=100)
    return registry.resolve("source", source)(config)


@pytest.fixture(scope="module", params=SOURCES)
def source(request):
    return request.param


@pytest.fixture(scope="module")
def dataset(source):
    return make(source)


def test_images_are_square_bytes_in_three_channels(dataset):
    for split in (dataset.train, dataset.val, dataset.test):
        count, height, width, channels = split.images.shape
        assert count > 0
        assert height == width
        assert channels == 3
        assert split.images.dtype == np.uint8


def test_labels_are_class_indices_and_every_class_is_in_every_split(dataset):
    classes = set(range(len(dataset.classes)))
    for split in (dataset.train, dataset.val, dataset.test):
        assert split.labels.shape == split.images.shape[:1]
        assert split.labels.dtype == np.int64
        assert set(split.labels.tolist()) == classes


def test_splits_share_no_image(dataset):
    images = [
        image.tobytes()
        for split in (dataset.train, dataset.val, dataset.test)
        for image in split.images
    ]
    assert len(set(images)) == len(images)


def test_mean_and_deviation_are_near_those_of_train(dataset):
    pixels = dataset.train.images.reshape(-1, 3) / 255
    np.testing.assert_allclose(dataset.mean, pixels.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(dataset.std, pixels.std(axis=0), atol=0.01)


def test_it_gives_the_same_images_again(source, dataset):
    again = make(source)
    assert again.sha256 == dataset.sha256
    assert np.array_equal(again.train.images, dataset.train.images)
    assert np.array_equal(again.val.labels, dataset.val.labels)
