"""CIFAR-10's files, one reader for each layout; which of them to read is the caller's.

They may come from anywhere: nothing in them is run or written to disk, and no size that they claim is believed.
"""

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import dropwhile, islice, pairwise, takewhile
from pathlib import Path
from pickletools import genops
from typing import Any

import numpy as np
from PIL import Image

from bench.data.source import Images, Split, join

SIZE, CLASS_COUNT, MAX_IMAGES = 32, 10, 60_000
PLANES_BYTES = 3 * SIZE * SIZE
MAX_MEMBER_BYTES = 32 << 20  # of the original's files the largest has 31.04 MB
MAX_PADDING_BYTES = 1 << 20  # of an archive; the originals have 10 kB
MAX_FILE_BYTES = MAX_PARQUET_BYTES = 1 << 30
MAX_IMAGE_BYTES = 1 << 20
EXTRAS = ("batches.meta", "batches.meta.txt", "readme.html")
ACCEPTED = (
    "accepted: cifar-10-python.tar.gz or cifar-10-binary.tar.gz, as published or unpacked, "
    "or {train,test}-*.parquet as in Hugging Face's uoft-cs/cifar10"
)
MAX_OPCODES = 200_000  # of a pickle; the original's batches have 30,000
CONSTANTS = {"NONE": None, "NEWFALSE": False, "NEWTRUE": True}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which CIFAR-10 is published: the folder of its files, what decodes one, and of an archive all names."""

    folder: str
    decode: Callable[[bytes], tuple[Images, list[Any]]]
    archive: str = ""
    files: tuple[str, ...] = ()


def read(files: list[Path], layout: Layout) -> tuple[Split, Split]:
    """Train and test from an archive, member by member, or from its files. Raises ValueError, with the file, for others."""
    is_archive = files[0].name == layout.archive
    pools: dict[bool, list[Split]] = {False: [], True: []}
    for path, raw in _members(files[0], layout) if is_archive else ((path, path.read_bytes()) for path in files):
        with _refusing(path):
            pools[path.name.startswith("test")].append(_split(*layout.decode(raw)))
            if (found := sum(len(part.labels) for part in pools[False] + pools[True])) > MAX_IMAGES:
                raise ValueError(f"with it there are {found} images; at most {MAX_IMAGES}")
    return join(pools[False]), join(pools[True])


def decode_parquet(raw: bytes) -> tuple[Images, list[Any]]:
    """Images and labels of a file; few rows at a time, for its dictionary repeats a large value at no cost."""
    import pyarrow.parquet as pq

    images, labels = [], []
    with pq.ParquetFile(io.BytesIO(raw)) as file:
        held = file.metadata
        size_bytes = sum(held.row_group(i).total_byte_size for i in range(held.num_row_groups))
        if held.num_rows > MAX_IMAGES or size_bytes > MAX_PARQUET_BYTES:
            raise ValueError(f"{held.num_rows} rows in {size_bytes} bytes; at most {MAX_IMAGES} in {MAX_PARQUET_BYTES}")
        for rows in file.iter_batches(16, columns=["img.bytes", "label"], use_threads=False):
            images += [decode_image(image.as_py()) for image in rows["img"].field("bytes")]
            labels += rows["label"].to_pylist()
    return np.array(images, dtype=np.uint8).reshape(-1, SIZE, SIZE, 3), labels


def decode_image(file: bytes | None) -> Images:
    """The pixels [32, 32, 3] of a PNG's or JPEG's bytes. Raises, before it decodes, when the file's own header says otherwise."""
    if file is None or len(file) > MAX_IMAGE_BYTES:
        raise ValueError(f"an image of {len(file or ())} bytes")
    with Image.open(io.BytesIO(file), formats=("PNG", "JPEG")) as image:
        if image.size != (SIZE, SIZE) or image.mode != "RGB":
            raise ValueError(f"{image.width}x{image.height} {image.mode} image")
        return np.asarray(image)


