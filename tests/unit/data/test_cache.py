"""The cache answers with what was built.

Whatever happens to its files, and however many processes ask.
"""

import errno
import fcntl
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.data import cache
from bench.data.source import Pools, content_sha256, gather
from tests.unit.data.factory import random_split

SOURCE = "0" * 64


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def build() -> Pools:
    return gather(random_split(8, seed=0), random_split(3, seed=1))


def never() -> Pools:
    raise AssertionError("built again")


class CountedBuild:
    """Builds, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Pools:
        self.calls += 1
        return build()


def entry(root: Path) -> Path:
    return root / "data" / f"{SOURCE}.npz"


def check(pools: Pools) -> None:
    expected = build()
    assert pools.sha256 == expected.sha256
    for a, b in ((pools.train, expected.train), (pools.test, expected.test)):
        assert np.array_equal(a.images, b.images)
        assert np.array_equal(a.labels, b.labels)
        assert a.images.dtype == np.uint8
        assert a.labels.dtype == np.int64


def leftovers(root: Path) -> list[str]:
    return [path.name for path in (root / "data").rglob(".*")]


def test_root_is_the_first_of_three(monkeypatch, tmp_path):
    assert cache.cache_root() == tmp_path / "cache"
    monkeypatch.delenv("HEADSTART_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_root() == tmp_path / "xdg" / "headstart"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_root() == tmp_path / "home" / ".cache" / "headstart"
    monkeypatch.setenv("HEADSTART_CACHE", "~/kept")
    assert cache.cache_root() == tmp_path / "home" / "kept"


def test_second_load_does_not_build(root):
    check(cache.load(SOURCE, build))
    kept = cache.load(SOURCE, never)
    check(kept)
    assert leftovers(root) == []


def test_a_source_without_test_pool():
    alone = gather(random_split(8, seed=0))
    cache.load(SOURCE, lambda: alone)
    kept = cache.load(SOURCE, never)
    assert kept.test is None
    assert content_sha256(kept.train) == alone.sha256


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def repack(path: Path, **changes) -> None:
    """The same file with other arrays in it; None: without this one."""
    with np.load(path) as stored:
        arrays = dict(stored) | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def overwrite_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def flip_byte_in_the_middle(path: Path) -> None:
    flip_byte(path, path.stat().st_size // 2)


def write_one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, build().train.images)


DAMAGE = {
    "truncated": truncate,
    "empty": partial(Path.write_bytes, data=b""),
    "text": partial(Path.write_text, data="x"),
    "zeros": overwrite_with_zeros,
    "other byte of the images": flip_byte_in_the_middle,
    "other byte at the end": partial(flip_byte, place=-10),
    "other pixel": partial(repack, train_images=build().train.images ^ 1),
    "other labels": partial(repack, test_labels=build().test.labels + 1),
    "pickled array": partial(repack, train_labels=np.array([{}], dtype=object)),
    "no images": partial(repack, test_images=None),
    "no digest": partial(repack, sha256=None),
    "fewer pools": partial(repack, test_images=None, test_labels=None),
    "no pools": partial(
        repack, train_images=None, train_labels=None, test_images=None, test_labels=None
    ),
    "another format": write_one_array,
    "no file": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_built_again(root, damage):
    cache.load(SOURCE, build)
    DAMAGE[damage](entry(root))
    counted_build = CountedBuild()
    check(cache.load(SOURCE, counted_build))
    assert counted_build.calls == 1
    check(cache.load(SOURCE, never))
    assert leftovers(root) == []


def test_a_failed_write_leaves_nothing(root, monkeypatch):
    def full_disk(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            cache.load(SOURCE, build)
    assert not entry(root).exists()
    assert leftovers(root) == []
    check(cache.load(SOURCE, build))


def test_everything_is_synced_before_it_is_named(root, monkeypatch):
    steps = []
    plain_fsync = os.fsync
    plain_replace = os.replace

    def watched_fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        steps.append(("fsync", Path(path)))
        plain_fsync(descriptor)

    def watched_replace(source, target):
        steps.append(("replace", Path(target)))
        plain_replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    cache.load(SOURCE, build)
    first, second, third = steps
    assert first[0] == "fsync"
    assert first[1].name.startswith(f".{SOURCE}.npz.")
    assert second == ("replace", entry(root))
    assert third == ("fsync", root / "data")


def no_locks(*_) -> None:
    raise OSError(errno.ENOSYS, "Function not implemented")


def load_with_locks(root: str, barrier, answers) -> None:
    """In a process: start together with the other one, and take long to build."""
    os.environ["HEADSTART_CACHE"] = root
    counted_build = CountedBuild()

    def build_slowly() -> Pools:
        time.sleep(0.2)
        return counted_build()

    barrier.wait(timeout=30)
    pools = cache.load(SOURCE, build_slowly)
    answers.put((pools.sha256, counted_build.calls))


def load_without_locks(root: str, barrier, answers) -> None:
    """In a process: build together with the other one, which deadlocks where only one builds."""
    os.environ["HEADSTART_CACHE"] = root
    fcntl.flock = no_locks
    counted_build = CountedBuild()

    def build_together() -> Pools:
        barrier.wait(timeout=30)
        return counted_build()

    pools = cache.load(SOURCE, build_together)
    answers.put((pools.sha256, counted_build.calls))


@pytest.mark.parametrize(
    ("load", "builds"),
    [
        pytest.param(load_with_locks, 1, id="with locks one builds"),
        pytest.param(load_without_locks, 2, id="without locks both build"),
    ],
)
def test_two_processes_at_once(root, load, builds):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    answers = context.Queue()
    arguments = (str(root), barrier, answers)
    processes = [context.Process(target=load, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    received = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert {sha256 for sha256, _ in received} == {build().sha256}
    assert sum(calls for _, calls in received) == builds
    check(cache.load(SOURCE, never))
    assert leftovers(root) == []


def test_what_is_kept_is_read_without_a_lock(root, monkeypatch):
    cache.load(SOURCE, build)
    monkeypatch.setattr(cache, "locked", lambda _: never())
    check(cache.load(SOURCE, never))


def test_a_lock_that_cannot_be_opened_is_gone_on_without(root):
    (root / "data" / f"{SOURCE}.lock").mkdir(parents=True)
    check(cache.load(SOURCE, build))
    check(cache.load(SOURCE, never))


def test_many_repair_the_same_damage(root, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_locks)
    barrier = threading.Barrier(4)

    def build_together() -> Pools:
        barrier.wait(timeout=30)
        return build()

    for _ in range(10):
        cache.load(SOURCE, build)
        truncate(entry(root))
        with ThreadPoolExecutor(4) as threads:
            repairs = [threads.submit(cache.load, SOURCE, build_together) for _ in range(4)]
        for repair in repairs:
            check(repair.result())
        check(cache.load(SOURCE, never))
        assert leftovers(root) == []
