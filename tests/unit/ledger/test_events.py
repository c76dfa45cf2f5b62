"""The event stream: read back whole, torn at any byte, never torn in the middle."""

import contextlib
import dataclasses
import errno
import json
import os
import resource
from collections.abc import Iterator

import pytest

from bench.ledger.errors import LedgerError
from bench.ledger.events import (
    NO_DATA,
    SCHEMA_VERSION,
    CheckpointSaved,
    EpochStopped,
    Evaluated,
    EventLog,
    RunStarted,
    RunStopped,
    ends_within_a_line,
    read_events,
)
from bench.ledger.records import RunStop, SavedCheckpoint
from tests.unit.results_factory import make_look, make_start

KEYS = {"schema_version", "kind", "rank", "seq", "epoch", "step", "mono_ns", "data"}
STOP = RunStop(
    status="completed", error=None, segments_s={"train": 9.0}, stopped_step=None, best_step=10
)
EVERY_KIND = [
    (RunStarted, make_start()),
    (EpochStopped, NO_DATA),
    (Evaluated, make_look(1, 0.5).data),
    (CheckpointSaved, SavedCheckpoint(path="step-5")),
    (RunStopped, STOP),
]


def scores(number):
    return make_look(number, 0.1 * number).data


def write(directory, count=3):
    log = EventLog(directory)
    events = [
        log.emit(Evaluated, scores(step), epoch=0.5 * step, step=step) for step in range(count)
    ]
    log.flush()
    return log.path, events


def emit_stop(log):
    return log.emit(RunStopped, STOP, epoch=0.0, step=0)


def test_events_come_back_as_they_were_emitted(tmp_path):
    path, events = write(tmp_path)
    assert read_events(path) == events
    assert [event.seq for event in events] == [0, 1, 2]
    assert [event.step for event in events] == [0, 1, 2]
    assert [event.epoch for event in events] == [0.0, 0.5, 1.0]
    assert events[2].data == scores(2)
    assert {event.schema_version for event in events} == {SCHEMA_VERSION}
    times = [event.mono_ns for event in events]
    assert times == sorted(times)


def test_every_kind_of_event_comes_back_as_its_own(tmp_path):
    log = EventLog(tmp_path)
    events = [log.emit(event_type, data, epoch=0.0, step=0) for event_type, data in EVERY_KIND]
    log.flush()
    read = read_events(log.path)
    assert read == events
    assert [(type(event), event.data) for event in read] == EVERY_KIND
    kinds = ["run_start", "epoch_stop", "eval_stop", "checkpoint", "run_stop"]
    assert [json.loads(line)["kind"] for line in log.path.read_text().splitlines()] == kinds


def test_one_json_line_an_event_with_the_documented_keys(tmp_path):
    path, _ = write(tmp_path)
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert set(json.loads(lines[0])) == KEYS


def test_nothing_reaches_the_disk_before_flush(tmp_path):
    log = EventLog(tmp_path, rank=1)
    log.emit(EpochStopped, epoch=1.0, step=5)
    assert not log.path.exists()
    log.flush()
    log.flush()
    assert [event.rank for event in read_events(log.path)] == [1]
    assert log.path.name == "events.rank1.jsonl"


def test_seq_continues_when_the_stream_is_opened_again(tmp_path):
    path, _ = write(tmp_path)
    again = EventLog(tmp_path)
    emit_stop(again)
    again.flush()
    assert [event.seq for event in read_events(path)] == [0, 1, 2, 3]


def test_a_stream_torn_at_any_byte_reads_as_a_prefix_and_is_cut_when_opened_again(tmp_path):
    path, events = write(tmp_path)
    content = path.read_bytes()
    for size in range(len(content)):
        torn = content[:size]
        path.write_bytes(torn)
        read = read_events(path)
        whole_lines = torn.count(b"\n")
        assert read == events[:whole_lines]
        again = EventLog(tmp_path)
        assert path.read_bytes() == content[: torn.rfind(b"\n") + 1]
        assert emit_stop(again).seq == whole_lines


def test_a_bad_line_before_the_last_is_refused_by_file_and_line(tmp_path):
    path, _ = write(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-9], lines[2]]) + "\n")
    with pytest.raises(ValueError, match=r"events\.rank0\.jsonl:2: not an event"):
        read_events(path)


@pytest.mark.parametrize(
    "line", [b'{"kind":"run_stop"}', b'{"kind":"eval_start"}', b"[1,2]", b"7", b"\xff\xfe"]
)
def test_a_whole_last_line_that_is_no_event_is_refused(tmp_path, line):
    path, events = write(tmp_path)
    with path.open("ab") as file:
        file.write(line)
    assert read_events(path) == events
    assert ends_within_a_line(path)
    with path.open("ab") as file:
        file.write(b"\n")
    with pytest.raises(LedgerError, match=r"events\.rank0\.jsonl:4: not an event"):
        read_events(path)


def changed(line, **changes):
    """The line of an event with other values, as compact as the ledger's own."""
    return json.dumps({**json.loads(line), **changes}, separators=(",", ":"))


