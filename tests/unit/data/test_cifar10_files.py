"""Damaged and malicious files of every layout: each is one sentence, at once, in little memory, and nothing is written or run."""

import gzip
import os
import pickle
import struct
import tarfile
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data import cifar10, cifar10_files
from bench.data.cifar10_files import BINARY, PYTHON
from bench.data.source import Split, content_sha256
from tests.unit.data.factory import (
    Python2Pickler,
    data_config,
    planes,
    random_split,
    write_archive,
    write_batch,
    write_batches,
    write_records,
)

TRAIN, TEST = random_split(40, seed=1), random_split(8, seed=2)
TRAIN_FILE, TEST_FILE = "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"
MB, ROOT = 1 << 20, PYTHON.folder
ARCHIVE = rf"{PYTHON.archive} is damaged or no file of CIFAR-10: "


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CIFAR10_DIR", raising=False)


@pytest.fixture
def refused(tmp_path):
    """Load tmp_path/data and match the sentence; all of tmp_path, with the cache (its empty locks apart), stays as it was."""

    def tree():
        return {p: p.lstat().st_mtime_ns for p in tmp_path.rglob("*") if not (p.is_dir() or p.suffix == ".lock")}

    def check(match: str) -> None:
        before, start = tree(), time.monotonic()
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=match) as failed:
                cifar10.load(data_config(dir=str(tmp_path / "data")))
            assert tracemalloc.get_traced_memory()[1] < 150 * MB
        finally:
            tracemalloc.stop()
        assert time.monotonic() - start < 10
        assert tree() == before
        told = str(failed.value)
        assert told.isprintable()
        assert len(told) < 1000
        assert "accepted: " in told

    return check


def member(name: str, raw: bytes = b"", **fields) -> bytes:
    """One member of a tar. `fields` of its header may lie."""
    entry = tarfile.TarInfo(name)
    for field, value in ({"size": len(raw)} | fields).items():
        setattr(entry, field, value)
    return entry.tobuf(tarfile.GNU_FORMAT) + raw + bytes(-len(raw) % 512)


def archived(tmp_path: Path) -> list[bytes]:
    """The six members of a good archive."""
    write_batches(tmp_path / "batches", TRAIN, TEST)
    return [member(f"{ROOT}/{name}", (tmp_path / "batches" / name).read_bytes()) for name in PYTHON.files]


def write_tar(tmp_path: Path, parts: list[bytes], *, end: bytes = bytes(1024), keep: int | None = None) -> Path:
    path = tmp_path / "data" / PYTHON.archive
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(b"".join(parts)[:keep] + end, 1))
    return path


# Python batches


class Malicious:
    def __init__(self, mark: Path, function=os.system) -> None:
        self.call = (function, (f"touch {mark}",))

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, np.load])
@pytest.mark.parametrize("packed", [True, False])
def test_a_malicious_batch_is_refused_and_not_run(tmp_path, refused, protocol, function, packed):
    mark = tmp_path / "run"
    harm = pickle.dumps({"data": Malicious(mark, function), "labels": []}, protocol=protocol)
    if packed:
        parts = archived(tmp_path)
        write_tar(tmp_path, [*parts[:2], member(f"{ROOT}/data_batch_3", harm), *parts[3:]])
    else:
        write_batches(tmp_path / "data", TRAIN, TEST)
        (tmp_path / "data" / "data_batch_3").write_bytes(harm)
    refused(r"data_batch_3 is damaged or no file of CIFAR-10: it does not hold one array")
    assert not mark.exists()


def decoded(raw: bytes) -> str:
    images, labels = cifar10_files.decode_batch(raw)
    return content_sha256(Split(images=images, labels=np.array(labels)))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_good_batch_with_malice_beside_is_read_and_not_run(tmp_path, protocol):
    path = tmp_path / "test_batch"
    write_batch(path, TEST, protocol=protocol, more=Malicious(tmp_path / "run"))
    assert decoded(path.read_bytes()) == content_sha256(TEST)
    assert not (tmp_path / "run").exists()


def opened(*codes: bytes) -> bytes:
    """A pickle of protocol 4 that begins with these opcodes."""
    return b"\x80\x04" + b"".join(codes) + b"."


def doubled(first: bytes, step: bytes, times: int) -> bytes:
    return b"\x80\x04" + first + b"".join(step % (b"h" + bytes([i]), b"h" + bytes([i])) for i in range(times)) + b"."


