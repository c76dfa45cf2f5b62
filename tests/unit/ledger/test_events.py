"""The event stream: read back whole, torn at any byte, never torn in the middle."""

import json

import pytest

from bench.ledger.events import SCHEMA_VERSION, EventLog, read_events


def write(directory, count=3):
    log = EventLog(directory)
    events = [
        log.emit("eval_stop", epoch=0.5 * step, step=step, split="val", correct=step)
        for step in range(count)
    ]
    log.flush()
    return log.path, events


def test_events_come_back_as_they_were_emitted(tmp_path):
    path, events = write(tmp_path)
    assert read_events(path) == events
    assert [event.seq for event in events] == [0, 1, 2]
    assert events[2].data == {"split": "val", "correct": 2}
    assert {event.schema_version for event in events} == {SCHEMA_VERSION}
    assert sorted(event.mono_ns for event in events) == [event.mono_ns for event in events]


def test_one_json_line_an_event_with_the_documented_keys(tmp_path):
    path, _ = write(tmp_path)
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert set(json.loads(lines[0])) == {
        "schema_version",
        "kind",
        "rank",
        "seq",
        "epoch",
        "step",
        "mono_ns",
        "data",
    }


def test_nothing_reaches_the_disk_before_flush(tmp_path):
    log = EventLog(tmp_path, rank=1)
    log.emit("epoch_stop")
    assert not log.path.exists()
    log.flush()
    log.flush()
    assert [event.rank for event in read_events(log.path)] == [1]
    assert log.path.name == "events.rank1.jsonl"


def test_seq_continues_when_the_stream_is_opened_again(tmp_path):
    path, _ = write(tmp_path)
    again = EventLog(tmp_path)
    again.emit("run_stop")
    again.flush()
    assert [event.seq for event in read_events(path)] == [0, 1, 2, 3]


def test_a_stream_torn_at_any_byte_reads_as_a_prefix_and_is_cut_when_opened_again(tmp_path):
    path, events = write(tmp_path)
    content = path.read_bytes()
    for size in range(0, len(content), 5):
        path.write_bytes(content[:size])
        read = read_events(path)
        assert read == events[: len(read)]
        again = EventLog(tmp_path)
        assert path.read_bytes() == content[: content[:size].rfind(b"\n") + 1]
        assert again.emit("run_stop").seq == content[:size].count(b"\n")


def test_a_bad_line_before_the_last_is_refused_by_file_and_line(tmp_path):
    path, _ = write(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-9], lines[2]]) + "\n")
    with pytest.raises(ValueError, match=r"events\.rank0\.jsonl:2: not an event"):
        read_events(path)


@pytest.mark.parametrize("line", ['{"kind":"run_stop"}', "[1,2]", "7"])
def test_a_whole_last_line_that_is_no_event_is_refused(tmp_path, line):
    path, _ = write(tmp_path)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=":4: not an event"):
        read_events(path)


def test_what_json_cannot_say_is_refused_and_not_written(tmp_path):
    log = EventLog(tmp_path)
    log.emit("eval_stop", loss=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        log.flush()
    assert log.path.read_text() == ""


def test_words_outside_the_list_are_refused(tmp_path):
    with pytest.raises(AssertionError, match="eval_start"):
        EventLog(tmp_path).emit("eval_start")
