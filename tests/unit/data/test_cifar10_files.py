"""Damaged and malicious files of every layout.

Each is refused in one sentence, at once, in little memory, and nothing is written or run.
"""

import gzip
import os
import pickle
import tarfile
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.data import cache, cifar10
from bench.data.cifar10_layouts import PYTHON
from bench.data.source import Dataset, Split, content_sha256, gather
from bench.files import files_sha256
from tests.unit.data.factory import (
    data_config,
    planes,
    publish,
    random_split,
    write_archive,
    write_batches,
    write_records,
)

pytestmark = pytest.mark.usefixtures("cifar10_cache")
TRAIN = random_split(40, seed=1)
TEST = random_split(8, seed=2)
ROOT = PYTHON.folder
MOST_BYTES = 150 << 20
MOST_CPU_S = 10


def modification_times(folder: Path) -> dict[Path, int]:
    """Of all files below a folder, but for the cache's locks, which are empty."""
    files = [path for path in folder.rglob("*") if not path.is_dir() and path.suffix != ".lock"]
    return {path: path.lstat().st_mtime_ns for path in files}


def load_in_little_memory(folder: Path) -> Dataset:
    tracemalloc.start()
    try:
        return cifar10.load(data_config(dir=str(folder)))
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < MOST_BYTES


@pytest.fixture
def refused(tmp_path):
    """Load tmp_path/data and match the sentence; all of tmp_path stays as it was."""

    def check(message: str) -> None:
        times_before = modification_times(tmp_path)
        started_s = time.process_time()
        with pytest.raises(ValueError, match=message) as failed:
            load_in_little_memory(tmp_path / "data")
        assert time.process_time() - started_s < MOST_CPU_S
        assert modification_times(tmp_path) == times_before
        sentence = str(failed.value)
        assert sentence.isprintable()
        assert len(sentence) < 1000
        assert "accepted: " in sentence

    return check


def member(name: str, raw: bytes = b"", **fields) -> bytes:
    """One member of a tar. `fields` of its header may lie."""
    entry = tarfile.TarInfo(name)
    entry.size = len(raw)
    for field, value in fields.items():
        setattr(entry, field, value)
    fill = bytes(-len(raw) % 512)
    return entry.tobuf(tarfile.GNU_FORMAT) + raw + fill


def original(tmp_path: Path, write=write_batches) -> Path:
    """tmp_path/data with what `write` makes of small splits, as if it were the published files."""
    write(tmp_path / "data", TRAIN, TEST)
    publish(tmp_path / "data")
    return tmp_path / "data"


def write_python_archive(folder: Path, train: Split, test: Split) -> None:
    write_archive(folder / PYTHON.archive, PYTHON.folder, write_batches, train, test)


def write_tar(tmp_path: Path, parts: list[bytes]) -> None:
    (tmp_path / "data").mkdir()
    content = b"".join(parts) + bytes(1024)
    (tmp_path / "data" / PYTHON.archive).write_bytes(gzip.compress(content, 1))


# Files whose published md5 is known


@pytest.fixture
def unopened(tmp_path, refused, monkeypatch):
    """Load tmp_path/data and see a file refused by its md5.

    Nothing that understands the file has seen a byte of it.
    """

    def check(name: str) -> None:
        content = (tmp_path / "data" / name).read_bytes()
        plain_loads = pickle.loads

        def watched_loads(pickled, **options):
            assert pickled != content, "opened"
            return plain_loads(pickled, **options)

        monkeypatch.setattr(pickle, "loads", watched_loads)
        monkeypatch.setattr(tarfile, "open", lambda **_: pytest.fail("opened"))
        refused(
            f"{name} is damaged or no file of CIFAR-10: its md5 is [0-9a-f]{{32}}, "
            "not [0-9a-f]{32} as published, so "
        )

    return check