DEEP = b")" + b"\x85" * 100_000  # ((((...),),),)
NO_ARRAY = "it does not hold one array"
BOMBS = {
    "PUT at 2^31": (opened(b"}r\xff\xff\xff\x7f"), NO_ARRAY),
    "bytes of 1 GB": (opened(b"B\x00\x00\x00\x40"), "expected 1073741824 bytes"),
    "bytes of 2^60": (opened(b"\x8e" + struct.pack("<Q", 1 << 60)), "expected 1152921504606846976 bytes"),
    "bytearray of 1 GB": (opened(b"\x96" + struct.pack("<Q", 1 << 30)), "expected 1073741824 bytes"),
    "text of 1 GB": (opened(b"X\x00\x00\x00\x40"), "expected 1073741824 bytes"),
    "frame of 1 GB": (opened(b"\x95" + struct.pack("<Q", 1 << 30)), NO_ARRAY),
    "number of 1 GB": (opened(b"\x8b\x00\x00\x00\x40"), "not enough data in stream to read long4"),
    "number of a million digits": (opened(b"I" + b"9" * 1_000_000 + b"\n"), "Error|digits"),
    "a million opcodes": (opened(b"(" * 1_000_000), "it has more than 200000 opcodes"),
    "nested lists": (doubled(b"]\x94", b"]\x94(%s%se", 40), NO_ARRAY),
    "deep tuples as a key": (opened(b"}", DEEP, b"K\x01s"), NO_ARRAY),
    "extension registry": (opened(b"\x82\x01"), NO_ARRAY),
    "persistent id": (opened(b"Pfile\n"), NO_ARRAY),
    "control characters": (opened(b"cos\x1b[2J\nsystem\n)R"), NO_ARRAY),
    "unknown opcode": (opened(b"\xff\x1b[2J"), "opcode .* unknown"),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_bomb_in_a_batch(tmp_path, refused, case):
    bomb, told = BOMBS[case]
    write_batches(tmp_path / "data", TRAIN, TEST)
    (tmp_path / "data" / "test_batch").write_bytes(bomb)
    refused(rf"test_batch is damaged or no file of CIFAR-10: .*({told})")


def nested(levels: int) -> list:
    return [nested(levels - 1)] * 8 if levels else [0] * 8


BAD_BATCHES = {
    "shape": {"data": np.zeros((8, 3071), np.uint8)},
    "cube": {"data": np.zeros((8, 32, 32, 3), np.uint8)},
    "type": {"data": np.zeros((8, 3072), np.float32)},
    "signed": {"data": np.zeros((8, 3072), np.int8)},
    "objects": {"data": np.zeros((8, 3072), object)},
    "no array": {"data": b"\0" * 3072 * 8},
    "other rows": {"data": np.zeros((3072, 8), np.uint8)},
    "two arrays": {"more": planes(TEST)},
    "no list": {"labels": 3},
    "fewer labels": {"labels": [0] * 7},
    "fractions": {"labels": [0.5] * 8},
    "truths": {"labels": [True] * 8},
    "names": {"labels": [b"cat"] * 8},
    "array": {"labels": np.zeros(8, np.uint8)},
    "large": {"labels": [300] * 8},
    "numpy's integers": {"labels": [np.int64(1)] * 8},
    "integers, then not": {"labels": [0] * 8 + ["x"]},
    "pairs": {"labels": [[0, 1], [2, 3], [4, 5], [6, 7]]},
    "ragged": {"labels": [[0], [1, 2]]},
    "nested": {"labels": nested(2)},
    "label 10": {"labels": [10] * 8},
    "label -1": {"labels": [-1] * 8},
    "label 2^64": {"labels": [1 << 64] * 8},
    "50,001 labels": {"labels": [0] * 50_001},
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_a_batch_of_something_else(tmp_path, refused, case):
    write_batches(tmp_path / "data", TRAIN, TEST)
    write_batch(tmp_path / "data" / "test_batch", TEST, **BAD_BATCHES[case])
    refused(r"test_batch.*; accepted: ")


@pytest.mark.parametrize("keep", [0, 1, 100, 5000, -1])
def test_a_truncated_batch(tmp_path, refused, keep):
    write_batches(tmp_path / "data", TRAIN, TEST)
    path = tmp_path / "data" / "data_batch_2"
    path.write_bytes(path.read_bytes()[:keep])
    refused(r"data_batch_2 is damaged or no file of CIFAR-10: .*; accepted: ")


def test_a_pickle_of_cifar100_is_told(tmp_path, refused):
    write_batches(tmp_path / "data", TRAIN, TEST)
    with (tmp_path / "data" / "test_batch").open("wb") as file:
        Python2Pickler(file, protocol=2).dump({b"data": np.zeros((1, 3072), np.uint8), b"fine_labels": [1]})
    refused("it has no `labels`")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_in_fortran_order_are_refused(tmp_path, protocol):
    write_batch(tmp_path / "test_batch", TEST, protocol=protocol, data=np.asfortranarray(planes(TEST)))
    with pytest.raises(ValueError, match="in C order"):
        cifar10_files.decode_batch((tmp_path / "test_batch").read_bytes())


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("writable", [True, False])
def test_keys_of_text_and_arrays_that_cannot_be_written(protocol, writable):
    pixels = planes(TEST)
    pixels.flags.writeable = writable
    raw = pickle.dumps({"labels": TEST.labels.tolist(), "data": pixels}, protocol=protocol)
    assert decoded(raw) == content_sha256(TEST)


EDIT = st.tuples(st.integers(0, 200) | st.integers(0), st.binary(max_size=6), st.integers(0, 6))  # where, put, cut
EDITS = st.lists(EDIT, min_size=1, max_size=4)


def edited(raw: bytes, edits: list[tuple[int, bytes, int]]) -> bytes:
    for place, put, cut in edits:
        place %= len(raw) + 1
        raw = raw[:place] + put + raw[place + cut :]
    return raw


def or_refusal(read):
    try:
        return read()
    except ValueError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pickletools
@settings(max_examples=200, deadline=None)
@given(st.integers(2, 5), EDITS)
def test_no_edit_of_a_batch_makes_another_error(tmp_path_factory, protocol, edits):
    folder = tmp_path_factory.getbasetemp() / "edited"
    write_batches(folder, TRAIN.take(slice(5)), TEST.take(slice(2)), protocol=protocol)
    path = folder / PYTHON.files[-1]
    path.write_bytes(edited(path.read_bytes(), edits))
    held = or_refusal(lambda: cifar10_files.read([folder / name for name in PYTHON.files], PYTHON))
    assert held.startswith(f"{path} is damaged") if isinstance(held, str) else held[1].images.shape[1:] == (32, 32, 3)


# Binary batches


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "0 bytes are no whole number of 3073"),
        (bytes(3072), "3072 bytes are no"),
        (b"\x0a" + bytes(3072), "1 images with other"),
        (bytes(3073 * 11_000), "has 33803000 bytes; at most 33554432"),
    ],
)
def test_a_wrong_binary_batch(tmp_path, refused, raw, told):
    write_records(tmp_path / "data", TRAIN, TEST)
    (tmp_path / "data" / "data_batch_4.bin").write_bytes(raw)
    refused(rf"data_batch_4\.bin.*{told}")


