"""CIFAR-10 from both published layouts, and one clear sentence for everything else that may lie there."""

import hashlib
import io
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench.data import cifar10
from bench.data.source import content_sha256, gather
from tests.unit.data.factory import (
    Python2Pickler,
    data_config,
    encode,
    moments,
    random_split,
    shuffled,
    write_batch,
    write_batches,
    write_hugging_face,
    write_parquet,
)

TRAIN, TEST = random_split(40, seed=1), random_split(8, seed=2)
REAL = os.environ.get("CIFAR10_DIR")
TRAIN_FILE, TEST_FILE = "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CIFAR10_DIR", raising=False)


def load(folder: Path, **changes):
    return cifar10.load(data_config(dir=str(folder), **changes))


def same(a, b) -> bool:
    splits = [(getattr(a, name), getattr(b, name)) for name in ("train", "val", "test")]
    return a.sha256 == b.sha256 and all(
        np.array_equal(x.images, y.images) and np.array_equal(x.labels, y.labels) for x, y in splits
    )


def test_both_layouts_give_the_same_dataset(tmp_path):
    write_hugging_face(tmp_path / "parquet", TRAIN, TEST)
    write_batches(tmp_path / "batches", TRAIN, TEST)
    a, b = load(tmp_path / "parquet"), load(tmp_path / "batches")
    assert same(a, b)
    assert a.sha256 == content_sha256(TRAIN, TEST)
    assert [len(s.labels) for s in (a.train, a.val, a.test)] == [36, 4, 8]
    assert a.name == b.name == f"cifar10-unverified:{a.sha256[:12]}"
    assert a.train.images.dtype == np.uint8
    assert a.train.labels.dtype == np.int64


def test_row_order_and_shards_make_no_difference(tmp_path):
    write_hugging_face(tmp_path / "a", TRAIN, TEST)
    other_train, other_test = shuffled(TRAIN, seed=3), shuffled(TEST, seed=4)
    write_batches(tmp_path / "b", other_train, other_test)
    write_hugging_face(tmp_path / "c", other_train, other_test)
    (tmp_path / "c" / TRAIN_FILE).unlink()
    for i, rows in enumerate((slice(25), slice(25, None))):
        part = other_train.take(rows)
        name = f"train-{i:05d}-of-00002.parquet"
        write_parquet(tmp_path / "c" / name, [encode(x) for x in part.images], part.labels.tolist())
    assert same(load(tmp_path / "a"), load(tmp_path / "b"))
    assert same(load(tmp_path / "a"), load(tmp_path / "c"))


@pytest.mark.parametrize(("below", "write"), [("plain_text", write_hugging_face), ("cifar-10-batches-py", write_batches)])
def test_files_may_lie_one_folder_below(tmp_path, monkeypatch, below, write):
    write(tmp_path / "data" / below, TRAIN, TEST)
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / "data"))
    assert cifar10.load(data_config()).sha256 == content_sha256(TRAIN, TEST)


def test_the_config_comes_before_the_environment(tmp_path, monkeypatch):
    write_hugging_face(tmp_path / "a", TRAIN, TEST)
    write_hugging_face(tmp_path / "b", TEST, TRAIN)
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / "b"))
    assert load(tmp_path / "a").sha256 == content_sha256(TRAIN, TEST)


def test_batches_come_before_parquet(tmp_path):
    write_hugging_face(tmp_path / "both", TEST, TRAIN)
    write_batches(tmp_path / "both", TRAIN, TEST)
    assert load(tmp_path / "both").sha256 == content_sha256(TRAIN, TEST)


def test_samples_take_the_first_of_each_split(tmp_path):
    write_batches(tmp_path / "data", TRAIN, TEST)
    few, whole = load(tmp_path / "data", train_samples=5, test_samples=2), load(tmp_path / "data")
    assert np.array_equal(few.train.images, whole.train.images[:5])
    assert (len(few.val.labels), len(few.test.labels)) == (4, 2)


def test_second_load_does_not_decode(tmp_path, monkeypatch):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    first = load(tmp_path / "data")
    monkeypatch.setattr(cifar10, "decode_image", lambda _: pytest.fail("decoded again"))
    assert same(first, load(tmp_path / "data"))
    write_hugging_face(tmp_path / "other", TEST, TRAIN)
    with pytest.raises(pytest.fail.Exception, match="decoded again"):
        load(tmp_path / "other")


def test_known_md5s_prove_the_original(tmp_path, monkeypatch):
    write_batches(tmp_path / "data", TRAIN, TEST)
    known = {name: hashlib.md5((tmp_path / "data" / name).read_bytes()).hexdigest() for name in cifar10.KNOWN_MD5}
    monkeypatch.setattr(cifar10, "KNOWN_MD5", known)
    assert load(tmp_path / "data").name == "cifar10"
    for name in known:
        monkeypatch.setattr(cifar10, "KNOWN_MD5", known | {name: "0" * 32})
        assert load(tmp_path / "data").name.startswith("cifar10-unverified:")


