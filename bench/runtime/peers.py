"""Which rank of this job died, as far as another rank can find out."""

import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NOTICE_S = 1.0  # a broken connection may be seen before its process has quite ended
POLL_S = 0.02
EXIT_CODE_FIELD = 49  # of /proc/<pid>/stat after the name: the 52nd of all
SIGNAL_MASK = 0x7F


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A rank's process."""

    rank: int
    host: str
    pid: int


def this_peer(rank: int) -> Peer:
    """Describe the process of this rank."""
    return Peer(rank=rank, host=socket.gethostname(), pid=os.getpid())


def lost_peers(peers: Sequence[Peer], rank: int) -> list[str]:
    """Name each other rank on this host whose process is gone, with its signal where it is known.

    Waits up to a second for the first; nothing is known of ranks on other hosts.
    """
    host = socket.gethostname()
    local_peers = [peer for peer in peers if peer.host == host and peer.rank != rank]
    deadline_s = time.monotonic() + NOTICE_S
    while True:
        phrases = [phrase for phrase in map(_end_of, local_peers) if phrase is not None]
        if phrases or time.monotonic() > deadline_s:
            return phrases
        time.sleep(POLL_S)


def _end_of(peer: Peer) -> str | None:
    """Say how a process ended; None where it lives."""
    try:
        stat = Path(f"/proc/{peer.pid}/stat").read_text()
    except OSError:
        return f"rank {peer.rank} is gone"
    fields_after_name = stat.rpartition(")")[2].split()
    if fields_after_name[0] not in ("Z", "X"):
        return None
    wait_status = int(fields_after_name[EXIT_CODE_FIELD])
    number = wait_status & SIGNAL_MASK
    if number:
        return f"rank {peer.rank} was killed by {signal.Signals(number).name}"
    return f"rank {peer.rank} ended with exit code {wait_status >> 8}"