# Archives

EVIL = {
    "absolute": (member("/etc/cron.d/job", b"x"), "'/etc/cron.d/job' is none of"),
    "above": (member(f"{ROOT}/../../victim", b"x"), "/victim' is none of"),
    "above and back": (member(f"{ROOT}/../{ROOT}/readme.html", b"x"), "readme.html' is none of"),
    "dot": (member(f"./{ROOT}/readme.html", b"x"), "readme.html' is none of"),
    "unknown": (member(f"{ROOT}/setup.py", b"x"), "setup.py' is none of"),
    "control characters": (member("\x1b[2J", b"x"), r"'\\x1b\[2J' is none of"),
    "of the binary version": (member("cifar-10-batches-bin/data_batch_1.bin", b"x"), "data_batch_1.bin' is none of"),
    "another folder": (member("folder", type=tarfile.DIRTYPE), "'folder' is none of"),
    "long name": (member("././@LongLink", b"x" * 300, type=tarfile.GNUTYPE_LONGNAME), "LongLink' is none of"),
    "extra twice": (2 * member(f"{ROOT}/readme.html", b"x"), "readme.html' is none of .*, or comes twice"),
    "33 MiB": (member(f"{ROOT}/readme.html", size=33 * MB), f"readme.html' has {33 * MB} bytes; at most"),
    "2^60 bytes": (member(f"{ROOT}/readme.html", size=1 << 60), "readme.html' has 1152921504606846976 bytes; at most"),
    "-1 bytes": (member(f"{ROOT}/readme.html", size=-1), "readme.html' has -1 bytes; at most"),
    "folder twice": (2 * member(ROOT, type=tarfile.DIRTYPE), f"'{ROOT}' is none of .*, or comes twice"),
    "file for a folder": (member(ROOT, b"x"), f"'{ROOT}' is no plain file"),
    "pax": (member("pax", b"9 a=bcde\n", type=tarfile.XHDTYPE), "'pax' is none of"),
    "pax by an allowed name": (member(f"{ROOT}/readme.html", b"9 a=bcde\n", type=tarfile.XHDTYPE), "is no plain file"),
    "pax for all": (member("pax", b"9 a=bcde\n", type=tarfile.XGLTYPE), "'pax' is none of"),
} | {
    f"type {kind}": (member(f"{ROOT}/readme.html", type=kind, linkname="/etc/passwd"), "readme.html' is no plain file")
    for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"Z")
}