def test_known_content_proves_the_original(tmp_path, monkeypatch):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    monkeypatch.setattr(cifar10, "KNOWN_SHA256", (content_sha256(TRAIN, TEST),))
    assert load(tmp_path / "data").name == "cifar10"


def test_jpeg_is_read_and_is_not_the_original(tmp_path):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    files = [encode(image, "JPEG") for image in TRAIN.images]
    write_parquet(tmp_path / "data" / TRAIN_FILE, files, TRAIN.labels.tolist())
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    lossy = gather(type(TRAIN)(images=pixels, labels=TRAIN.labels), TEST)
    assert load(tmp_path / "data").sha256 == lossy.sha256 != content_sha256(TRAIN, TEST)


def test_no_folder_named():
    with pytest.raises(ValueError, match=r"set data\.dir in the config or CIFAR10_DIR in the environment"):
        cifar10.load(data_config())


def test_folder_missing_or_a_file(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"data\.dir: '.*nowhere' is not a folder; accepted: "):
        load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"CIFAR10_DIR: '.*file' is not a folder; accepted: "):
        cifar10.load(data_config())


def test_folder_with_something_else(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="found nothing; accepted: "):
        load(tmp_path / "data")
    (tmp_path / "data" / "cifar-10-python.tar.gz").write_text("")
    with pytest.raises(ValueError, match=r"found cifar-10-python\.tar\.gz; accepted: .* unpacked"):
        load(tmp_path / "data")


@pytest.mark.parametrize("name", cifar10.KNOWN_MD5)
def test_a_batch_is_missing(tmp_path, name):
    write_batches(tmp_path / "data", TRAIN, TEST)
    (tmp_path / "data" / name).unlink()
    with pytest.raises(ValueError, match=f"a part of CIFAR-10, without {name}; accepted: "):
        load(tmp_path / "data")


def test_a_shard_is_missing(tmp_path):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    (tmp_path / "data" / TRAIN_FILE).rename(tmp_path / "data" / "train-00001-of-00002.parquet")
    with pytest.raises(ValueError, match=r"without train-00000-of-00002\.parquet; accepted: "):
        load(tmp_path / "data")
    (tmp_path / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match=r"without train-\*\.parquet; accepted: "):
        load(tmp_path / "data")


@pytest.mark.parametrize("keep", [0, 10, 3000, -1])
def test_a_truncated_parquet(tmp_path, keep):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    path = tmp_path / "data" / TRAIN_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"{TRAIN_FILE} is damaged or no CIFAR-10 parquet: .*; accepted: "):
        load(tmp_path / "data")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "content", [{"image": [1], "label": [1]}, {"img": [b"x"], "label": [1]}, {"img": [{"a": b""}], "label": [1]}]
)
def test_a_parquet_of_something_else(tmp_path, content):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    pq.write_table(pa.table(content), tmp_path / "data" / TEST_FILE)
    with pytest.raises(ValueError, match=f"{TEST_FILE} is damaged or no CIFAR-10 parquet: .*; accepted: "):
        load(tmp_path / "data")


