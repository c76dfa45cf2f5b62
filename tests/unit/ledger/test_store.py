"""The run store: one study at a time, whole files or none."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bench.files import sha256_of, write_json, write_text
from bench.ledger.errors import LedgerError
from bench.ledger.events import EpochStopped, Evaluated, EventLog, RunStarted
from bench.ledger.json_records import to_json
from bench.ledger.plan_record import AmendedPlan
from bench.ledger.store import LEDGER, RunStore
from bench.locks import LockHeldError
from tests.unit.disk_factory import moved_clock
from tests.unit.results_factory import make_look, make_plan, make_start

ROOT = Path(__file__).parents[3]


def python(code, **environment):
    """Run code in a process of its own, from the repository root."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        text=True,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


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
        "from pathlib import Path; from bench.files import write_text; "
        f"write_text(Path({str(path)!r}), '\\u2014')",
        LC_ALL="C",
        PYTHONCOERCECLOCALE="0",
        PYTHONUTF8="0",
    )
    _, err = process.communicate(timeout=60)
    assert err == ""
    assert path.read_bytes() == "—".encode()


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
    sentence = r"plan\.json: not a plan record of this headstart \(.+\); give another --output$"
    with pytest.raises(ValueError, match=sentence):
        RunStore(tmp_path).plan()


@pytest.mark.parametrize("key", ["config", "blocks", "primary", "sha256", "amended"])
def test_a_plan_that_lacks_a_key_is_refused_by_the_key(tmp_path, key):
    tree = to_json(make_plan())
    del tree[key]
    write_json(tmp_path / "plan.json", tree)
    with pytest.raises(ValueError, match=rf"not a plan record of this headstart \({key}: "):
        RunStore(tmp_path).plan()


def plan_of(digit, amended=()):
    """A plan whose hash and threshold tell it from others; its runs are a-0 and a-1."""
    plan = make_plan(sha256=digit * 64, blocks=[["a-0", "a-1"]], amended=amended)
    primary = dataclasses.replace(plan.primary, threshold=float(digit))
    return dataclasses.replace(plan, primary=primary)


def amended_digits(plan):
    return [earlier.sha256[0] for earlier in plan.amended]


def begin_run(store, run_id):
    """A run has begun where it has a ledger."""
    store.run_dir(run_id).mkdir()
    (store.run_dir(run_id) / LEDGER).write_text("")


def test_an_earlier_plan_is_kept_only_where_runs_were_begun_under_it(tmp_path):
    store = RunStore(tmp_path)
    store.write_plan(plan_of("1"))
    assert store.write_plan(plan_of("2")).amended == ()
    begin_run(store, "a-1")
    kept = (AmendedPlan(sha256="2" * 64, primary=to_json(plan_of("2").primary)),)
    assert kept[0].primary["threshold"] == 2.0
    assert store.amended(plan_of("3")).amended == kept
    assert store.plan().sha256 == "2" * 64  # which only asked
    assert store.write_plan(plan_of("3")).amended == kept
    assert store.write_plan(plan_of("3")).amended == kept
    assert amended_digits(store.write_plan(plan_of("4"))) == ["2", "3"]
    assert store.plan().amended == store.amended(plan_of("4")).amended
    assert store.plan() == dataclasses.replace(plan_of("4"), amended=store.plan().amended)


def test_a_plan_that_is_taken_up_again_is_not_its_own_earlier_one(tmp_path):
    store = RunStore(tmp_path)
    begin_run(store, "a-0")
    for digit in "121":
        store.write_plan(plan_of(digit))
    assert amended_digits(store.plan()) == ["2"]


def test_what_a_plan_record_says_of_others_is_not_taken_over(tmp_path):
    another = AmendedPlan(sha256="9" * 64, primary={})
    assert RunStore(tmp_path).write_plan(plan_of("1", amended=(another,))).amended == ()


def open_log(store, run_id):
    store.run_dir(run_id).mkdir(exist_ok=True)
    return EventLog(store.run_dir(run_id))


def write_start_data(store, data):
    """Write a ledger of one start, whose data is replaced."""
    log = open_log(store, "x")
    log.emit(RunStarted, make_start(), epoch=0.0, step=0)
    log.flush()
    event = json.loads(log.path.read_text())
    log.path.write_text(json.dumps({**event, "data": data}) + "\n")


@pytest.mark.parametrize("data", [{}, {"run_id": "x", "segments_s": {}}])
def test_a_ledger_that_lacks_what_a_run_has_is_refused_by_name(tmp_path, data):
    store = RunStore(tmp_path)
    write_start_data(store, data)
    refusal = r"events\.rank0\.jsonl:1: not an event: .*field required"
    with pytest.raises(ValueError, match=refusal):
        store.result("x")


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(make_start())])
def test_a_start_of_another_kind_of_value_is_refused_by_the_key(tmp_path, key):
    store = RunStore(tmp_path)
    write_start_data(store, {**to_json(make_start()), key: [["not", "of", "a", "start"]]})
    with pytest.raises(ValueError, match=rf"jsonl:1: not an event: .*data\.{key}"):
        store.result("x")


@pytest.mark.parametrize(
    ("segments_s", "error"),
    [({"evaluate": 1.0}, "KeyError: 'train'"), ({"train": 0.0}, "ZeroDivisionError: ")],
)
def test_segments_that_no_run_has_are_refused_by_name(tmp_path, segments_s, error):
    store = RunStore(tmp_path)
    with moved_clock() as clock:
        log = open_log(store, "x")
        start = make_start(run_id="x", segments_s={})
        log.emit(RunStarted, start, epoch=0.0, step=0)
        clock.spend({}, "any", sum(segments_s.values()))
        scores = make_look(1, 0.5, segments_s=segments_s).data
        log.emit(Evaluated, scores, epoch=0.5, step=5)
        log.flush()
    with pytest.raises(
        ValueError, match=rf"events\.rank0\.jsonl: not the events of a run: {error}"
    ):
        store.result("x")


