"""Starts ranks of one job by hand, without a launcher that would end one with the other."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.commands import ROOT

DISTURBED = str(ROOT / "tests" / "distributed" / "disturbed.py")
TIMEOUT_S = 240


class Ended(NamedTuple):
    """How a rank ended, and what it printed."""

    code: int
    out: str
    err: str


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def start_ranks(
    commands: Sequence[Sequence[str]], env: Mapping[str, str]
) -> list[subprocess.Popen[str]]:
    """Start a process for each command: the ranks of one job, over gloo."""
    port = free_port()
    processes = []
    for rank, command in enumerate(commands):
        rank_env = {
            **env,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(len(commands)),
            "LOCAL_WORLD_SIZE": str(len(commands)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "ACCELERATE_USE_CPU": "true",
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        if len(commands) == 1:
            for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
                del rank_env[name]
        processes.append(
            subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=rank_env,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    return processes


def wait_for(processes: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    """Wait for all ranks; none is left behind, whatever happens.

    None is reaped before all have ended, so that each can see how another one did.
    """
    try:
        for process in processes:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        ended = []
        for process in processes:
            out, err = process.communicate(timeout=TIMEOUT_S)
            ended.append(Ended(process.returncode, out, err))
        return ended
    finally:
        for process in processes:
            process.kill()


def run_ranks(
    arguments: Sequence[str], env: Mapping[str, str], *, size: int, disturb: str = ""
) -> list[Ended]:
    """Run `python -m bench` on so many ranks; `disturb` is what disturbed.py is told."""
    command = [DISTURBED, *arguments]
    return wait_for(start_ranks([command] * size, {**env, "DISTURB": disturb}))
