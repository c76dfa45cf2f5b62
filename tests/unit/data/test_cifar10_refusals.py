"""What is no CIFAR-10, a part of it or damaged is refused in one sentence, and not read."""

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
DAMAGED = "is damaged or no file of CIFAR-10"


def check_refused(tmp_path, sentence: str) -> None:
    """Load tmp_path/data; the refusal ends with what would be accepted."""
    with pytest.raises(ValueError, match=f"{sentence}; accepted: "):
        load(tmp_path / "data")


def test_shards_of_too_many_images_in_all(tmp_path, monkeypatch):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    monkeypatch.setattr("bench.data.cifar10_read.MAX_IMAGES", 47)
    check_refused(tmp_path, f"{TEST_FILE} {DAMAGED}: with it there are 48 images; at most 47")


@pytest.mark.parametrize(
    "name", ["file", "cifar-10.tar.gz", "cifar-10-matlab.tar.gz", "data_batch_1"]
)
def test_a_file_of_another_name(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("")
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / name))
    message = f"{name} .data.dir or CIFAR10_DIR. holds no CIFAR-10: found nothing; accepted: "
    with pytest.raises(ValueError, match=message):
        cifar10.load(data_config())


def test_folder_with_something_else(tmp_path):
    (tmp_path / "data").mkdir()
    check_refused(tmp_path, "found nothing")
    (tmp_path / "data" / "cifar-100-python.tar.gz").write_text("")
    check_refused(tmp_path, r"found cifar-100-python\.tar\.gz")


@pytest.mark.parametrize("name", BATCHES)
def test_a_python_batch_is_missing(tmp_path, name):
    write_batches(tmp_path / "data", TRAIN, TEST)
    (tmp_path / "data" / name).unlink()
    check_refused(tmp_path, f"a part of CIFAR-10, without {name}")


@pytest.mark.parametrize("name", BINARY.files)
def test_a_binary_batch_is_missing(tmp_path, name):
    write_records(tmp_path / "data", TRAIN, TEST)
    (tmp_path / "data" / name).unlink()
    check_refused(tmp_path, f"a part of CIFAR-10, without {name}")


def test_a_shard_is_missing(tmp_path):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    second_shard = tmp_path / "data" / "train-00001-of-00002.parquet"
    (tmp_path / "data" / TRAIN_FILE).rename(second_shard)
    check_refused(tmp_path, r"without train-00000-of-00002\.parquet")
    second_shard.unlink()
    check_refused(tmp_path, r"without train-\*\.parquet")


@pytest.mark.parametrize(
    ("name", "most_bytes"),
    [(PYTHON.archive, 256 << 20), (TRAIN_FILE, 1 << 30), (BATCHES[0], 32 << 20)],
)
def test_a_huge_file_is_not_even_hashed(tmp_path, monkeypatch, name, most_bytes):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    if name in BATCHES:
        write_batches(tmp_path / "data", TRAIN, TEST)
    with (tmp_path / "data" / name).open("ab") as file:
        file.truncate(1 << 40)  # takes no space
    monkeypatch.setattr(cifar10, "files_sha256", lambda _: pytest.fail("hashed"))
    check_refused(tmp_path, f"{name} has {1 << 40} bytes; at most {most_bytes}")


@pytest.mark.parametrize("keep", [0, 10, 3000, -1])
def test_a_truncated_parquet(tmp_path, keep):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    path = tmp_path / "data" / TRAIN_FILE
    path.write_bytes(path.read_bytes()[:keep])
    check_refused(tmp_path, f"{TRAIN_FILE} {DAMAGED}: .*")
    cached = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {path.suffix for path in cached} <= {".lock"}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"image": [1], "label": [1]}, id="no column img"),
        pytest.param({"img": [b"x"], "label": [1]}, id="img of bytes"),
        pytest.param({"img": [{"a": b""}], "label": [1]}, id="img without bytes"),
    ],
)
def test_a_parquet_of_something_else(tmp_path, content):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    pq.write_table(pa.table(content), tmp_path / "data" / TEST_FILE)
    check_refused(tmp_path, f"{TEST_FILE} {DAMAGED}: .*")