def write_begun_run(store, arm):
    """Write a run that was killed after its first evaluation, and return its ledger."""
    with moved_clock() as clock:
        log = open_log(store, f"{arm}-s0")
        log.emit(EpochStopped, epoch=0.0, step=0)
        log.flush()
        assert store.result(f"{arm}-s0") is None
        log.emit(RunStarted, make_start(arm, run_id=f"{arm}-s0"), epoch=0.0, step=0)
        segments_s = dict(make_start().segments_s)
        clock.spend(segments_s, "train", 1.0)
        look = make_look(1, 0.5, segments_s=segments_s)
        log.emit(Evaluated, look.data, epoch=look.epoch, step=look.step)
        log.flush()
    return log.path


def test_a_result_is_folded_from_the_runs_own_events(tmp_path):
    store = RunStore(tmp_path)
    assert store.result("random-s0") is None
    ledger = write_begun_run(store, "random")
    result = store.result("random-s0")
    assert (result.arm, result.status, len(result.evaluations)) == ("random", "interrupted", 1)
    assert ledger == store.run_dir("random-s0") / LEDGER
    assert result.ledger_sha256 == sha256_of(ledger)


def test_results_are_of_the_planned_runs_that_have_begun(tmp_path):
    store = RunStore(tmp_path)
    with pytest.raises(ValueError, match=r"no plan\.json"):
        store.planned_results()
    store.write_plan(make_plan(blocks=[["pretrained-s0"], ["random-s0"]]))
    assert store.planned_results() == []
    write_begun_run(store, "random")
    write_begun_run(store, "other")
    assert [run.run_id for run in store.planned_results()] == ["random-s0"]
    assert [run.run_id for run in store.results(["other-s0", "random-s0"])] == [
        "other-s0",
        "random-s0",
    ]


def test_trials_are_the_runs_below_tuning(tmp_path):
    (tmp_path / "tuning").mkdir()
    tuning = RunStore(tmp_path / "tuning")
    write_begun_run(tuning, "random")
    write_begun_run(tuning, "pretrained")
    write_begun_run(RunStore(tmp_path), "other")
    trials = RunStore(tmp_path).trials()
    assert [trial.run_id for trial in trials] == ["pretrained-s0", "random-s0"]


def test_a_result_is_written_beside_its_ledger_under_the_keys_of_the_file(tmp_path):
    store = RunStore(tmp_path)
    write_begun_run(store, "random")
    result = store.result("random-s0")
    store.write_result(result)
    stored = json.loads((store.run_dir("random-s0") / "result.json").read_bytes())
    assert stored == to_json(result)
    assert stored["looks"][0]["correct"] == 500
    store.write_result(result, "tuning/random-s0")
    assert (tmp_path / "tuning" / "random-s0" / "result.json").is_file()


def test_a_damaged_ledger_is_told_apart_from_what_can_be_believed(tmp_path):
    store = RunStore(tmp_path)
    ledger = write_begun_run(store, "random")
    write_begun_run(store, "pretrained")
    ledger.write_bytes(ledger.read_bytes() + b"\xff\n")
    stored = store.look_at(["pretrained-s0", "random-s0", "other-s0"])
    assert [result.run_id for result in stored.results] == ["pretrained-s0"]
    (error,) = stored.damaged
    assert f"{ledger}:4: not an event" in str(error)
    with pytest.raises(LedgerError, match=str(ledger)):
        store.results(["pretrained-s0", "random-s0"])
    assert store.begun_run_ids() == ["pretrained-s0", "random-s0"]


def test_what_is_set_aside_is_kept_counted_and_not_read(tmp_path):
    store = RunStore(tmp_path)
    assert store.next_attempt("random-s0") == 1
    for place in (1, 2):
        ledger = write_begun_run(store, "random")
        store.write_result(store.result("random-s0"))
        content = ledger.read_bytes()
        store.set_aside("random-s0")
        assert store.result("random-s0") is None
        assert (ledger.parent / f"{LEDGER}.aside-{place}").read_bytes() == content
        assert (ledger.parent / f"result.json.aside-{place}").is_file()
        assert store.next_attempt("random-s0") == place + 1
    assert store.begun_run_ids() == []


def test_the_plan_is_not_changed_under_runs_that_are_being_made(tmp_path):
    store = RunStore(tmp_path)
    written = store.write_plan(plan_of("1"))
    process = python(f"""
        import sys
        from pathlib import Path
        from bench.ledger.store import RunStore
        with RunStore(Path({str(tmp_path)!r})).hold_runs(["a-0"]):
            print("held", flush=True)
            sys.stdin.read()
    """)
    assert process.stdout.readline() == "held\n"
    assert store.write_plan(plan_of("1")) == written
    with pytest.raises(LockHeldError, match=r"another study is running.*makes run a-0"):
        store.write_plan(plan_of("2"))
    assert store.plan() == written
    with store.hold_records():  # a report may be written beside it
        pass
    process.communicate(timeout=10)
    assert store.write_plan(plan_of("2")).sha256 == "2" * 64


def test_a_process_may_change_the_plan_of_the_runs_that_it_holds_itself(tmp_path):
    store = RunStore(tmp_path)
    store.write_plan(plan_of("1"))
    with store.hold_runs(["a-0", "a-1"]):
        assert store.write_plan(plan_of("2")).sha256 == "2" * 64
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json"]
