"""An image folder: anyone's classes and sizes.

From files as they come, to the same splits every time.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from bench.data import image_folder
from bench.data.source import Dataset
from tests.unit.data.factory import data_config, moments


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


def write(
    folder: Path, count: int, seed: int, size: tuple[int, int] = (16, 16), suffix: str = ".png"
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    width, height = size
    for number in range(count):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}_{number}{suffix}")


@pytest.fixture
def root(tmp_path) -> Path:
    """Two classes of 20 images, and a test set of five each."""
    for seed, name in enumerate(("cats", "dogs")):
        write(tmp_path / "pets" / "train" / name, 20, seed)
        write(tmp_path / "pets" / "test" / name, 5, 10 + seed)
    return tmp_path / "pets"


def load(root: Path, **changes) -> Dataset:
    return image_folder.load(data_config(source="image_folder", dir=str(root), **changes))


def sizes(dataset: Dataset) -> list[int]:
    return [len(split.labels) for split in (dataset.train, dataset.val, dataset.test)]


def all_images(dataset: Dataset) -> np.ndarray:
    return np.concatenate([dataset.train.images, dataset.val.images, dataset.test.images])


def test_folders_are_classes_and_every_image_is_in_one_split(root):
    dataset = load(root)
    assert dataset.classes == ("cats", "dogs")
    assert sizes(dataset) == [36, 4, 10]
    label_of = {}
    for split in (dataset.train, dataset.val):
        for image, label in zip(split.images, split.labels, strict=True):
            label_of[image.tobytes()] = label
    assert len(label_of) == 40
    for path in (root / "train").rglob("*.png"):
        label = label_of[np.asarray(Image.open(path)).tobytes()]
        assert dataset.classes[label] == path.parent.name


def test_the_name_is_the_folders_with_a_digest(root):
    dataset = load(root)
    assert dataset.name == f"pets:{dataset.sha256[:12]}"


def test_without_a_test_folder_a_tenth_is_held_out(root):
    shutil.rmtree(root / "test")
    dataset = load(root)
    assert sizes(dataset) == [32, 4, 4]
    assert len({image.tobytes() for image in all_images(dataset)}) == 40


def test_the_moments_are_those_of_the_train_split(root):
    dataset = load(root)
    mean, std = moments(dataset.train.images)
    np.testing.assert_allclose(dataset.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(dataset.std, std, rtol=1e-9)


def test_images_of_one_colour_do_not_divide_by_zero(tmp_path):
    for level, name in enumerate(("black", "white")):
        folder = tmp_path / "flat" / "train" / name
        folder.mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (7, 255 * level, number)).save(folder / f"{number}.png")
    assert min(load(tmp_path / "flat").std) == pytest.approx(1 / 255)


@pytest.mark.parametrize(("width", "height"), [(40, 30), (30, 40), (12, 12)])
def test_another_size_is_torchvisions_crop_and_resize(tmp_path, width, height):
    for seed, name in enumerate("ab"):
        write(tmp_path / "x" / "train" / name, 10, seed, (width, height))
    dataset = load(tmp_path / "x", image_size=24)
    assert dataset.train.images.shape[1:] == (24, 24, 3)
    side = min(width, height)
    expected = set()
    for path in (tmp_path / "x").rglob("*.png"):
        middle = transforms.center_crop(Image.open(path), [side, side])
        resized = transforms.resize(middle, [24, 24], interpolation=InterpolationMode.BICUBIC)
        expected.add(np.asarray(resized).tobytes())
    assert {image.tobytes() for image in all_images(dataset)} == expected


def test_formats_and_modes_become_rgb(tmp_path):
    for name in "ab":
        write(tmp_path / "x" / "train" / name, 10, ord(name))
    train = tmp_path / "x" / "train"
    grey = Image.new("L", (16, 16), 100)
    grey.save(train / "a" / "grey.JPG")
    opaque = Image.new("RGBA", (16, 16), (1, 2, 3, 255))
    opaque.save(train / "b" / "opaque.webp", lossless=True)
    (train / "a" / "notes.txt").write_text("no image")
    images = all_images(load(tmp_path / "x"))
    assert len(images) == 22
    assert any((image == 100).all() for image in images)
    assert any((image == [1, 2, 3]).all() for image in images)


def test_an_image_held_sideways_is_put_upright(tmp_path):
    for name in "ab":
        write(tmp_path / "x" / "train" / name, 10, ord(name))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    Image.fromarray(pixels).save(tmp_path / "x" / "train" / "a" / "turned.png", exif=exif)
    images = all_images(load(tmp_path / "x"))
    upright = np.rot90(pixels, -1)
    assert any(np.array_equal(image, upright) for image in images)
    assert not any(np.array_equal(image, pixels) for image in images)


def test_the_second_load_decodes_nothing(root, monkeypatch):
    first = load(root)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("decoded again"))
    assert load(root).sha256 == first.sha256


def test_after_a_load_another_size_and_a_changed_byte_are_seen(root):
    first = load(root)
    assert load(root, image_size=8).train.images.shape[1:] == (8, 8, 3)
    Image.new("RGB", (16, 16), 9).save(next((root / "train" / "cats").iterdir()))
    assert load(root).sha256 != first.sha256


def test_where_the_folder_lies_makes_no_difference(root, tmp_path):
    first = load(root)
    again = load(shutil.copytree(root, tmp_path / "elsewhere" / "pets"))
    assert again.name == first.name
    assert again.sha256 == first.sha256
    np.testing.assert_array_equal(again.train.images, first.train.images)


def leave_one_class(root: Path) -> None:
    shutil.rmtree(root / "train" / "dogs")
    shutil.rmtree(root / "test" / "dogs")


def empty_a_class(root: Path) -> None:
    (root / "train" / "dogs" / "deeper").mkdir()
    for path in (root / "train" / "dogs").glob("*.png"):
        path.unlink()


def remove_the_training_images(root: Path) -> None:
    shutil.rmtree(root / "train")


def rename_a_test_class(root: Path) -> None:
    (root / "test" / "cats").rename(root / "test" / "fish")


def cut_an_image(root: Path) -> None:
    (root / "train" / "cats" / "0_3.png").write_bytes(b"\x89PNG")


def add_an_image_of_16_bits(root: Path) -> None:
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(root / "train" / "cats" / "deep.png")


def add_an_oblong_image(root: Path) -> None:
    Image.new("RGB", (16, 17)).save(root / "train" / "cats" / "z.png")


LAYOUT = "expected data.dir/train/<class>/"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (leave_one_class, f"train: found 1 classes, at least 2 are needed; {LAYOUT}"),
        (
            empty_a_class,
            "train: .*no valid file for the classes dogs.* extensions are: .jpg, .*; " + LAYOUT,
        ),
        (remove_the_training_images, f"train: No such file or directory; {LAYOUT}"),
        (rename_a_test_class, "test has the classes dogs, fish, train has cats, dogs"),
        (cut_an_image, "0_3.png cannot be read as an image: "),
        (
            add_an_image_of_16_bits,
            "deep.png cannot be read as an image: its values are of mode I;16; accepted: 8 bits",
        ),
        (
            add_an_oblong_image,
            "z.png: 16x17 px; without data.image_size all must be 16x16, as the first",
        ),
    ],
)
def test_what_is_wrong_is_named(root, spoil, sentence):
    spoil(root)
    with pytest.raises(ValueError, match=sentence):
        load(root)


def test_no_folder_named():
    with pytest.raises(ValueError, match=r"data.dir: image_folder needs a folder, which is null"):
        image_folder.load(data_config(source="image_folder"))
