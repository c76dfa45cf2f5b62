"""A lock says who holds it; only of a process of this machine can be known that it is gone."""

import dataclasses
import fcntl
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bench import locks
from bench.locks import LockHeldError, hold, holder_of, is_gone, is_held_by_another, this_process

ROOT = Path(__file__).parents[2]
HOLDING = """
    import sys
    from pathlib import Path
    from bench.locks import hold
    with hold(Path(sys.argv[1]), "run x"):
        print("held", flush=True)
        sys.stdin.read()
"""


def start_holder(path: Path) -> subprocess.Popen:
    """A process that holds a lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDING), str(path)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / ".lock"


def take(path: Path, wait_s: float = 0.0) -> None:
    with hold(path, "run x", wait_s=wait_s):
        assert holder_of(path) == this_process()


def test_a_lock_excludes_another_process_until_it_is_let_go(path):
    process = start_holder(path)
    assert is_held_by_another(path)
    message = rf"run x is locked by process {process.pid} on \S+, since \d+ s; .*remove {path}$"
    with pytest.raises(LockHeldError, match=message):
        take(path)
    process.communicate(timeout=10)
    assert not is_held_by_another(path)
    take(path)
    assert not path.exists()


@pytest.mark.parametrize("is_reaped", [True, False], ids=["reaped", "zombie"])
def test_a_killed_holders_lock_is_taken_over(path, is_reaped):
    process = start_holder(path)
    process.kill()
    if is_reaped:
        process.communicate(timeout=10)
    deadline_s = time.monotonic() + 10
    while not is_gone(holder_of(path)):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert not is_held_by_another(path)
    take(path)
    process.communicate(timeout=10)


def test_one_waits_for_a_lock_as_long_as_asked(path):
    process = start_holder(path)
    with pytest.raises(LockHeldError):
        take(path, wait_s=0.2)
    process.stdin.close()
    take(path, wait_s=10.0)
    process.wait()


def write_lock(path: Path, **changes: str) -> None:
    """Write a lock of this process, with changes."""
    path.write_text(dataclasses.replace(this_process(), **changes).text)


GONE = {
    "another boot": {"boot": "b"},
    "an id that a later process has": {"start_ticks": "1"},
    "no process": {"pid": "4194305"},
}
UNKNOWN = {
    "another host": {"host": "node-7", "boot": "b"},
    "another machine of the same name": {"machine": "m", "boot": "b"},
    "another container": {"pid_namespace": "pid:[1]", "pid": "4194305"},
}


@pytest.mark.parametrize("case", GONE)
def test_what_is_gone_is_taken_over(path, case):
    write_lock(path, **GONE[case])
    take(path)


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_may_be_alive_elsewhere_is_left_and_named(path, case):
    write_lock(path, **UNKNOWN[case])
    two_hours_ago = time.time() - 7300
    os.utime(path, (two_hours_ago, two_hours_ago))
    holder = holder_of(path)
    message = f"process {holder.pid} on {holder.host}, since 2 h; .*remove {path}"
    with pytest.raises(LockHeldError, match=message):
        take(path)
    assert holder_of(path) == holder


@pytest.mark.parametrize("content", [b"", b"host x\n", b"\xff\n", b"host\nhost\n"])
def test_a_lock_that_does_not_say_is_left(path, content):
    path.write_bytes(content)
    with pytest.raises(LockHeldError, match=f"{path} does not say by whom"):
        take(path)
    assert is_held_by_another(path)
    assert path.read_bytes() == content


def test_without_flock_it_locks_nevertheless(path, monkeypatch):
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    process = start_holder(path)
    with pytest.raises(LockHeldError):
        take(path)
    process.kill()
    process.communicate(timeout=10)
    take(path)


def test_a_full_disk_leaves_no_lock(path, monkeypatch):
    def fail(descriptor: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(locks.os, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        take(path)
    assert not path.exists()


def test_a_lock_that_was_removed_by_hand_and_taken_by_another_is_not_removed(path):
    with hold(path, "run x"):
        write_lock(path, pid="1")
    assert holder_of(path).pid == "1"


TAKING = """
    import os, sys
    from pathlib import Path
    from bench.locks import LockHeldError, hold
    path, log = map(Path, sys.argv[1:])
    for _ in range(20):
        with hold(path, "turns", wait_s=60):
            with log.open("a") as file:
                file.write(f"in {os.getpid()}\\n")
                file.flush()
                file.write(f"out {os.getpid()}\\n")
"""


def test_processes_that_want_it_at_once_have_it_one_after_the_other(path, tmp_path):
    """From a lock that a dead process left, which all of them want to take over."""
    write_lock(path, pid="4194305")
    log = tmp_path / "log"
    command = [sys.executable, "-c", textwrap.dedent(TAKING), str(path), str(log)]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    lines = log.read_text().splitlines()
    assert len(lines) == 4 * 20 * 2
    for entry, leave in zip(lines[::2], lines[1::2], strict=True):
        assert entry.replace("in ", "out ") == leave
