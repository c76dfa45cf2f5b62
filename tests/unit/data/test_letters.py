"""The letters source: every drawing a function of its number, light on dark, drawn once a
machine.
"""

import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import ImageFont

from bench.data import cache, letters
from tests.unit.data.factory import data_config, moments

SOME = np.array([0, 5, 777, 6240, 12479])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(home, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(home))


@pytest.fixture(scope="module")
def data(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(home))
        start_s = time.process_time()
        loaded = letters.load(data_config(source="letters"))
        assert time.process_time() - start_s < 60  # 3 s of a CPU are usual
    return loaded


def test_splits(data):
    splits = (data.train, data.val, data.test)
    for split, count in zip(splits, (10_400, 1_040, 1_040), strict=True):
        assert split.images.shape == (count, 32, 32, 3)
    labels = np.concatenate([split.labels for split in splits])
    assert np.bincount(labels).tolist() == [240] * 52
    assert len(data.classes) == 52
    assert data.name == "letters"


def test_splits_share_no_image(data):
    seen = [
        image.tobytes() for split in (data.train, data.val, data.test) for image in split.images
    ]
    assert len(set(seen)) == len(seen) == 12_480


def test_mean_and_std_are_the_train_splits(data):
    mean, std = moments(data.train.images)
    assert np.allclose(
        mean, data.mean, atol=0.001
    )  # another FreeType may draw a little differently
    assert np.allclose(std, data.std, atol=0.001)


def test_strokes_are_lighter_than_their_ground(data):
    grey = data.train.images[..., 0].astype(int)
    assert np.array_equal(data.train.images[..., 0], data.train.images[..., 2])
    border = np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1)
    assert (np.median(border, axis=1) < grey.reshape(len(grey), -1).max(axis=1) - 30).mean() > 0.99
    assert np.median(border) < 64


def test_a_drawing_depends_on_its_number_only():
    drawn = letters.render(SOME)
    again = letters.render(SOME[::-1])
    assert np.array_equal(drawn.images, again.images[::-1])
    assert drawn.labels.tolist() == again.labels[::-1].tolist() == [0, 0, 3, 26, 51]
    assert np.array_equal(letters.render(SOME[2:3]).images, drawn.images[2:3])


def test_another_process_draws_the_same():
    code = (
        "import hashlib, sys, numpy as np\n"
        "from bench.data import letters\n"
        f"images = letters.render(np.array({SOME.tolist()})).images\n"
        "assert 'matplotlib' not in sys.modules\n"
        "print(hashlib.sha256(images.tobytes()).hexdigest())\n"
    )
    drawn = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert drawn == hashlib.sha256(letters.render(SOME).images.tobytes()).hexdigest()


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


def test_the_second_load_does_not_draw(data, monkeypatch):
    monkeypatch.setattr(letters, "render", lambda _: pytest.fail("drawn again"))
    again = letters.load(data_config(source="letters"))
    assert again.sha256 == data.sha256
    assert np.array_equal(again.train.images, data.train.images)


def test_the_fonts_are_the_twelve_text_fonts(monkeypatch):
    true_font = ImageFont.truetype
    paths = set()

    def font(path, *arguments, **named):
        paths.add(path)
        return true_font(path, *arguments, **named)

    monkeypatch.setattr(ImageFont, "truetype", font)
    letters.render(SOME)
    assert len(paths) == 12
    assert [path.name for path in paths if "Display" in path.name] == []


def test_a_changed_recipe_is_another_source(data, monkeypatch):
    true_load = cache.load
    keys = []

    def load_first(key, build):
        keys.append(key)
        return true_load(keys[0], build)

    monkeypatch.setattr(cache, "load", load_first)
    letters.load(data_config(source="letters"))
    letters.load(data_config(source="letters"))
    monkeypatch.setattr("PIL.__version__", "0.0")
    letters.load(data_config(source="letters"))
    first, second, after_a_change = keys
    assert first == second != after_a_change
