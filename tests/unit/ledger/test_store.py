"""The run store: one study at a time, whole files or none."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bench.files import write_json, write_text
from bench.ledger.events import EventLog
from bench.ledger.store import RunStore
from tests.unit.results_factory import make_look, make_plan, make_run_start

ROOT = Path(__file__).parents[3]


def python(code, **environment):
    """Run code in a process of its own, from the repository root."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, text=True,
        env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def holder(root):
    """A process that holds the lock until its input ends."""
    process = python(f"""
        import sys
        from pathlib import Path
        from bench.ledger.store import RunStore
        with RunStore(Path({str(root)!r})).lock():
            print("held", flush=True)
            sys.stdin.read()
    """)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_lock_excludes_a_second_process_until_the_first_lets_go(tmp_path):
    process = holder(tmp_path)
    with pytest.raises(ValueError, match="another study is running"), RunStore(tmp_path).lock():
        pass
    process.communicate(timeout=10)
    with RunStore(tmp_path).lock():
        pass


def test_a_killed_holders_lock_is_free(tmp_path):
    process = holder(tmp_path)
    process.kill()
    process.communicate(timeout=10)
    with RunStore(tmp_path).lock():
        pass


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_killed_before_its_end_leaves_the_old_file(tmp_path, call):
    path = tmp_path / "result.json"
    write_text(path, "old")
    process = python(f"""
        import os, signal
        from pathlib import Path
        from bench.files import write_text
        os.{call} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write_text(Path({str(path)!r}), "new" * 100_000)
    """)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_text(path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    monkeypatch.undo()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"result.json": "old"}


def test_text_is_utf8_whatever_the_locale(tmp_path):
    path = tmp_path / "report.md"
    process = python(
        "from pathlib import Path; from bench.ledger.store import write_text; "
        f"write_text(Path({str(path)!r}), '\\u2014')",
        LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0",
    )  # fmt: skip
    assert (process.communicate(timeout=10)[1], path.read_bytes()) == ("", "—".encode())


def test_a_written_file_can_be_read_by_others(tmp_path):
    write_text(tmp_path / "new" / "plan.json", "{}")
    assert (tmp_path / "new" / "plan.json").stat().st_mode & 0o777 == 0o644


def test_what_json_cannot_say_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n "a": 1\n}\n'


@pytest.mark.parametrize("below", ["file", "file/runs", "/proc/headstart"])
def test_a_directory_that_cannot_be_written_is_told_before_any_work(tmp_path, below):
    (tmp_path / "file").write_text("")
    root = tmp_path / below
    with pytest.raises(ValueError, match=r"output: cannot write to") as error:
        RunStore(root).check_writable()
    assert str(root) in str(error.value)


def test_a_writable_directory_is_made_and_left_empty(tmp_path):
    RunStore(tmp_path / "a" / "b").check_writable()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_the_plan_comes_back_and_its_absence_is_told(tmp_path):
    store = RunStore(tmp_path)
    with pytest.raises(ValueError, match=r"no plan\.json"):
        store.plan()
    assert store.write_plan(make_plan()) == make_plan() == store.plan()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b"\xff", b'{"schema_version": 1, "config": {}, "blocks": []}'],
)
def test_what_is_no_plan_of_this_version_is_refused_by_name(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"plan\.json: not a plan record of this headstart; give another --output$"
    ):
        RunStore(tmp_path).plan()


def plan_of(digit, run="a", **changes):
    return make_plan(
        sha256=digit * 64,
        blocks=[[f"{run}-0", f"{run}-1"]],
        primary={"threshold": digit},
        **changes,
    )


def test_an_earlier_plan_is_kept_only_where_runs_were_begun_under_it(tmp_path):
    store = RunStore(tmp_path)
    store.write_plan(plan_of("1"))
    assert store.write_plan(plan_of("2"))["amended"] == []
    store.run_dir("a-1").mkdir()
    kept = [{"sha256": "2" * 64, "primary": {"threshold": "2"}}]
    assert store.amended(plan_of("3"))["amended"] == kept
    assert store.plan()["sha256"] == "2" * 64  # which only asked
    assert store.write_plan(plan_of("3"))["amended"] == kept
    assert store.write_plan(plan_of("3"))["amended"] == kept
    assert [old["sha256"][0] for old in store.write_plan(plan_of("4"))["amended"]] == ["2", "3"]
    assert store.plan()["amended"] == store.amended(plan_of("4"))["amended"]


def test_a_plan_that_is_taken_up_again_is_not_its_own_earlier_one(tmp_path):
    store = RunStore(tmp_path)
    store.run_dir("a-0").mkdir()
    for digit in "121":
        store.write_plan(plan_of(digit))
    assert [old["sha256"][0] for old in store.plan()["amended"]] == ["2"]


def test_what_a_plan_record_says_of_others_is_not_taken_over(tmp_path):
    assert (
        RunStore(tmp_path).write_plan(plan_of("1", amended=[{"sha256": "9" * 64}]))["amended"] == []
    )


@pytest.mark.parametrize("data", [{}, {"run_id": "x", "segments_s": {}}])
def test_a_ledger_that_lacks_what_a_run_has_is_refused_by_name(tmp_path, data):
    store = RunStore(tmp_path)
    store.run_dir("x").mkdir()
    log = EventLog(store.run_dir("x"))
    log.emit("run_start", **data)
    log.flush()
    with pytest.raises(
        ValueError, match=r"events\.rank0\.jsonl: not the events of a run: KeyError: "
    ):
        store.result("x")


def test_a_result_is_folded_from_the_runs_own_events(tmp_path):
    store = RunStore(tmp_path)
    assert store.result("random-s0") is None
    store.run_dir("random-s0").mkdir()
    log = EventLog(store.run_dir("random-s0"))
    log.emit("setup_stop")
    log.flush()
    assert store.result("random-s0") is None
    for event in (make_run_start("random"), make_look(1, 0.5)):
        log.emit(event.kind, epoch=event.epoch, step=event.step, **event.data)
    log.flush()
    result = store.result("random-s0")
    assert (result.arm, result.status, len(result.looks)) == ("random", "interrupted", 1)
