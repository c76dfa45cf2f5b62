"""Random images in every layout in which CIFAR-10 is published, for the tests of its source."""

from pathlib import Path
from typing import Any

from bench.data import cifar10
from bench.data.cifar10_layouts import BINARY, PYTHON
from bench.data.source import Dataset, Split
from tests.unit.data.factory import (
    data_config,
    publish,
    random_split,
    write_archive,
    write_batches,
    write_hugging_face,
    write_records,
)

TRAIN = random_split(40, seed=1)
TEST = random_split(8, seed=2)
TRAIN_FILE = "train-00000-of-00001.parquet"
TEST_FILE = "test-00000-of-00001.parquet"
BATCHES = PYTHON.files


def write_original_batches(folder: Path, train: Split, test: Split) -> None:
    """Write the original batches, and take their digests for the published ones."""
    write_batches(folder, train, test)
    publish(folder)


def write_python_archive(folder: Path, train: Split, test: Split) -> None:
    """Write the archive of batches, and take its digest for the published one."""
    write_archive(folder / PYTHON.archive, PYTHON.folder, write_batches, train, test)
    publish(folder)


def write_binary_archive(folder: Path, train: Split, test: Split) -> None:
    """Write the archive of records, and take its digest for the published one."""
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


def load(folder: Path, **changes: Any) -> Dataset:
    """Load CIFAR-10 from a folder, under a config with changes."""
    return cifar10.load(data_config(dir=str(folder), **changes))
