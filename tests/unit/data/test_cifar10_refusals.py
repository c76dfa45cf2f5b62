"""What is no CIFAR-10, a part of it or damaged is refused in one sentence, and not read."""

import itertools
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.data import cifar10, cifar10_decode
from tests.unit.data.cifar10_layouts import (
    BATCHES,
    BINARY,
    PYTHON,
    TEST,
    TEST_FILE,
    TRAIN,
    TRAIN_FILE,
    load,
)
from tests.unit.data.factory import (
    data_config,
    encode,
    write_batches,
    write_hugging_face,
    write_parquet,
    write_records,
)

pytestmark = pytest.mark.usefixtures("cifar10_cache")


def test_shards_of_too_many_images_in_all(tmp_path, monkeypatch):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    monkeypatch.setattr("bench.data.cifar10_read.MAX_IMAGES", 47)
    with pytest.raises(
        ValueError,
        match=rf"{TEST_FILE} is damaged or no file of CIFAR-10: with it there are 48 images; "
        "at most 47; accepted: ",
    ):
        load(tmp_path / "data")


@pytest.mark.parametrize(
    "name", ["file", "cifar-10.tar.gz", "cifar-10-matlab.tar.gz", "data_batch_1"]
)
def test_a_file_of_another_name(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("")
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / name))
    with pytest.raises(
        ValueError,
        match=rf"{name} .data.dir or CIFAR10_DIR. holds no CIFAR-10: found nothing; accepted: ",
    ):
        cifar10.load(data_config())


def test_folder_with_something_else(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="found nothing; accepted: "):
        load(tmp_path / "data")
    (tmp_path / "data" / "cifar-100-python.tar.gz").write_text("")
    with pytest.raises(ValueError, match=r"found cifar-100-python\.tar\.gz; accepted: "):
        load(tmp_path / "data")


FILES_OF_BATCHES = [
    *itertools.product(BATCHES, [write_batches]),
    *itertools.product(BINARY.files, [write_records]),
]


@pytest.mark.parametrize(("name", "write"), FILES_OF_BATCHES)
def test_a_batch_is_missing(tmp_path, name, write):
    write(tmp_path / "data", TRAIN, TEST)
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


@pytest.mark.parametrize("name", [PYTHON.archive, TRAIN_FILE, BATCHES[0]])
def test_a_huge_file_is_not_even_hashed(tmp_path, monkeypatch, name):
    write_hugging_face(tmp_path, TRAIN, TEST)
    if name in BATCHES:
        write_batches(tmp_path, TRAIN, TEST)
    with (tmp_path / name).open("ab") as file:
        file.truncate(1 << 40)  # takes no space
    monkeypatch.setattr(cifar10, "files_sha256", lambda _: pytest.fail("hashed"))
    most = {PYTHON.archive: 256 << 20, TRAIN_FILE: 1 << 30, BATCHES[0]: 32 << 20}[name]
    with pytest.raises(
        ValueError, match=rf"{name} has {1 << 40} bytes; at most {most}; accepted: "
    ):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 3000, -1])
def test_a_truncated_parquet(tmp_path, keep):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    path = tmp_path / "data" / TRAIN_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        ValueError, match=f"{TRAIN_FILE} is damaged or no file of CIFAR-10: .*; accepted: "
    ):
        load(tmp_path / "data")
    assert not [
        path
        for path in (tmp_path / "cache").rglob("*")
        if path.is_file() and path.suffix != ".lock"
    ]


@pytest.mark.parametrize(
    "content",
    [
        {"image": [1], "label": [1]},
        {"img": [b"x"], "label": [1]},
        {"img": [{"a": b""}], "label": [1]},
    ],
)
def test_a_parquet_of_something_else(tmp_path, content):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    pq.write_table(pa.table(content), tmp_path / "data" / TEST_FILE)
    with pytest.raises(
        ValueError, match=f"{TEST_FILE} is damaged or no file of CIFAR-10: .*; accepted: "
    ):
        load(tmp_path / "data")