@pytest.mark.parametrize("key", sorted(KEYS))
def test_an_event_that_lacks_a_key_is_refused_by_the_key(tmp_path, key):
    path, _ = write(tmp_path, 1)
    tree = json.loads(path.read_text())
    del tree[key]
    path.write_text(json.dumps(tree) + "\n")
    with pytest.raises(ValueError, match=f"jsonl:1: not an event: .*{key}"):
        read_events(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "eval_start"},
        {"kind": "epoch_stop"},
        {"seq": "0"},
        {"data": {}},
        {"data": {"split": "train"}},
        {"more": 1},
    ],
)
def test_what_an_event_does_not_have_is_refused(tmp_path, changes):
    path, _ = write(tmp_path, 1)
    path.write_text(changed(path.read_text(), **changes) + "\n")
    with pytest.raises(ValueError, match="jsonl:1: not an event: "):
        read_events(path)


OTHER_VERSION = (
    f"events of schema version {SCHEMA_VERSION - 1}, this headstart reads {SCHEMA_VERSION}: "
    "give another --output"
)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("changes", [{}, {"data": {"of": "another version"}}])
def test_events_of_another_version_are_refused_by_it(tmp_path, place, changes):
    path, _ = write(tmp_path)
    lines = path.read_text().splitlines()
    lines[place] = changed(lines[place], schema_version=SCHEMA_VERSION - 1, **changes)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=rf"events\.rank0\.jsonl:{place + 1}: {OTHER_VERSION}$"):
        read_events(path)


def test_the_version_is_read_wherever_it_stands_in_the_line(tmp_path):
    path, _ = write(tmp_path, 1)
    tree = {**json.loads(path.read_text()), "schema_version": SCHEMA_VERSION - 1}
    path.write_text(json.dumps(tree, sort_keys=True) + "\n")
    with pytest.raises(ValueError, match=f":1: {OTHER_VERSION}$"):
        read_events(path)


def test_what_json_cannot_say_is_refused_and_not_written(tmp_path):
    log = EventLog(tmp_path)
    log.emit(Evaluated, dataclasses.replace(scores(1), loss=float("nan")), epoch=0.5, step=1)
    with pytest.raises(ValueError, match="JSON"):
        log.flush()
    assert not log.path.exists()


@pytest.mark.parametrize("event_type", [event_type for event_type, _ in EVERY_KIND])
def test_a_record_of_another_kind_is_refused_at_once_and_not_written(tmp_path, event_type):
    log = EventLog(tmp_path)
    for other_type, data in EVERY_KIND:
        if other_type is not event_type:
            with pytest.raises(AssertionError, match=type(data).__name__):
                log.emit(event_type, data, epoch=0.0, step=0)
    log.flush()
    assert log.path.read_text() == ""
    assert emit_stop(log).seq == 0


@contextlib.contextmanager
def longest_file(size: int) -> Iterator[None]:
    """Let no file of this process become longer: a write stops there, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def failing_fsync() -> Iterator[None]:
    """Let the first fsync fail: what was written before may be on the disk, or not."""
    real_fsync = os.fsync
    failures = iter([OSError(errno.EIO, "Input/output error")])

    def fsync(descriptor: int) -> None:
        for failure in failures:
            raise failure
        real_fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


def log_of_one_line(folder) -> EventLog:
    """A ledger with a line on the disk, and one that is only buffered."""
    log = EventLog(folder)
    log.emit(Evaluated, scores(1), epoch=0.5, step=1)
    log.flush()
    log.emit(Evaluated, scores(2), epoch=1.0, step=2)
    return log


def check_written_once(log: EventLog, before: bytes) -> None:
    """Nothing is left of what failed, and all of it is there when it is written again."""
    assert log.path.read_bytes() == before
    emit_stop(log)
    log.flush()
    assert [event.kind for event in read_events(log.path)] == ["eval_stop", "eval_stop", "run_stop"]
    assert [event.seq for event in read_events(log.path)] == [0, 1, 2]


@pytest.mark.parametrize("bytes_left", [0, 1, 40, 200])
def test_a_write_that_fails_leaves_no_part_and_nothing_is_there_twice(tmp_path, bytes_left):
    log = log_of_one_line(tmp_path)
    before = log.path.read_bytes()
    with longest_file(len(before) + bytes_left), pytest.raises(OSError, match="too large"):
        log.flush()
    check_written_once(log, before)


def test_an_fsync_that_fails_leaves_no_part_and_nothing_is_there_twice(tmp_path):
    log = log_of_one_line(tmp_path)
    before = log.path.read_bytes()
    with failing_fsync(), pytest.raises(OSError, match="Input/output"):
        log.flush()
    check_written_once(log, before)


def test_what_could_not_be_cut_is_cut_before_anything_is_written_again(tmp_path):
    log = EventLog(tmp_path)
    first = log.emit(Evaluated, scores(1), epoch=0.5, step=1)
    log.flush()
    with log.path.open("a") as file:
        file.write('{"half a line')
    second = log.emit(Evaluated, scores(2), epoch=1.0, step=2)
    log.flush()
    assert read_events(log.path) == [first, second]


def test_lines_that_are_gone_are_told_and_nothing_is_written(tmp_path):
    path, _ = write(tmp_path)
    log = EventLog(tmp_path)
    path.write_text("")
    emit_stop(log)
    with pytest.raises(LedgerError, match="lines that were written are gone"):
        log.flush()
    assert path.read_text() == ""
