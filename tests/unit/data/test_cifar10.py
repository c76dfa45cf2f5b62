"""CIFAR-10 from every published layout and from a download: found, named and cut alike; one sentence where there is none."""

import os
import struct
import time
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.data import cifar10
from bench.data.source import Split, content_sha256, gather
from tests.unit.data.factory import (
    data_config,
    encode,
    moments,
    publish,
    random_split,
    shuffled,
    write_archive,
    write_batches,
    write_hugging_face,
    write_parquet,
    write_records,
)

TRAIN, TEST = random_split(40, seed=1), random_split(8, seed=2)
REAL = os.environ.get("CIFAR10_DIR")
TRAIN_FILE, TEST_FILE = "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"
PYTHON, BINARY = cifar10.PYTHON, cifar10.BINARY
BATCHES = PYTHON.files


def write_original_batches(folder: Path, train: Split, test: Split) -> None:
    write_batches(folder, train, test)
    publish(folder)


def write_python_archive(folder: Path, train: Split, test: Split) -> None:
    write_archive(folder / PYTHON.archive, PYTHON.folder, write_batches, train, test)
    publish(folder)


def write_binary_archive(folder: Path, train: Split, test: Split) -> None:
    write_archive(folder / BINARY.archive, BINARY.folder, write_records, train, test)
    publish(folder)


# In the order of preference.
LAYOUTS = {
    "batches": write_original_batches,
    "python archive": write_python_archive,
    "records": write_records,
    "binary archive": write_binary_archive,
    "parquet": write_hugging_face,
}
PROVEN = ("batches", "python archive", "binary archive")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar10, "KNOWN_MD5", dict(cifar10.KNOWN_MD5))
    monkeypatch.delenv("CIFAR10_DIR", raising=False)


def load(folder: Path, **changes):
    return cifar10.load(data_config(dir=str(folder), **changes))


def same(a, b) -> bool:
    splits = [(getattr(a, name), getattr(b, name)) for name in ("train", "val", "test")]
    return a.sha256 == b.sha256 and all(
        np.array_equal(x.images, y.images) and np.array_equal(x.labels, y.labels) for x, y in splits
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_dataset(tmp_path, layout):
    LAYOUTS[layout](tmp_path / "data", TRAIN, TEST)
    data = load(tmp_path / "data")
    pools = gather(TRAIN, TEST)
    assert same(
        data, cifar10.Dataset(**{**vars(data), "sha256": pools.sha256, **cifar10.cut(pools, val=4)})
    )
    assert [len(s.labels) for s in (data.train, data.val, data.test)] == [36, 4, 8]
    assert data.name == (
        "cifar10" if layout in PROVEN else f"cifar10-unverified:{content_sha256(TRAIN, TEST)[:12]}"
    )
    assert (data.train.images.dtype, data.train.labels.dtype) == (np.uint8, np.int64)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(sorted(LAYOUTS)), st.permutations(range(40)), st.permutations(range(8)))
def test_row_order_makes_no_difference_in_any_layout(layout, train_rows, test_rows):
    with TemporaryDirectory() as folder:
        LAYOUTS[layout](
            Path(folder), TRAIN.take(np.array(train_rows)), TEST.take(np.array(test_rows))
        )
        assert load(Path(folder)).sha256 == content_sha256(TRAIN, TEST)


def test_shards_make_no_difference(tmp_path):
    write_hugging_face(tmp_path / "a", TRAIN, TEST)
    other = shuffled(TRAIN, seed=3)
    write_hugging_face(tmp_path / "b", other, shuffled(TEST, seed=4))
    (tmp_path / "b" / TRAIN_FILE).unlink()
    for i, rows in enumerate((slice(25), slice(25, None))):
        part = other.take(rows)
        name = f"train-{i:05d}-of-00002.parquet"
        write_parquet(tmp_path / "b" / name, [encode(x) for x in part.images], part.labels.tolist())
    assert same(load(tmp_path / "a"), load(tmp_path / "b"))


def test_shards_of_too_many_images_in_all(tmp_path, monkeypatch):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    monkeypatch.setattr(cifar10, "MAX_IMAGES", 47)
    with pytest.raises(
        ValueError,
        match=rf"{TEST_FILE} is damaged or no file of CIFAR-10: with it there are 48 images; at most 47; accepted: ",
    ):
        load(tmp_path / "data")


@pytest.mark.parametrize(
    ("below", "write"),
    [
        ("plain_text", write_hugging_face),
        (PYTHON.folder, write_original_batches),
        (BINARY.folder, write_records),
    ],
)
def test_files_may_lie_one_folder_below(tmp_path, monkeypatch, below, write):
    write(tmp_path / "data" / below, TRAIN, TEST)
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / "data"))
    assert cifar10.load(data_config()).sha256 == content_sha256(TRAIN, TEST)