def decode_batch(raw: bytes) -> tuple[Images, list[int]]:
    """Images and labels of one python batch, of Python 2 or 3. Its opcodes are read, never run."""
    codes = [(code.name, argument) for code, argument, _ in islice(genops(raw), MAX_OPCODES)]
    if codes[-1][0] != "STOP":
        raise ValueError(f"it has more than {MAX_OPCODES} opcodes")
    codes = [code for code in codes if code[0] not in ("FRAME", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")]
    return _upright(_pixels(codes)), _labels(codes)


def _pixels(codes: list[tuple[str, Any]]) -> Images:
    """The one array [N, 3072] among a pickle's values: its bytes follow shape, type, order or, in protocol 5, precede them."""
    values = [CONSTANTS.get(name, value) for name, value in codes if name in CONSTANTS or value is not None]
    large = [(i, value) for i, value in enumerate(values) if isinstance(value, str | bytes | bytearray) and len(value) > 1000]
    i, raw = large[0] if len(large) == 1 else (0, b"")
    shape = len(raw) // PLANES_BYTES, PLANES_BYTES
    before, after = values[max(0, i - 16) : i], values[i + 1 : i + 18]
    near = before if before[-1:] == [False] else after if "C" in after else []
    if "u1" not in near or shape not in pairwise(near):
        raise ValueError(f"it does not hold one array of bytes [N, {PLANES_BYTES}] in C order")
    return np.frombuffer(raw.encode("latin-1") if isinstance(raw, str) else raw, dtype=np.uint8).reshape(shape)


def _labels(codes: list[tuple[str, Any]]) -> list[int]:
    """The flat list of integers 0 to 255 after the key `labels`."""
    after = list(dropwhile(lambda code: code[1] not in ("labels", b"labels"), codes))[1:]
    listed = list(takewhile(lambda code: code[0] in ("MARK", "BININT1", "APPEND", "APPENDS"), after[1:]))
    if not listed or after[0][0] != "EMPTY_LIST" or not listed[-1][0].startswith("APPEND"):
        raise ValueError("it has no `labels`, a list of small integers")
    return [value for name, value in listed if name == "BININT1"]


def decode_records(raw: bytes) -> tuple[Images, list[int]]:
    """Images and labels of one binary batch: records of a label's byte and 3 planes of 32x32 bytes."""
    if not raw or len(raw) % (1 + PLANES_BYTES):
        raise ValueError(f"{len(raw)} bytes are no whole number of {1 + PLANES_BYTES}")
    records = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 1 + PLANES_BYTES)
    return _upright(records[:, 1:]), records[:, 0].tolist()


def _upright(planes: Images) -> Images:
    """[N, 3072], a plane for each channel, as [N, 32, 32, 3]."""
    return np.ascontiguousarray(planes.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1))


_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
PYTHON = Layout(archive="cifar-10-python.tar.gz", folder="cifar-10-batches-py", files=_BATCHES, decode=decode_batch)
BINARY = Layout(
    archive="cifar-10-binary.tar.gz", folder="cifar-10-batches-bin", files=tuple(f"{name}.bin" for name in _BATCHES),
    decode=decode_records,
)  # fmt: skip
PARQUET = Layout(folder="plain_text", decode=decode_parquet)


@contextmanager
def _refusing(where: Path) -> Iterator[None]:
    """Whatever a damaged or malicious file makes of its reader becomes one sentence."""
    try:
        yield
    except Exception as error:
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        text = "".join(letter for letter in " ".join(str(error).split())[:200] if letter.isprintable())
        raise ValueError(f"{where} is damaged or no file of CIFAR-10: {kind}{text}; {ACCEPTED}") from None


def _split(images: Images, labels: list[Any]) -> Split:
    if len(labels) != len(images) or not all(type(label) is int and 0 <= label < CLASS_COUNT for label in labels):
        raise ValueError(f"{len(images)} images with other labels than one integer each, 0 to {CLASS_COUNT - 1}")
    return Split(images=images, labels=np.array(labels, dtype=np.int64))


def _members(path: Path, layout: Layout) -> Iterator[tuple[Path, bytes]]:
    """Each batch in an archive, as a path below the archive's own, with its bytes.

    The headers are walked here, for tarfile follows the extended ones before it can be asked whether to: their sizes, sparse
    maps and names. The originals have none.
    """
    left = {layout.folder, *(f"{layout.folder}/{name}" for name in (*layout.files, *EXTRAS))}
    with _refusing(path), gzip.open(path) as stream:
        while (header := stream.read(tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
            entry = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
            if not 0 <= entry.size <= MAX_MEMBER_BYTES:
                raise ValueError(f"member {entry.name!r} has {entry.size} bytes; at most {MAX_MEMBER_BYTES}")
            if entry.name not in left:
                raise ValueError(f"member {entry.name!r} is none of {layout.archive}, or comes twice")
            if not (entry.isdir() if entry.name == layout.folder else entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
                raise ValueError(f"member {entry.name!r} is no plain file")
            left.remove(entry.name)
            raw = stream.read(entry.size + -entry.size % tarfile.BLOCKSIZE)[: entry.size]
            if len(raw) < entry.size:
                raise EOFError(f"it ends within member {entry.name!r}")
            if (name := entry.name.removeprefix(f"{layout.folder}/")) in layout.files:
                yield path / name, raw
        if len(stream.read(MAX_PADDING_BYTES + 1)) > MAX_PADDING_BYTES:  # to the end, where gzip compares its checksum
            raise ValueError(f"it has more than {MAX_PADDING_BYTES} bytes after its last member")
        if absent := [name for name in layout.files if f"{layout.folder}/{name}" in left]:
            raise ValueError(f"it is without {', '.join(absent)}")
