"""A step of the day: its log, its exit code, its limit, and that nothing of it stays behind."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from launch import gpu_day_run
from launch.gpu_day_run import Step, limit_of, run_step


def python_step(source: str, **fields) -> Step:
    return Step(name="step", command=(sys.executable, "-c", source), limit_s=60, **fields)


def run(step: Step, tmp_path: Path, limit_s: float = 30):
    return run_step(step, limit_s, logs=tmp_path, environment=dict(os.environ), root=tmp_path)


def test_a_green_step_keeps_both_streams(tmp_path):
    outcome = run(python_step("import sys; print('out'); print('err', file=sys.stderr)"), tmp_path)
    assert (outcome.status, outcome.reason, outcome.log) == ("ok", "", "step.txt")
    assert sorted((tmp_path / "step.txt").read_text().split()) == ["err", "out"]


def test_a_red_step_says_its_exit_code(tmp_path):
    outcome = run(python_step("raise SystemExit(3)"), tmp_path)
    assert (outcome.status, outcome.reason) == ("red", "exit code 3")


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


CHILD_THAT_STAYS = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
pathlib.Path("child").write_text(str(child.pid))
"""


@pytest.mark.parametrize(
    ("ending", "status"), [("time.sleep(100)", "killed"), ("raise SystemExit(0)", "ok")]
)
def test_nothing_that_a_step_started_outlives_it(ending, status, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_day_run, "GRACE_S", 0.3)
    outcome = run(python_step(CHILD_THAT_STAYS + ending), tmp_path, limit_s=6)
    assert outcome.status == status
    child = int((tmp_path / "child").read_text())
    deadline_s = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not is_running(child)


def test_a_step_over_its_limit_is_interrupted_first_and_told(tmp_path):
    source = "import time\ntry:\n    time.sleep(100)\nexcept KeyboardInterrupt:\n    print('tells')"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a job of a shell's background
    try:
        outcome = run(python_step(source), tmp_path, limit_s=6)  # a busy machine starts Python late
    finally:
        signal.signal(signal.SIGINT, before)
    assert (outcome.status, outcome.reason) == ("killed", "over its limit of 6 s")
    assert outcome.seconds < 30
    assert (tmp_path / "step.txt").read_text() == "tells\n"


def test_later_steps_keep_what_they_must_have():
    first = Step(name="a", command=(), limit_s=100)
    later = [
        Step(name="b", command=(), limit_s=100, least_s=40),
        Step(name="c", command=(), limit_s=100, least_s=30, skip="not here"),
    ]
    assert limit_of(first, later, left_s=300) == 100
    assert limit_of(first, later, left_s=90) == 50
    assert limit_of(first, later, left_s=30) == 0
    assert limit_of(later[0], [first, later[0]], left_s=50) == 40
    assert limit_of(later[0], [], left_s=20) == 20