@pytest.mark.parametrize("case", EVIL)
@pytest.mark.parametrize("first", [True, False])
def test_a_malicious_member(tmp_path, refused, case, first):
    evil, told = EVIL[case]
    parts = archived(tmp_path)
    write_tar(tmp_path, [evil, *parts] if first else [*parts, evil])
    refused(f"{ARCHIVE}member .*{told}")


@pytest.mark.parametrize("i", range(6))
def test_a_batch_twice_or_never(tmp_path, refused, i):
    parts = archived(tmp_path)
    write_tar(tmp_path, [*parts, parts[i]])
    refused(f"{ARCHIVE}member '{ROOT}/{PYTHON.files[i]}' is none of .*, or comes twice")
    write_tar(tmp_path, parts[:i] + parts[i + 1 :])
    refused(rf"{ARCHIVE}it is without {PYTHON.files[i]}; accepted: ")


def test_a_gzip_bomb(tmp_path, refused):
    path = write_tar(tmp_path, archived(tmp_path))
    path.write_bytes(path.read_bytes() + 20 * gzip.compress(bytes(32 * MB), 1))
    refused(f"{ARCHIVE}it has more than 1048576 bytes")


@pytest.mark.parametrize("keep", [0, 1, 9, 100, 60_000, -9, -1])
def test_a_truncated_archive(tmp_path, refused, keep):
    path = write_tar(tmp_path, archived(tmp_path))
    path.write_bytes(path.read_bytes()[:keep])
    refused(ARCHIVE + ".*(end|empty|truncated|gzipped)")


@pytest.mark.parametrize(("keep", "told"), [(512, "ends within"), (20_000, "ends within"), (None, "empty header")])
def test_a_truncated_tar(tmp_path, refused, keep, told):
    write_tar(tmp_path, archived(tmp_path), end=b"", keep=keep)
    refused(ARCHIVE + f".*{told}")


@pytest.mark.parametrize("recode", [gzip.decompress, lambda raw: zlib.compress(gzip.decompress(raw)), lambda raw: b"PK" + raw])
def test_no_gzip(tmp_path, refused, recode):
    path = write_tar(tmp_path, archived(tmp_path))
    path.write_bytes(recode(path.read_bytes()))
    refused(f"{ARCHIVE}BadGzipFile: ")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([PYTHON, BINARY]), EDITS, st.booleans())
def test_no_edit_of_an_archive_makes_another_error(tmp_path_factory, packed, edits, inside):
    path = tmp_path_factory.getbasetemp() / packed.archive
    write = {PYTHON: write_batches, BINARY: write_records}[packed]
    train = TRAIN.take(slice(5))
    write_archive(path, packed.folder, write, train, TEST.take(slice(2)))
    raw = path.read_bytes()
    path.write_bytes(gzip.compress(edited(gzip.decompress(raw), edits), 1) if inside else edited(raw, edits))
    held = or_refusal(lambda: cifar10_files.read([path], packed))
    assert held.startswith(str(path)) if isinstance(held, str) else inside or content_sha256(held[0]) == content_sha256(train)