@pytest.mark.parametrize(
    ("packed", "write"), [(PYTHON, write_python_archive), (BINARY, write_binary_archive)]
)
def test_an_archive_may_be_named_itself(tmp_path, monkeypatch, packed, write):
    write(tmp_path, TRAIN, TEST)
    assert load(tmp_path / packed.archive).sha256 == content_sha256(TRAIN, TEST)
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / packed.archive))
    assert cifar10.load(data_config()).sha256 == content_sha256(TRAIN, TEST)


def test_the_config_comes_before_the_environment(tmp_path, monkeypatch):
    write_hugging_face(tmp_path / "a", TRAIN, TEST)
    write_hugging_face(tmp_path / "b", TEST, TRAIN)
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / "b"))
    assert load(tmp_path / "a").sha256 == content_sha256(TRAIN, TEST)


@pytest.mark.parametrize("first", range(len(LAYOUTS)))
def test_of_several_layouts_the_one_that_proves_most_is_read(tmp_path, first):
    for i, write in enumerate(list(LAYOUTS.values())[first:]):
        write(tmp_path / "data", *((TRAIN, TEST) if i == 0 else (TEST, TRAIN)))
    assert load(tmp_path / "data").sha256 == content_sha256(TRAIN, TEST)


@pytest.mark.parametrize(
    ("layout", "reader"), [("parquet", "decode_image"), ("python archive", "tarfile")]
)
def test_second_load_does_not_decode(tmp_path, monkeypatch, layout, reader):
    LAYOUTS[layout](tmp_path / "data", TRAIN, TEST)
    first = load(tmp_path / "data")
    monkeypatch.setattr(cifar10, reader, None)
    assert same(first, load(tmp_path / "data"))
    LAYOUTS[layout](tmp_path / "other", TEST, TRAIN)
    with pytest.raises(ValueError, match="'NoneType' object"):
        load(tmp_path / "other")


@pytest.mark.parametrize("layout", PROVEN)
def test_known_md5s_prove_the_original_and_nothing_else_is_read(tmp_path, layout):
    LAYOUTS[layout](tmp_path / "data", TRAIN, TEST)
    known = dict(cifar10.KNOWN_MD5)
    flipped = Split(
        images=TRAIN.images ^ (np.arange(40) == 7).astype(np.uint8)[:, None, None, None],
        labels=TRAIN.labels,
    )
    LAYOUTS[layout](tmp_path / "other", flipped, TEST)
    cifar10.KNOWN_MD5.update(known)
    with pytest.raises(
        ValueError,
        match=r"its md5 is [0-9a-f]{32}, not [0-9a-f]{32} as published, so it was not opened; accepted: ",
    ):
        load(tmp_path / "other")
    assert load(tmp_path / "data").name == "cifar10"
    assert load(tmp_path / "data").name == "cifar10"  # from the cache
    for path in (tmp_path / "data").iterdir():
        path.write_bytes(path.read_bytes() + b" ")
        with pytest.raises(ValueError, match=f"{path} is .* its md5 is "):
            load(tmp_path / "data")
        path.write_bytes(path.read_bytes()[:-1])


def test_the_md5_of_whatever_can_run_something_is_known():
    assert {*PYTHON.files, PYTHON.archive, BINARY.archive} == set(cifar10.KNOWN_MD5)


@pytest.fixture
def network(monkeypatch):
    """Stands in for the mirrors: gives the archive, and counts."""
    calls = []

    def fetch(file, urls, folder):
        calls.append((file, urls))
        write_python_archive(folder, TRAIN, TEST)
        return folder / file.name

    monkeypatch.setattr(cifar10, "fetch", fetch)
    return calls


def test_a_download_is_kept_and_read_again(tmp_path, network):
    config = data_config(download=True, urls=("http://a", "http://b"))
    assert cifar10.downloaded() is None
    first = cifar10.load(config)
    assert first.sha256 == content_sha256(TRAIN, TEST)
    assert network == [(cifar10.ARCHIVE, config.urls)]
    assert cifar10.downloaded() == tmp_path / "cache" / "downloads" / PYTHON.archive
    assert same(first, cifar10.load(config))
    assert same(first, cifar10.load(data_config(download=False)))
    assert len(network) == 1


def test_what_is_fetched_is_the_archive_that_is_proven():
    assert (
        cifar10.ARCHIVE.md5
        == cifar10.KNOWN_MD5[cifar10.ARCHIVE.name]
        == "c58f30108f718f92721af3b95e74349a"
    )
    assert cifar10.ARCHIVE.size_bytes == 170_498_071


