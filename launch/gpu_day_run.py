"""Runs one step of a first day on a GPU: a subprocess with a limit.

It is killed with all that it started.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GRACE_S = 6.0  # between the interrupt, after which pytest still tells its results, and the kill
LEAST_S = 8  # a step with less time than this is not begun


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of the day.

    `limit_s`: the most seconds it may take; `least_s`: seconds that earlier steps must leave it.
    `skip`: why it is not run; `needs`: the step that must have been ok; `tail_lines`: how much of
    its log the summary shows.
    """

    name: str
    command: tuple[str, ...]
    limit_s: int
    least_s: int = 0
    skip: str = ""
    needs: str = ""
    tail_lines: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Say how a step ended and why: ok, red (its exit code), killed (over its limit), skipped."""

    name: str
    status: str
    seconds: float
    limit_s: float
    reason: str
    log: str


def limit_of(step: Step, later_steps: list[Step], left_s: float) -> float:
    """Say how many of the seconds left a step may take; later ones keep what they must have."""
    kept_free_s = sum(later.least_s for later in later_steps if not later.skip)
    return min(step.limit_s, max(left_s - kept_free_s, min(step.least_s, left_s)))


def run_step(
    step: Step, limit_s: float, *, logs: Path, environment: Mapping[str, str], root: Path
) -> Outcome:
    """Run a step's command from `root` with its output in `logs`; it is killed after `limit_s`."""
    log = logs / f"{step.name}.txt"
    start_s = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            step.command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=hear_interrupts,
        )
        status, reason = _wait(process, limit_s)
    return Outcome(
        name=step.name,
        status=status,
        seconds=round(time.monotonic() - start_s, 1),
        limit_s=round(limit_s, 1),
        reason=reason,
        log=log.name,
    )


def hear_interrupts() -> None:
    """Let an interrupt reach a step, which the shell has background jobs ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> tuple[str, str]:
    """Wait for a process that leads a group, of which nothing is left: its status and reason."""
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        end_group(process)
        return "killed", f"over its limit of {limit_s:.0f} s"
    finally:
        signal_group(process, signal.SIGKILL)
    if code == 0:
        return "ok", ""
    return "red", f"exit code {code}"


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process group, and kill it where it does not end soon."""
    signal_group(process, signal.SIGINT)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        signal_group(process, signal.SIGKILL)
        process.wait()


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to all processes of a group; nothing where none is left."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