@pytest.mark.parametrize(
    ("limit", "message"),
    [("MAX_IMAGES", "60001 rows"), ("MAX_PARQUET_BYTES", "in [0-9]+ bytes; at most .* in 1000")],
)
def test_a_parquet_that_says_it_is_too_large(tmp_path, monkeypatch, limit, message):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    if limit == "MAX_IMAGES":
        write_parquet(tmp_path / "data" / TRAIN_FILE, [None] * 60_001, [0] * 60_001)
        monkeypatch.setattr(cifar10_decode, "decode_image", lambda _: pytest.fail("read"))
    else:
        monkeypatch.setattr(cifar10_decode, limit, 1000)
    with pytest.raises(
        ValueError, match=f"parquet is damaged or no file of CIFAR-10: .*{message}.*; accepted: "
    ):
        load(tmp_path / "data")


def test_a_parquet_that_repeats_a_large_value(tmp_path):
    """50,000 times 8 MB from a file of 0.4 MB."""
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    images = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000), pa.array([bytes(8_000_000)]))
    encoded = pa.StructArray.from_arrays(
        [images.cast(pa.dictionary(pa.int32(), pa.binary()))], names=["bytes"]
    )
    table = pa.table({"img": encoded, "label": [0] * 50_000})
    pq.write_table(table, tmp_path / "data" / TEST_FILE, store_schema=False)
    with pytest.raises(
        ValueError, match=f"{TEST_FILE} is .*: an image of 8000000 bytes; accepted: "
    ):
        load(tmp_path / "data")
    assert pa.default_memory_pool().max_memory() < 500_000_000


def claimed_png(side: int) -> bytes:
    """A PNG whose header claims an image of side x side RGB pixels, and which holds none."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    )
    packed = [
        struct.pack(">I", len(raw)) + name + raw + struct.pack(">I", zlib.crc32(name + raw))
        for name, raw in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


SMALL = np.zeros((31, 32, 3), np.uint8)
GREY = np.zeros((32, 32), np.uint8)
BAD_IMAGES = {
    "size": (encode(SMALL), "32x31 RGB image"),
    "grey": (encode(GREY, "JPEG"), "32x32 L image"),
    "transparent": (encode(np.zeros((32, 32, 4), np.uint8)), "32x32 RGBA image"),
    "torn PNG": (encode(TRAIN.images[0])[:-60], "Error"),
    "torn JPEG": (encode(TRAIN.images[0], "JPEG")[:-60], "Error"),
    "bitmap": (encode(TRAIN.images[0], "BMP"), "UnidentifiedImageError"),
    "text": (b"<svg/>", "UnidentifiedImageError"),
    "null": (None, "an image of 0 bytes"),
    "claims 9,000": (claimed_png(9_000), "9000x9000 RGB image"),
    "claims 50,000": (claimed_png(50_000), "DecompressionBombError: .*2500000000 pixels"),
    "2 MiB": (encode(TRAIN.images[0]) + bytes(2 << 20), "an image of 2[0-9]{6} bytes"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_wrong_image(tmp_path, case):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    file, message = BAD_IMAGES[case]
    write_parquet(tmp_path / "data" / TEST_FILE, [encode(TEST.images[0]), file], [0, 1])
    with pytest.raises(ValueError, match=f"{TEST_FILE} is .*: .*{message}.*; accepted: "):
        load(tmp_path / "data")


@pytest.mark.parametrize("label", [-1, 10, None])
def test_a_wrong_label(tmp_path, label):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    files = [encode(image) for image in TEST.images[:2]]
    write_parquet(tmp_path / "data" / TEST_FILE, files, [0, label])
    with pytest.raises(
        ValueError, match=f"{TEST_FILE} is damaged or no file of CIFAR-10: .*label.*; accepted: "
    ):
        load(tmp_path / "data")
