"""Starts headstart as a user does, for tests: in a process, from the repository's root."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = "tests/experiments/tiny.yaml"
# Of make itself, and of the make that may run the tests.
MAKE_VARIABLES = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "EXP", "ARGS", "GPUS", "K")
DATA_VARIABLES = ("CIFAR10_DIR", "HEADSTART_WEIGHTS_DIR", "WANDB_MODE", "WANDB_API_KEY")
CLEARED = {*MAKE_VARIABLES, *DATA_VARIABLES}


def environment(tmp_path: Path, **changes: str | None) -> dict[str, str]:
    """This process's environment with a cache of the test's own and the given changes; None unsets.

    Data, weights and W&B's settings are unset, and so is what `make test ARGS=...` hands down.
    """
    variables = {name: value for name, value in os.environ.items() if name not in CLEARED}
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
    options = {
        "--num_processes": str(processes),
        "--num_machines": "1",
        "--main_process_port": "0",
        "--mixed_precision": "no",
        "--dynamo_backend": "no",
    }
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    for option, value in options.items():
        command += [option, value]
    command += arguments
    env = {**env, "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
    )