class Malicious:
    def __init__(self, mark: Path, function=os.system) -> None:
        self.call = (function, (f"touch {mark}",))

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("function", [os.system, eval, np.load])
def test_a_malicious_batch_is_refused_and_not_run(tmp_path, unopened, protocol, function):
    mark = tmp_path / "run"
    harm = pickle.dumps({"data": Malicious(mark, function), "labels": []}, protocol=protocol)
    (original(tmp_path) / "data_batch_3").write_bytes(harm)
    unopened("data_batch_3")
    assert not mark.exists()


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("function", [os.system, eval, np.load])
def test_an_archive_of_malicious_batches_is_too(tmp_path, unopened, protocol, function):
    mark = tmp_path / "run"
    harm = pickle.dumps({"data": Malicious(mark, function), "labels": []}, protocol=protocol)
    write_tar(tmp_path, [member(f"{ROOT}/{name}", harm) for name in PYTHON.files])
    unopened(PYTHON.archive)
    assert not mark.exists()


BOMBS = {
    "nothing": b"",
    "text of 1 GB": b"\x80\x04X\x00\x00\x00\x40.",
    "a million opcodes": b"\x80\x04" + b"(" * 1_000_000 + b".",
    "deep tuples as a key": b"\x80\x04})" + b"\x85" * 100_000 + b"K\x01s.",
    "control characters": b"\x80\x04cos\x1b[2J\nsystem\n)R.",
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_bomb_in_a_batch(tmp_path, unopened, case):
    (original(tmp_path) / "test_batch").write_bytes(BOMBS[case])
    unopened("test_batch")


EVIL = {
    "absolute": member("/etc/cron.d/job", b"x"),
    "above": member(f"{ROOT}/../../victim", b"x"),
    "control characters": member("\x1b[2J", b"x"),
    "2^60 bytes": member(f"{ROOT}/data_batch_1", size=1 << 60),
    "link": member(f"{ROOT}/data_batch_1", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "device": member(f"{ROOT}/data_batch_1", type=tarfile.BLKTYPE),
    "pax": member("pax", b"9 a=bcde\n", type=tarfile.XHDTYPE),
}


@pytest.mark.parametrize("case", EVIL)
def test_a_malicious_archive(tmp_path, unopened, case):
    write_tar(tmp_path, [EVIL[case]])
    unopened(PYTHON.archive)


@pytest.mark.parametrize("write", [write_batches, write_python_archive])
@pytest.mark.parametrize("keep", [0, 1, 100, 5000, -1])
def test_a_truncated_original(tmp_path, unopened, write, keep):
    path = sorted(original(tmp_path, write).iterdir())[0]
    path.write_bytes(path.read_bytes()[:keep])
    unopened(path.name)


@pytest.mark.parametrize("write", [write_batches, write_python_archive])
def test_what_is_opened_are_the_bytes_whose_md5_was_taken(tmp_path, monkeypatch, write):
    original(tmp_path, write)
    harm = pickle.dumps(Malicious(tmp_path / "run"))
    plain_read = Path.read_bytes

    def read_once(path: Path) -> bytes:
        content = plain_read(path)
        path.write_bytes(harm)
        return content

    monkeypatch.setattr(Path, "read_bytes", read_once)
    data = cifar10.load(data_config(dir=str(tmp_path / "data")))
    assert data.sha256 == content_sha256(TRAIN, TEST)
    assert not (tmp_path / "run").exists()


def test_what_an_earlier_reader_kept_proves_nothing(tmp_path, unopened):
    write_batches(tmp_path / "data", TRAIN, TEST)
    paths = [tmp_path / "data" / name for name in PYTHON.files]
    cache.load(files_sha256(paths), partial(gather, TRAIN, TEST))
    unopened("data_batch_1")


def test_an_original_that_is_none_is_a_sentence_too(tmp_path, refused):
    """None of the published files is such, but what is read of them is checked like all else."""
    folder = original(tmp_path)
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": planes(TEST), b"labels": [10] * 8}))
    publish(folder)
    refused("test_batch is damaged or no file of CIFAR-10: 8 images with other labels")


# Binary batches


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        pytest.param(b"", "0 bytes are no whole number of 3073", id="empty"),
        pytest.param(bytes(3072), "3072 bytes are no", id="a byte short"),
        pytest.param(b"\x0a" + bytes(3072), "1 images with other", id="label 10"),
        pytest.param(bytes(3073 * 11_000), "has 33803000 bytes; at most 33554432", id="too large"),
    ],
)
def test_a_wrong_binary_batch(tmp_path, refused, content, cause):
    write_records(tmp_path / "data", TRAIN, TEST)
    (tmp_path / "data" / "data_batch_4.bin").write_bytes(content)
    refused(rf"data_batch_4\.bin.*{cause}")
