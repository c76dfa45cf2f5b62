"""What a start finds: damaged ledgers, another process, runs of another config or code."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.config.load import load
from bench.experiment.plan import plan, run_ids
from bench.ledger.store import RunStore
from bench.locks import is_held_by_another
from tests.commands import ROOT, TINY, bench, environment

IDS = run_ids(plan(load(ROOT / TINY)))
LEDGER = "events.rank0.jsonl"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The tiny study, run once: its directory."""
    folder = tmp_path_factory.mktemp("finished")
    done = bench("run", TINY, f"--output={folder}/runs", env=environment(folder))
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "tiny"


@pytest.fixture
def study(finished, tmp_path) -> Path:
    """A copy of the finished study."""
    return Path(shutil.copytree(finished, tmp_path / "runs" / "tiny"))


def run(study: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    env = environment(study.parents[1])
    return bench("run", TINY, f"--output={study.parent}", *overrides, env=env)


def tell(study: Path, verb: str) -> subprocess.CompletedProcess[str]:
    return bench(verb, str(study), env=environment(study.parents[1]))


def cut_a_line(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join([*lines[:3], *lines[4:]])


def add_other_bytes(content: bytes) -> bytes:
    return content + b"\xff\xfe\n"


@pytest.mark.parametrize("damage", [cut_a_line, add_other_bytes])
def test_a_damaged_ledger_gives_no_answer_and_its_run_is_made_anew(study, finished, damage):
    ledger = study / IDS[1] / LEDGER
    content = damage(ledger.read_bytes())
    ledger.write_bytes(content)
    report_before = (study / "report.json").read_bytes()
    for verb in ("report", "verify"):
        done = tell(study, verb)
        assert (verb, done.returncode) == (verb, 1)
        assert IDS[1] in done.stderr
        assert "verdict" not in done.stdout
    assert (study / "report.json").read_bytes() == report_before
    done = run(study)
    assert done.returncode == 0, done.stderr
    assert "1 of 4 runs to do" in done.stdout
    assert f"{IDS[1]}: begun anew, attempt 2: its ledger cannot be believed" in done.stdout
    assert (study / IDS[1] / f"{LEDGER}.aside-1").read_bytes() == content
    result = RunStore(study).result(IDS[1])
    assert result.confusion == RunStore(finished).result(IDS[1]).confusion
    assert tell(study, "verify").returncode == 0


def test_a_torn_last_line_is_a_kill_and_no_damage(study):
    ledger = study / IDS[-1] / LEDGER
    content = ledger.read_bytes()
    ledger.write_bytes(content[:-30])
    (study / IDS[-1] / "result.json").unlink()
    assert tell(study, "report").returncode == 0
    assert tell(study, "verify").returncode == 0
    done = run(study)
    assert done.returncode == 0, done.stderr
    assert "begun anew, attempt 2: no checkpoint was saved" in done.stdout
    assert tell(study, "verify").returncode == 0


def files_below(study: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["--optim.weight_decay=0.1"],
            r"runs lie here .*\(4, as .* they were made by another config",
        ),
        (["--blocks=1"], r"runs lie here .*\(2, as .* they are of more blocks"),
    ],
)
def test_another_config_starts_nothing_and_says_how_to_keep_what_lies_there(
    study, overrides, message
):
    before = files_below(study)
    done = run(study, *overrides)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert "another --output or --name" in done.stderr
    assert files_below(study) == before


def test_runs_by_another_code_stay_and_are_counted_by_report_and_verify(study):
    ledger = study / IDS[0] / LEDGER
    other_code = f'"code_sha256":"{"d" * 64}"'
    ledger.write_text(re.sub(r'"code_sha256":"\w{64}"', other_code, ledger.read_text()))
    (study / IDS[0] / "result.json").unlink()
    before = ledger.read_bytes()
    done = run(study)
    assert done.returncode == 0, done.stderr
    assert "0 of 4 runs to do" in done.stdout
    assert ledger.read_bytes() == before
    sentence = r"runs by code: 3 by \w{12}, 1 by dddddddddddd"
    assert re.search(sentence, (study / "report.md").read_text())
    verified = tell(study, "verify")
    assert verified.returncode == 0, verified.stderr
    assert re.search(sentence, verified.stdout)


LONG = ("--train.samples=1048576", "--evaluation.every_samples=1024")


@pytest.fixture
def running(tmp_path) -> Iterator[Path]:
    """A study whose first run is under way, until the test ends."""
    command = [sys.executable, "-m", "bench", "run", TINY, f"--output={tmp_path}/runs"]
    process = subprocess.Popen(
        [*command, *LONG],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    root = tmp_path / "runs" / "tiny"
    deadline_s = time.monotonic() + 120
    while not any(b"eval_stop" in path.read_bytes() for path in root.glob(f"*/{LEDGER}")):
        assert process.poll() is None, "the study ended"
        assert time.monotonic() < deadline_s, "the study did not begin"
        time.sleep(0.05)
    yield root
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_beside_a_study_that_runs_only_its_report_can_be_written(running):
    plan_before = (running / "plan.json").read_bytes()
    again = run(running, *LONG)
    assert again.returncode == 2
    assert re.search(r"run \S+ is locked by process \d+ on \S+, since", again.stderr)
    fewer = run(running, *LONG, "--primary.threshold=0.3")
    assert fewer.returncode == 2
    assert (running / "plan.json").read_bytes() == plan_before
    done = tell(running, "report")
    assert done.returncode == 0, done.stderr
    assert (running / "plan.json").read_bytes() == plan_before


def test_a_killed_studys_locks_are_taken_over(running):
    locks = sorted(running.glob(".lock-run-*"))
    assert len(locks) == 4
    pid = int(re.search(r"^pid (\d+)$", locks[0].read_text(), re.MULTILINE)[1])
    os.kill(pid, signal.SIGKILL)
    deadline_s = time.monotonic() + 10
    while is_held_by_another(locks[0]):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    with RunStore(running).hold_runs(path.name.removeprefix(".lock-run-") for path in locks):
        assert sorted(running.glob(".lock-run-*")) == locks
    assert list(running.glob(".lock-*")) == []