SMALL, GREY = np.zeros((31, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
BAD_IMAGES = {
    "size": (encode(SMALL), "32x31 RGB image"),
    "grey": (encode(GREY, "JPEG"), "32x32 L image"),
    "transparent": (encode(np.zeros((32, 32, 4), np.uint8)), "32x32 RGBA image"),
    "torn PNG": (encode(TRAIN.images[0])[:-60], "Error"),
    "torn JPEG": (encode(TRAIN.images[0], "JPEG")[:-60], "Error"),
    "bitmap": (encode(TRAIN.images[0], "BMP"), "UnidentifiedImageError"),
    "text": (b"<svg/>", "UnidentifiedImageError"),
    "null": (None, "Error"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_wrong_image(tmp_path, case):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    file, told = BAD_IMAGES[case]
    write_parquet(tmp_path / "data" / TEST_FILE, [encode(TEST.images[0]), file], [0, 1])
    with pytest.raises(ValueError, match=f"{TEST_FILE}, row 1: .*{told}.*; accepted: PNG or JPEG, 32x32 RGB"):
        load(tmp_path / "data")


@pytest.mark.parametrize("label", [-1, 10, None])
def test_a_wrong_label(tmp_path, label):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    files = [encode(image) for image in TEST.images[:2]]
    write_parquet(tmp_path / "data" / TEST_FILE, files, [0, label])
    with pytest.raises(ValueError, match=f"{TEST_FILE}: .*label.*; accepted: "):
        load(tmp_path / "data")


class Malicious:
    def __init__(self, mark: Path, function=os.system) -> None:
        self.call = (function, (f"touch {mark}",))

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, np.load])
def test_a_malicious_batch_is_refused_and_not_run(tmp_path, protocol, function):
    write_batches(tmp_path / "data", TRAIN, TEST)
    mark = tmp_path / "run"
    harm = pickle.dumps({b"data": Malicious(mark, function), b"labels": []}, protocol=protocol)
    (tmp_path / "data" / "data_batch_3").write_bytes(harm)
    with pytest.raises(ValueError, match=r"data_batch_3 is damaged or no CIFAR-10 batch: .*it names .*, which no"):
        load(tmp_path / "data")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["system", "numpy.ndarray", "ndarray.tofile", "memmap", "_reconstruct"])
def test_only_three_names_are_known(name):
    unpickler = cifar10._BatchUnpickler(io.BytesIO(b""), encoding="bytes")
    with pytest.raises(ValueError, match="which no CIFAR-10 batch does"):
        unpickler.find_class("numpy", name)


def test_numpy_itself_is_never_called():
    names = [("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")]
    found = [cifar10._BatchUnpickler(io.BytesIO(b"")).find_class(*name) for name in names]
    assert {thing.__module__ for thing in found} == {cifar10.__name__}


BAD_BATCHES = {
    "shape": {"data": np.zeros((8, 3071), np.uint8)},
    "cube": {"data": np.zeros((8, 32, 32, 3), np.uint8)},
    "type": {"data": np.zeros((8, 3072), np.float32)},
    "signed": {"data": np.zeros((8, 3072), np.int8)},
    "objects": {"data": np.zeros((8, 3072), object)},
    "no array": {"data": b"\0" * 3072 * 8},
    "no list": {"labels": 3},
    "fewer labels": {"labels": [0] * 7},
    "fractions": {"labels": [0.5] * 8},
    "names": {"labels": [b"cat"] * 8},
    "ragged": {"labels": [[0], [1, 2]]},
    "label 10": {"labels": [10] * 8},
    "label -1": {"labels": [-1] * 8},
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_a_batch_of_something_else(tmp_path, case):
    write_batches(tmp_path / "data", TRAIN, TEST)
    write_batch(tmp_path / "data" / "test_batch", TEST, **BAD_BATCHES[case])
    with pytest.raises(ValueError, match=r"test_batch.*; accepted: "):
        load(tmp_path / "data")


@pytest.mark.parametrize("keep", [0, 1, 100, 5000, -1])
def test_a_truncated_batch(tmp_path, keep):
    write_batches(tmp_path / "data", TRAIN, TEST)
    path = tmp_path / "data" / "data_batch_2"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"data_batch_2 is damaged or no CIFAR-10 batch: .*; accepted: "):
        load(tmp_path / "data")


def test_a_pickle_of_cifar100_is_told(tmp_path):
    write_batches(tmp_path / "data", TRAIN, TEST)
    with (tmp_path / "data" / "test_batch").open("wb") as file:
        Python2Pickler(file, protocol=2).dump({b"data": np.zeros((1, 3072), np.uint8), b"fine_labels": [1]})
    with pytest.raises(ValueError, match="KeyError: b'labels'"):
        load(tmp_path / "data")


def test_arrays_in_fortran_order_and_of_python_3(tmp_path):
    write_batches(tmp_path / "data", TRAIN, TEST)
    pixels = np.ascontiguousarray(TEST.images.transpose(0, 3, 1, 2)).reshape(8, -1)
    batch = {b"data": np.asfortranarray(pixels), b"labels": TEST.labels.tolist()}
    (tmp_path / "data" / "test_batch").write_bytes(pickle.dumps(batch, protocol=4))
    assert load(tmp_path / "data").sha256 == content_sha256(TRAIN, TEST)


@pytest.mark.skipif(not REAL, reason="CIFAR10_DIR is not set")
def test_real_images(capsys):
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        data = cifar10.load(data_config(dir=REAL))
        seconds.append(time.perf_counter() - start)
    with capsys.disabled():
        print(f"\nCIFAR-10: decoded in {seconds[0]:.1f} s, from the cache in {seconds[1]:.2f} s, {data.name}")
    assert [len(split.labels) for split in (data.train, data.val, data.test)] == [45_000, 5_000, 10_000]
    assert np.bincount(np.concatenate([data.train.labels, data.val.labels])).tolist() == [5_000] * 10
    assert np.bincount(data.test.labels).tolist() == [1_000] * 10
    assert data.name in ("cifar10", f"cifar10-unverified:{data.sha256[:12]}")
    mean, std = moments(data.train.images)
    assert np.allclose(mean, data.mean, atol=0.001)
    assert np.allclose(std, data.std, atol=0.003)  # JPEG takes a little of it away
    assert seconds[1] < seconds[0] / 3
