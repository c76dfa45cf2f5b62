"""Damaged and malicious files of every layout: each is one sentence, at once, in little memory, and
nothing is written or run.
"""

import gzip
import os
import pickle
import tarfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bench.data import cache, cifar10, cifar10_layouts
from bench.data.cifar10_layouts import PYTHON
from bench.data.source import Split, content_sha256, gather
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

TRAIN = random_split(40, seed=1)
TEST = random_split(8, seed=2)
MB = 1 << 20
ROOT = PYTHON.folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar10_layouts, "KNOWN_MD5", dict(cifar10_layouts.KNOWN_MD5))
    monkeypatch.delenv("CIFAR10_DIR", raising=False)


@pytest.fixture
def refused(tmp_path):
    """Load tmp_path/data and match the sentence; all of tmp_path, with the cache (its empty locks
    apart), stays as it was.
    """

    def tree():
        return {
            p: p.lstat().st_mtime_ns
            for p in tmp_path.rglob("*")
            if not (p.is_dir() or p.suffix == ".lock")
        }

    def check(match: str) -> None:
        before = tree()
        start_s = time.process_time()
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=match) as failed:
                cifar10.load(data_config(dir=str(tmp_path / "data")))
            assert tracemalloc.get_traced_memory()[1] < 150 * MB
        finally:
            tracemalloc.stop()
        assert time.process_time() - start_s < 10
        assert tree() == before
        message = str(failed.value)
        assert message.isprintable()
        assert len(message) < 1000
        assert "accepted: " in message

    return check


def member(name: str, raw: bytes = b"", **fields) -> bytes:
    """One member of a tar. `fields` of its header may lie."""
    entry = tarfile.TarInfo(name)
    for field, value in ({"size": len(raw)} | fields).items():
        setattr(entry, field, value)
    return entry.tobuf(tarfile.GNU_FORMAT) + raw + bytes(-len(raw) % 512)


def original(tmp_path: Path, write=write_batches) -> Path:
    """tmp_path/data with what `write` makes of small splits, as if that were the published
    files.
    """
    write(tmp_path / "data", TRAIN, TEST)
    publish(tmp_path / "data")
    return tmp_path / "data"


def write_python_archive(folder: Path, train: Split, test: Split) -> None:
    write_archive(folder / PYTHON.archive, PYTHON.folder, write_batches, train, test)


def write_tar(tmp_path: Path, parts: list[bytes]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / PYTHON.archive).write_bytes(
        gzip.compress(b"".join(parts) + bytes(1024), 1)
    )


# Files whose published md5 is known


@pytest.fixture
def unopened(tmp_path, refused, monkeypatch):
    """Load tmp_path/data and see a file refused by its md5, before anything that understands it has
    seen one byte.
    """

    def check(name: str) -> None:
        raw = (tmp_path / "data" / name).read_bytes()
        true_loads = pickle.loads

        def loads(content, **options):
            assert content != raw, "opened"
            return true_loads(content, **options)

        monkeypatch.setattr(tarfile, "open", lambda **_: pytest.fail("opened"))
        monkeypatch.setattr(pickle, "loads", loads)
        refused(
            rf"{name} is damaged or no file of CIFAR-10: its md5 is [0-9a-f]{{32}}, "
            r"not [0-9a-f]{32} as published, so "
        )

    return check


class Malicious:
    def __init__(self, mark: Path, function=os.system) -> None:
        self.call = (function, (f"touch {mark}",))

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("function", [os.system, eval, np.load])
@pytest.mark.parametrize("packed", [True, False])
def test_a_malicious_batch_is_refused_and_not_run(tmp_path, unopened, protocol, function, packed):
    mark = tmp_path / "run"
    harm = pickle.dumps({"data": Malicious(mark, function), "labels": []}, protocol=protocol)
    if packed:
        write_tar(tmp_path, [member(f"{ROOT}/{name}", harm) for name in PYTHON.files])
    else:
        (original(tmp_path) / "data_batch_3").write_bytes(harm)
    unopened(PYTHON.archive if packed else "data_batch_3")
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
    read = Path.read_bytes

    def read_once(path: Path) -> bytes:
        raw = read(path)
        path.write_bytes(harm)
        return raw

    monkeypatch.setattr(Path, "read_bytes", read_once)
    assert cifar10.load(data_config(dir=str(tmp_path / "data"))).sha256 == content_sha256(
        TRAIN, TEST
    )
    assert not (tmp_path / "run").exists()


def test_what_an_earlier_reader_kept_proves_nothing(tmp_path, unopened):
    write_batches(tmp_path / "data", TRAIN, TEST)
    key = files_sha256([tmp_path / "data" / name for name in PYTHON.files])
    cache.load(key, lambda: gather(TRAIN, TEST))
    unopened("data_batch_1")


def test_an_original_that_is_none_is_a_sentence_too(tmp_path, refused):
    """None of the published files is such, but what is read of them is checked like all else."""
    folder = original(tmp_path)
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": planes(TEST), b"labels": [10] * 8}))
    publish(folder)
    refused("test_batch is damaged or no file of CIFAR-10: 8 images with other labels")


# Binary batches


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "0 bytes are no whole number of 3073"),
        (bytes(3072), "3072 bytes are no"),
        (b"\x0a" + bytes(3072), "1 images with other"),
        (bytes(3073 * 11_000), "has 33803000 bytes; at most 33554432"),
    ],
)
def test_a_wrong_binary_batch(tmp_path, refused, raw, message):
    write_records(tmp_path / "data", TRAIN, TEST)
    (tmp_path / "data" / "data_batch_4.bin").write_bytes(raw)
    refused(rf"data_batch_4\.bin.*{message}")
