"""Seconds of a checkpoint of ResNet-18, beside a raw write of as many bytes and their sha256.

Rounds take turns; what is asked for is the ratio to the slower of the two, within a round.
"""

import hashlib
import os
import shutil
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bench.data.batches import Batch
from bench.models.networks import build
from bench.models.weights import initial_state, random_weights
from bench.training.program import Program
from tests.unit.training.factory import make_batch, make_config, opened_world
from tests.unit.training.saving import save

pytestmark = pytest.mark.benchmark

ROUNDS = 25
CLASSES = 10
CHANGES = {"model.name": "resnet18", "schedule.average_decay": 0.9}


@pytest.fixture
def program():
    """ResNet-18 with AdamW and an average, a step on: 180 MB of state."""
    config = make_config(CHANGES)
    with opened_world() as world:
        raw = build("resnet18", CLASSES)
        program = Program(raw, raw, config, world, CLASSES)
        program.reset(initial_state(config.model, CLASSES, 0, random_weights()))
        batch: Batch = make_batch(0)
        program.step(batch, 0)
        yield program


def seconds_of(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def write_raw(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def test_a_checkpoint_costs_little_more_than_its_bytes(program, tmp_path, benchmark, capsys):
    folder = save(tmp_path / "measured", program)
    content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    shutil.rmtree(tmp_path / "measured")
    save_s = []
    write_s = []
    hash_s = []
    for number in range(ROUNDS):
        directory = tmp_path / str(number)
        raw = tmp_path / f"raw{number}"
        save_s.append(seconds_of(partial(save, directory, program)))
        write_s.append(seconds_of(partial(write_raw, raw, content)))
        hash_s.append(seconds_of(partial(hashlib.sha256, content)))
        shutil.rmtree(directory)
        raw.unlink()
    ratios = []
    for saved_s, parts_s in zip(save_s, zip(write_s, hash_s, strict=True), strict=True):
        ratios.append(saved_s / max(parts_s))
    figures = {
        "bytes": len(content),
        "save_s": statistics.median(save_s),
        "write_s": statistics.median(write_s),
        "sha256_s": statistics.median(hash_s),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }
    benchmark.extra_info.update(figures)
    benchmark.pedantic(lambda: None, rounds=1)
    with capsys.disabled():
        print(
            "\ncheckpoint of ResNet-18: ", {key: round(value, 4) for key, value in figures.items()}
        )