def test_a_parquet_that_says_it_has_too_many_images(tmp_path, monkeypatch):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    write_parquet(tmp_path / "data" / TRAIN_FILE, [None] * 60_001, [0] * 60_001)
    monkeypatch.setattr(cifar10_decode, "decode_image", lambda _: pytest.fail("read"))
    check_refused(tmp_path, f"parquet {DAMAGED}: .*60001 rows.*")


def test_a_parquet_that_says_it_has_too_many_bytes(tmp_path, monkeypatch):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    monkeypatch.setattr(cifar10_decode, "MAX_PARQUET_BYTES", 1000)
    check_refused(tmp_path, f"parquet {DAMAGED}: .*in [0-9]+ bytes; at most .* in 1000.*")


def test_a_parquet_that_repeats_a_large_value(tmp_path):
    """50,000 times 8 MB from a file of 0.4 MB."""
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    files = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000), pa.array([bytes(8_000_000)]))
    files = files.cast(pa.dictionary(pa.int32(), pa.binary()))
    images = pa.StructArray.from_arrays([files], names=["bytes"])
    table = pa.table({"img": images, "label": [0] * 50_000})
    pq.write_table(table, tmp_path / "data" / TEST_FILE, store_schema=False)
    check_refused(tmp_path, f"{TEST_FILE} is .*: an image of 8000000 bytes")
    assert pa.default_memory_pool().max_memory() < 500_000_000


def claimed_png(side: int) -> bytes:
    """A PNG whose header claims an image of side x side RGB pixels, and which holds none."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + content + png_chunk(b"IEND", b"")


def png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


SMALL = np.zeros((31, 32, 3), np.uint8)
GREY = np.zeros((32, 32), np.uint8)
TRANSPARENT = np.zeros((32, 32, 4), np.uint8)
IMAGE = TRAIN.images[0]


@pytest.mark.parametrize(
    ("file", "cause"),
    [
        pytest.param(encode(SMALL), "32x31 RGB image", id="size"),
        pytest.param(encode(GREY, "JPEG"), "32x32 L image", id="grey"),
        pytest.param(encode(TRANSPARENT), "32x32 RGBA image", id="transparent"),
        pytest.param(encode(IMAGE)[:-60], "Error", id="torn PNG"),
        pytest.param(encode(IMAGE, "JPEG")[:-60], "Error", id="torn JPEG"),
        pytest.param(encode(IMAGE, "BMP"), "UnidentifiedImageError", id="bitmap"),
        pytest.param(b"<svg/>", "UnidentifiedImageError", id="text"),
        pytest.param(None, "an image of 0 bytes", id="null"),
        pytest.param(claimed_png(9_000), "9000x9000 RGB image", id="claims 9,000"),
        pytest.param(
            claimed_png(50_000), "DecompressionBombError: .*2500000000 pixels", id="claims 50,000"
        ),
        pytest.param(encode(IMAGE) + bytes(2 << 20), "an image of 2[0-9]{6} bytes", id="2 MiB"),
    ],
)
def test_a_wrong_image(tmp_path, file, cause):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    write_parquet(tmp_path / "data" / TEST_FILE, [encode(TEST.images[0]), file], [0, 1])
    check_refused(tmp_path, f"{TEST_FILE} is .*: .*{cause}.*")


@pytest.mark.parametrize("label", [-1, 10, None])
def test_a_wrong_label(tmp_path, label):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    files = [encode(image) for image in TEST.images[:2]]
    write_parquet(tmp_path / "data" / TEST_FILE, files, [0, label])
    check_refused(tmp_path, f"{TEST_FILE} {DAMAGED}: .*label.*")
