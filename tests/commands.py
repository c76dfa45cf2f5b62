"""Starts headstart the way a user does, for tests: from the repository's root, in a process of its
own.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.clean_environment import cleared

ROOT = Path(__file__).parents[1]
TINY = "tests/experiments/tiny.yaml"


def environment(tmp_path: Path, **changes: str | None) -> dict[str, str]:
    """This process's environment with a cache of the test's own and the given changes; None unsets.

    Whatever decides how headstart behaves is unset.
    """
    variables = cleared(os.environ)
    variables |= {"HEADSTART_CACHE": str(tmp_path / "cache"), "PYTHONUNBUFFERED": "1"}
    for name, value in changes.items():
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = value
    return variables


def bench(
    *arguments: str, env: dict[str, str], timeout_s: float = 240
) -> subprocess.CompletedProcess[str]:
    """`python -m bench ...`, waited for."""
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def launch(
    *arguments: str, env: dict[str, str], processes: int, timeout_s: float = 300
) -> subprocess.CompletedProcess[str]:
    """`accelerate launch` of CPU ranks over gloo on the loopback interface."""
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
        *("--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", *arguments),
    ]
    env = {**env, "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
    )
