"""Locks between processes that may run on several machines: files that say who holds them.

Nothing is asked of the file system but that a file can be made only once. A lock whose holder is
known to be gone is taken over; of a process on another host nothing can be known.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

POLL_S = 0.05
MACHINE_ID = Path("/etc/machine-id")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")


class LockHeldError(ValueError):
    """Another process, which may be alive, holds a lock."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process, told apart from all others that had or will have its id."""

    host: str
    machine: str
    boot: str
    pid_namespace: str
    pid: str
    start_ticks: str  # of the boot's clock

    @property
    def text(self) -> str:
        """What stands in the lock: a line for each field."""
        lines = [f"{field.name} {getattr(self, field.name)}\n" for field in fields(self)]
        return "".join(lines)


def this_process() -> Holder:
    """Describe the process that asks."""
    return Holder(
        host=socket.gethostname(),
        machine=_text_of(MACHINE_ID),
        boot=_text_of(BOOT_ID),
        pid_namespace=os.readlink(PID_NAMESPACE),
        pid=str(os.getpid()),
        start_ticks=_start_ticks(str(os.getpid())) or "",
    )


def holder_of(path: Path) -> Holder | None:
    """Read who holds a lock; None where there is none, or one that does not say."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return None
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        values[name] = value
    if set(values) != {field.name for field in fields(Holder)}:
        return None
    return Holder(**values)


def is_gone(holder: Holder) -> bool:
    """Say whether a process is known to have ended; of another host's that is never known."""
    here = this_process()
    if (holder.host, holder.machine) != (here.host, here.machine):
        return False
    if holder.boot != here.boot:
        return True
    if holder.pid_namespace != here.pid_namespace:
        return False
    return _start_ticks(holder.pid) != holder.start_ticks


def is_held_by_another(path: Path) -> bool:
    """Say whether another process, which may be alive, holds a lock."""
    if not path.exists():
        return False
    holder = holder_of(path)
    if holder is None:
        return True
    return holder != this_process() and not is_gone(holder)


@contextmanager
def hold(path: Path, subject: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock, taken over from a holder that is gone; waits so long for one that is not.

    `subject` says in the error what is locked. Raises LockHeldError.
    """
    here = this_process()
    deadline_s = time.monotonic() + wait_s
    path.parent.mkdir(parents=True, exist_ok=True)
    while not _make(path, here):
        _remove_where_gone(path)
        if not path.exists():
            continue
        if time.monotonic() >= deadline_s:
            raise LockHeldError(_refusal(path, subject))
        time.sleep(POLL_S)
    try:
        yield
    finally:
        if holder_of(path) == here:
            path.unlink(missing_ok=True)


def _make(path: Path, holder: Holder) -> bool:
    """Make the lock's file; False where it is there already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(descriptor, holder.text.encode())
        os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return True


def _remove_where_gone(path: Path) -> None:
    """Remove a lock whose holder is gone.

    All who may find so are on this host, where they take turns: else the second would remove the
    lock that the first has made meanwhile.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        _take_turns(folder)
        holder = holder_of(path)
        if holder is not None and is_gone(holder):
            path.unlink(missing_ok=True)
    finally:
        os.close(folder)  # and the turn ends


def _take_turns(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without flock: two takers at the same moment may race
        pass


def _refusal(path: Path, subject: str) -> str:
    holder = holder_of(path)
    if holder is None:
        return f"{subject} is locked, and {path} does not say by whom; if nobody is, remove it"
    return (
        f"{subject} is locked by process {holder.pid} on {holder.host}, since {_age_text(path)}; "
        f"if that process is gone, remove {path}"
    )


def _age_text(path: Path) -> str:
    try:
        age_s = max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return "a moment ago"
    if age_s < 120:
        return f"{age_s:.0f} s"
    if age_s < 7200:
        return f"{age_s / 60:.0f} min"
    return f"{age_s / 3600:.0f} h"


def _start_ticks(pid: str) -> str | None:
    """Return when a process started, in ticks since the boot; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields_after_name = stat.rpartition(")")[2].split()
    is_zombie = fields_after_name[0] in ("Z", "X")
    return None if is_zombie else fields_after_name[19]


def _text_of(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
