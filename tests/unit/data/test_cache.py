"""The cache answers with what was built, whatever happens to its files, and however many processes
ask.
"""

import errno
import fcntl
import multiprocessing
import os
import threading
import time
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


def entry(root: Path) -> Path:
    return root / "data" / f"{SOURCE}.npz"


def check(pools: Pools) -> None:
    expected = build()
    assert pools.sha256 == expected.sha256
    for a, b in ((pools.train, expected.train), (pools.test, expected.test)):
        assert np.array_equal(a.images, b.images)
        assert np.array_equal(a.labels, b.labels)
        assert (a.images.dtype, a.labels.dtype) == (np.uint8, np.int64)


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
    monkeypatch.setenv("HEADSTART_CACHE", "~/own")
    assert cache.cache_root() == tmp_path / "home" / "own"


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
    with np.load(path) as file:
        arrays = dict(file) | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def flip_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "truncated": truncate,
    "empty": lambda at: at.write_bytes(b""),
    "text": lambda at: at.write_text("x"),
    "zeros": lambda at: at.write_bytes(bytes(at.stat().st_size)),
    "other byte of the images": lambda at: flip_byte(at, at.stat().st_size // 2),
    "other byte at the end": lambda at: flip_byte(at, -10),
    "other pixel": lambda at: repack(at, train_images=build().train.images ^ 1),
    "other labels": lambda at: repack(at, test_labels=build().test.labels + 1),
    "pickled array": lambda at: repack(at, train_labels=np.array([{}], dtype=object)),
    "no images": lambda at: repack(at, test_images=None),
    "no digest": lambda at: repack(at, sha256=None),
    "fewer pools": lambda at: repack(at, test_images=None, test_labels=None),
    "no pools": lambda at: repack(
        at, train_images=None, train_labels=None, test_images=None, test_labels=None
    ),
    "another format": lambda at: np.save(at.open("wb"), build().train.images),
    "no file": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_built_again(root, damage):
    cache.load(SOURCE, build)
    DAMAGE[damage](entry(root))
    built = []
    check(cache.load(SOURCE, lambda: built.append(1) or build()))
    assert built == [1]
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
    fsync = os.fsync
    replace = os.replace
    monkeypatch.setattr(
        os, "fsync", lambda file: (steps.append(os.readlink(f"/proc/self/fd/{file}")), fsync(file))
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append(f"-> {b}"), replace(a, b)))
    cache.load(SOURCE, build)
    building, named, folder = steps
    assert Path(building).name.startswith(f".{SOURCE}.npz.")
    assert (named, folder) == (f"-> {entry(root)}", str(root / "data"))


def no_locks(*_) -> None:
    raise OSError(errno.ENOSYS, "Function not implemented")


def race(root: str, locks: bool, barrier, answers) -> None:
    os.environ["HEADSTART_CACHE"] = root
    built = []

    def slowly() -> Pools:
        built.append(1)
        time.sleep(0.2)
        return build()

    def together() -> Pools:
        barrier.wait(timeout=30)
        return build()

    if locks:
        barrier.wait(timeout=30)
    else:
        fcntl.flock = no_locks
    answers.put((cache.load(SOURCE, slowly if locks else together).sha256, sum(built)))


@pytest.mark.parametrize(("locks", "slow_builds"), [(True, 1), (False, 0)])
def test_two_processes_at_once(root, locks, slow_builds):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    answers = context.Queue()
    both = [
        context.Process(target=race, args=(str(root), locks, barrier, answers)) for _ in range(2)
    ]
    for process in both:
        process.start()
    digests, built = zip(*(answers.get(timeout=60) for _ in both), strict=True)
    for process in both:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert set(digests) == {build().sha256}
    assert sum(built) == slow_builds
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
    for _ in range(10):
        cache.load(SOURCE, build)
        truncate(entry(root))
        barrier = threading.Barrier(4)
        failures = []

        def repair(barrier=barrier, failures=failures):
            try:
                check(cache.load(SOURCE, lambda: (barrier.wait(timeout=30), build())[1]))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=repair) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        check(cache.load(SOURCE, never))
        assert leftovers(root) == []
