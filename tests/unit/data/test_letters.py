"""The letters source: light letters on dark, each drawn from its number alone, once a machine."""

import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import ImageFont

from bench.data import letters
from tests.unit.data.factory import data_config, moments

SOME = np.array([0, 5, 777, 6240, 12479])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def letters_cache(home, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(home))


@pytest.fixture(scope="module")
def data(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(home))
        started_s = time.process_time()
        dataset = letters.load(data_config(source="letters"))
        assert time.process_time() - started_s < 60  # about 3 s of a processor
    return dataset


def all_images(data) -> np.ndarray:
    return np.concatenate([data.train.images, data.val.images, data.test.images])


def test_splits(data):
    assert data.train.images.shape == (10_400, 32, 32, 3)
    assert data.val.images.shape == (1_040, 32, 32, 3)
    assert data.test.images.shape == (1_040, 32, 32, 3)
    labels = np.concatenate([data.train.labels, data.val.labels, data.test.labels])
    assert np.bincount(labels).tolist() == [240] * 52
    assert len(data.classes) == 52
    assert data.name == "letters"


def test_splits_share_no_image(data):
    images = all_images(data)
    assert len(images) == 12_480
    assert len({image.tobytes() for image in images}) == 12_480


def test_mean_and_std_are_the_train_splits(data):
    """Nearly: another FreeType may draw a little differently."""
    mean, std = moments(data.train.images)
    assert np.allclose(mean, data.mean, atol=0.001)
    assert np.allclose(std, data.std, atol=0.001)


def test_strokes_are_lighter_than_their_ground(data):
    grey = data.train.images[..., 0].astype(int)
    assert np.array_equal(data.train.images[..., 0], data.train.images[..., 2])
    border = np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1)
    is_lighter = grey.max(axis=(1, 2)) > np.median(border, axis=1) + 30
    assert is_lighter.mean() > 0.99
    assert np.median(border) < 64


def test_a_drawing_depends_on_its_number_only():
    drawn = letters.render(SOME)
    reversed_order = letters.render(SOME[::-1])
    assert np.array_equal(drawn.images, reversed_order.images[::-1])
    assert drawn.labels.tolist() == [0, 0, 3, 26, 51]
    assert reversed_order.labels.tolist() == [51, 26, 3, 0, 0]
    assert np.array_equal(letters.render(SOME[2:3]).images, drawn.images[2:3])


def test_another_process_draws_the_same():
    code = (
        "import hashlib, sys, numpy as np\n"
        "from bench.data import letters\n"
        f"images = letters.render(np.array({SOME.tolist()})).images\n"
        "assert 'matplotlib' not in sys.modules\n"
        "print(hashlib.sha256(images.tobytes()).hexdigest())\n"
    )
    command = [sys.executable, "-c", code]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    images = letters.render(SOME).images
    assert child.stdout.strip() == hashlib.sha256(images.tobytes()).hexdigest()


def test_the_same_letter_is_drawn_in_many_ways():
    drawn = letters.render(np.arange(240))
    assert set(drawn.labels.tolist()) == {0}
    assert len({image.tobytes() for image in drawn.images}) == 240


def test_noise_is_close_to_normal():
    noise = letters._noise(np.arange(40))
    assert noise.shape == (40, 32, 32)
    assert abs(noise.mean()) < 2
    assert noise.std() == pytest.approx(148, rel=0.02)
    assert len(np.unique(noise.reshape(40, -1), axis=0)) == 40


class DrawnError(Exception):
    """Raised where a letter would be drawn."""


def draw_nothing(samples) -> None:
    raise DrawnError


def test_the_second_load_does_not_draw(data, monkeypatch):
    monkeypatch.setattr(letters, "render", draw_nothing)
    again = letters.load(data_config(source="letters"))
    assert again.sha256 == data.sha256
    assert np.array_equal(again.train.images, data.train.images)


def test_another_pillow_draws_anew(data, monkeypatch):
    monkeypatch.setattr(letters, "render", draw_nothing)
    monkeypatch.setattr("PIL.__version__", "0.0")
    with pytest.raises(DrawnError):
        letters.load(data_config(source="letters"))


def test_the_fonts_are_the_twelve_text_fonts(monkeypatch):
    paths = set()
    plain_truetype = ImageFont.truetype

    def watched_truetype(path, *arguments, **options):
        paths.add(path)
        return plain_truetype(path, *arguments, **options)

    monkeypatch.setattr(ImageFont, "truetype", watched_truetype)
    letters.render(SOME)
    assert len(paths) == 12
    assert all(path.is_file() for path in paths)
    assert not any("Display" in path.name for path in paths)
