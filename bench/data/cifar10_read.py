"""Reads CIFAR-10's files, from its archive or as they are.

Archives and python batches are opened only as the published bytes, which their md5 tells. The
others may come from anywhere: no size that they claim is believed. Nothing is written to disk.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.data.cifar10_decode import MAX_IMAGES, DecodedBatch
from bench.data.cifar10_layouts import ACCEPTED, CLASSES, Layout, published_md5
from bench.data.source import Split, join


class NamedBatch(NamedTuple):
    """A batch as it was published: its name and its bytes, not decoded."""

    name: str
    content: bytes


def read(paths: Sequence[Path], layout: Layout) -> tuple[Split, Split]:
    """Read train and test from an archive or from its files.

    Whatever a damaged or malicious file raises becomes one ValueError.
    """
    train_parts: list[Split] = []
    test_parts: list[Split] = []
    for path in paths:
        try:
            for batch in _batches(path, layout):
                parts = test_parts if batch.name.startswith("test") else train_parts
                parts.append(_checked(layout.decode(batch.content)))
            _check_image_count(train_parts + test_parts)
        except Exception as error:  # a damaged or malicious file can raise anything
            raise ValueError(
                f"{path} is damaged or no file of CIFAR-10: {_cause(error)}; {ACCEPTED}"
            ) from None
    return join(train_parts), join(test_parts)


def _batches(path: Path, layout: Layout) -> Iterator[NamedBatch]:
    """Yield the batches in a file. Only the published bytes get further than the md5's check."""
    content = path.read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    expected_md5 = published_md5(path)
    if expected_md5 is not None and md5 != expected_md5:
        raise ValueError(f"its md5 is {md5}, not {expected_md5} as published, so it was not opened")
    if path.name != layout.archive:
        yield NamedBatch(path.name, content)
        return
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for member in archive:
            name = member.name.removeprefix(f"{layout.folder}/")
            if name not in layout.files:
                continue
            file = archive.extractfile(member)
            if file is not None:
                yield NamedBatch(name, file.read())


def _checked(batch: DecodedBatch) -> Split:
    """Make a split of what was decoded. Raises ValueError for labels that CIFAR-10 cannot have."""
    are_classes = all(_is_class(label) for label in batch.labels)
    if len(batch.labels) != len(batch.images) or not are_classes:
        raise ValueError(
            f"{len(batch.images)} images with other labels than one integer each, "
            f"0 to {len(CLASSES) - 1}"
        )
    return Split(images=batch.images, labels=np.array(batch.labels, dtype=np.int64))


def _is_class(label: object) -> bool:
    return type(label) is int and 0 <= label < len(CLASSES)


def _check_image_count(parts: Sequence[Split]) -> None:
    image_count = sum(len(part.labels) for part in parts)
    if image_count > MAX_IMAGES:
        raise ValueError(f"with it there are {image_count} images; at most {MAX_IMAGES}")


def _cause(error: Exception) -> str:
    """Say what went wrong in one line that can be printed, whatever the file put into it."""
    line = " ".join(str(error).split())
    printable = "".join(letter for letter in line[:200] if letter.isprintable())
    if type(error) is ValueError:
        return printable
    return f"{type(error).__name__}: {printable}"
