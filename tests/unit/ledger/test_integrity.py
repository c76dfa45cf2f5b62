"""A ledger that is not as it was written is not believed, whatever was done to it."""

import pytest

from bench.ledger.errors import LedgerError
from bench.ledger.integrity import believed_events
from tests.unit.disk_factory import moved_clock, write_plan, write_run

FINISHED = "run_stop"


@pytest.fixture
def ledger(tmp_path):
    """The ledger of a completed run."""
    study = write_plan(tmp_path)
    with moved_clock() as clock:
        return write_run(study, study.runs[0], clock)


def lines_of(path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_ledger_as_it_was_written_is_believed(ledger):
    assert len(believed_events(ledger)) == len(lines_of(ledger))


def is_believed(path) -> bool:
    try:
        believed_events(path)
    except LedgerError:
        return False
    return True


def test_any_line_that_is_gone_doubled_or_glued_is_noticed(ledger):
    lines = lines_of(ledger)
    assert len(lines) > 10
    for place in range(len(lines) - 1):  # without its last line it is a run that was killed
        changes = {
            "gone": [*lines[:place], *lines[place + 1 :]],
            "doubled": [*lines[: place + 1], *lines[place:]],
            "glued": [*lines[:place], lines[place][:40], *lines[place:]],
            "swapped": [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]],
        }
        for change, changed_lines in changes.items():
            ledger.write_bytes(b"".join(changed_lines))
            assert (change, place, is_believed(ledger)) == (change, place, False)


def test_without_its_end_it_is_a_run_that_was_killed(ledger):
    content = ledger.read_bytes()
    ledger.write_bytes(content[:-5])
    assert FINISHED not in {event.kind for event in believed_events(ledger)}


def test_part_of_a_line_behind_its_end_is_damage(ledger):
    ledger.write_bytes(ledger.read_bytes() + b'{"schema')
    with pytest.raises(LedgerError, match="ends within a line"):
        believed_events(ledger)


def test_another_runs_ledger_is_not_believed(ledger):
    other = ledger.parent.with_name("another")
    ledger.parent.rename(other)
    with pytest.raises(LedgerError, match="its ledger is run pretrained-s0-"):
        believed_events(other / ledger.name)


def test_seconds_that_do_not_account_for_the_time_are_not_believed(ledger):
    changed = ledger.read_text().replace('"train":2.0', '"train":9.0')
    assert changed != ledger.read_text()
    ledger.write_text(changed)
    with pytest.raises(LedgerError, match="segments tell"):
        believed_events(ledger)
