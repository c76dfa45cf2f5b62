"""What DALI is fed, beside the same drawn one sample at a time, and how long it is kept."""

import gc
import weakref

import numpy as np
import pytest
import torch

from bench.data.feed import FeedMaker
from bench.data.order import Rows
from kernels.augment.reference import draw_numbers, draws, middle
from tests.unit.data.test_loaders import HEIGHT, WIDTH, make_spec, make_split

KEPT = 4


def make_maker(**changes) -> FeedMaker:
    split = make_split()
    augmentation = make_spec(**changes).augmentation
    images = split.images  # stands for the padded ones: feeds do not look into them
    return FeedMaker(images, split.labels, augmentation, size=(HEIGHT, WIDTH), kept=KEPT)


def make_rows(epoch: int, samples: list[int]) -> Rows:
    return Rows(seed=3, epoch=epoch, samples=np.array(samples))


# Epochs and samples that are asked of one maker, one after another.
REQUESTS = [(0, [5, 2, 44]), (1, [0]), (1, [7, 7, 1]), (0, [5]), (9, [3, 4])]


def drawn_for(epoch: int, samples: list[int], pad: int, flip: str) -> list[np.ndarray]:
    """Top, left, mirror and the word of the cutout, as the op draws them."""
    numbers = draw_numbers(3, epoch, torch.device("cpu"))
    return [words.numpy() for words in draws(torch.tensor(samples), numbers, pad, flip)]


@pytest.mark.parametrize("flip", ["none", "random", "alternating"])
@pytest.mark.parametrize(("pad", "cutout"), [(0, 0), (3, 0), (4, 3)])
def test_a_feed_is_what_is_drawn_for_its_samples_alone(pad, cutout, flip):
    split = make_split()
    maker = make_maker(pad=pad, cutout=cutout, flip=flip)
    for epoch, samples in REQUESTS:
        feed = maker.make(make_rows(epoch, samples))
        top, left, mirror, _ = drawn_for(epoch, samples, pad, flip)
        assert np.array_equal(feed.images, split.images[samples])
        assert np.array_equal(feed.labels, split.labels[samples])
        assert feed.samples.tolist() == samples
        assert np.array_equal(feed.crop_x * np.float32(2 * pad), left)
        assert np.array_equal(feed.crop_y * np.float32(2 * pad), top)
        assert np.array_equal(feed.mirror, mirror)
        dtypes = [array.dtype.name for array in feed[3:6]]
        assert dtypes == ["float32", "float32", "int32"]


@pytest.mark.parametrize("flip", ["none", "random", "alternating"])
def test_a_feeds_corners_are_drawn_for_its_samples_alone(flip):
    pad = 4
    cutout = 3
    maker = make_maker(pad=pad, cutout=cutout, flip=flip)
    for epoch, samples in REQUESTS:
        feed = maker.make(make_rows(epoch, samples))
        *_, word = drawn_for(epoch, samples, pad, flip)
        corner = np.stack(middle(word, HEIGHT, WIDTH), axis=1) - cutout // 2
        assert feed.cutout_corner.dtype == np.float32
        assert np.array_equal(feed.cutout_corner, corner)


def test_without_a_cutout_a_feed_has_no_corner():
    assert make_maker(pad=3, cutout=0).make(make_rows(0, [5, 2])).cutout_corner is None


def test_another_seed_is_drawn_anew():
    maker = make_maker()
    samples = np.arange(20)
    feeds = [maker.make(Rows(seed=seed, epoch=0, samples=samples)) for seed in (3, 4, 3)]
    assert not np.array_equal(feeds[0].crop_x, feeds[1].crop_x)
    assert np.array_equal(feeds[0].crop_x, feeds[2].crop_x)


def test_feeds_share_no_memory_with_each_other_or_the_split():
    maker = make_maker(cutout=3)
    first = maker.make(make_rows(0, [1, 2]))
    second = maker.make(make_rows(0, [1, 2]))
    for field in ("images", "labels", "crop_x", "crop_y", "mirror", "cutout_corner"):
        assert not np.shares_memory(getattr(first, field), getattr(second, field))


def test_the_newest_feeds_are_kept_and_older_ones_let_go():
    maker = make_maker()
    images = [weakref.ref(maker.make(make_rows(0, [number])).images) for number in range(10)]
    gc.collect()
    alive = [number for number, image in enumerate(images) if image() is not None]
    assert alive == [6, 7, 8, 9]