@pytest.mark.parametrize("named", ["data.dir", "CIFAR10_DIR"])
def test_a_named_folder_is_never_replaced_by_a_download(tmp_path, monkeypatch, network, named):
    write_python_archive(tmp_path / "cache" / "downloads", TRAIN, TEST)
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "empty"):
        monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / name))
        with pytest.raises(
            ValueError, match=f"{name} .data.dir or CIFAR10_DIR. holds no CIFAR-10: found nothing"
        ):
            cifar10.load(
                data_config(
                    dir=str(tmp_path / name) if named == "data.dir" else None,
                    download=True,
                    urls=("http://a",),
                )
            )
    assert network == []


def test_neither_here_nor_to_be_fetched(tmp_path, monkeypatch):
    def fetch(file, urls, folder):
        raise ValueError("http://a: no route; http://b: HTTP 404")

    monkeypatch.setattr(cifar10, "fetch", fetch)
    ways = r": name its folder or archive in data\.dir or CIFAR10_DIR, or a mirror of cifar-10-python\.tar\.gz in data\.urls"
    with pytest.raises(
        ValueError, match=rf"not here \(http://a: no route; http://b: HTTP 404\){ways}"
    ) as failed:
        cifar10.load(data_config(download=True, urls=("http://a", "http://b")))
    assert "\n" not in str(failed.value)
    with pytest.raises(ValueError, match=rf"not here \(data\.download is false\){ways}"):
        cifar10.load(data_config(urls=("http://a",)))
    assert not (tmp_path / "cache").exists()


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


@pytest.mark.parametrize(
    ("name", "write"),
    [(x, write_batches) for x in BATCHES] + [(x, write_records) for x in BINARY.files],
)
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
    monkeypatch.setattr(cifar10.cache, "files_sha256", lambda _: pytest.fail("hashed"))
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
    ("limit", "told"),
    [("MAX_IMAGES", "60001 rows"), ("MAX_PARQUET_BYTES", "in [0-9]+ bytes; at most .* in 1000")],
)
def test_a_parquet_that_says_it_is_too_large(tmp_path, monkeypatch, limit, told):
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    if limit == "MAX_IMAGES":
        write_parquet(tmp_path / "data" / TRAIN_FILE, [None] * 60_001, [0] * 60_001)
        monkeypatch.setattr(cifar10, "decode_image", lambda _: pytest.fail("read"))
    else:
        monkeypatch.setattr(cifar10, limit, 1000)
    with pytest.raises(
        ValueError, match=f"parquet is damaged or no file of CIFAR-10: .*{told}.*; accepted: "
    ):
        load(tmp_path / "data")


def test_a_parquet_that_repeats_a_large_value(tmp_path):
    """50,000 times 8 MB from a file of 0.4 MB."""
    write_hugging_face(tmp_path / "data", TRAIN, TEST)
    images = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000), pa.array([bytes(8_000_000)]))
    held = pa.StructArray.from_arrays(
        [images.cast(pa.dictionary(pa.int32(), pa.binary()))], names=["bytes"]
    )
    table = pa.table({"img": held, "label": [0] * 50_000})
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


SMALL, GREY = np.zeros((31, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
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
    file, told = BAD_IMAGES[case]
    write_parquet(tmp_path / "data" / TEST_FILE, [encode(TEST.images[0]), file], [0, 1])
    with pytest.raises(ValueError, match=f"{TEST_FILE} is .*: .*{told}.*; accepted: "):
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


@pytest.mark.skipif(not REAL, reason="CIFAR10_DIR is not set")
def test_real_images(capsys):
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        data = cifar10.load(data_config(dir=REAL))
        seconds.append(time.perf_counter() - start)
    with capsys.disabled():
        print(
            f"\nCIFAR-10: decoded in {seconds[0]:.1f} s, from the cache in {seconds[1]:.2f} s, {data.name}"
        )
    assert [len(split.labels) for split in (data.train, data.val, data.test)] == [
        45_000,
        5_000,
        10_000,
    ]
    assert (
        np.bincount(np.concatenate([data.train.labels, data.val.labels])).tolist() == [5_000] * 10
    )
    assert np.bincount(data.test.labels).tolist() == [1_000] * 10
    assert data.name in ("cifar10", f"cifar10-unverified:{data.sha256[:12]}")
    mean, std = moments(data.train.images)
    assert np.allclose(mean, data.mean, atol=0.001)
    assert np.allclose(std, data.std, atol=0.003)  # JPEG takes a little of it away
    assert seconds[1] < seconds[0] / 3
