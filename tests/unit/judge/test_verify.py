"""Verify: silent on a study as it was made, loud on every change to its ledgers and results."""

import json
import re
import shutil

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bench.files import write_json
from bench.ledger.errors import LedgerError
from bench.ledger.events import read_events
from bench.ledger.json_records import to_json
from bench.ledger.store import RunStore, fold_ledger
from tests.unit.disk_factory import moved_clock, write_plan, write_run
from tests.unit.judge.spoiling import (
    RUN,
    edit,
    ledger,
    problems_of,
    with_next_digit,
    write_report_of,
)

MANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LINES = 11
UNTOLD = "no ledger, though the report or later runs tell of it"


def test_a_study_as_it_was_made(finished):
    assert problems_of(finished) == []


def test_nothing_is_written(study):
    ledger(study).write_text("")
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    problems_of(study)
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*")} == before


def test_where_there_is_no_study_there_is_nothing_to_verify(tmp_path):
    with pytest.raises(ValueError, match=r"no plan\.json"):
        problems_of(tmp_path)


def lines_of(path):
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == LINES
    return lines


def names_line(problems, line):
    """Whether a problem names a line, counted from 0, or the one after it."""
    pattern = rf"line {line + 1} has|line {line + 2} has"
    return any(re.search(pattern, problem) for problem in problems)


def names_run(problems, run):
    return any(run in problem for problem in problems)


@pytest.fixture
def without_line(study):
    """Delete a line of a ledger; return what verify finds."""

    def delete(line):
        lines = lines_of(ledger(study))
        del lines[line]
        ledger(study).write_text("".join(lines))
        return problems_of(study)

    return delete


@pytest.fixture
def with_line_twice(study):
    """Repeat a line of a ledger; return what verify finds."""

    def repeat(line):
        lines = lines_of(ledger(study))
        lines.insert(line, lines[line])
        ledger(study).write_text("".join(lines))
        return problems_of(study)

    return repeat


@pytest.mark.parametrize("line", [0, LINES - 1])
def test_a_first_or_last_line_that_is_deleted_is_told_of_its_run(without_line, line):
    assert names_run(without_line(line), RUN)


@pytest.mark.parametrize("line", range(1, LINES - 1))
def test_a_line_that_is_deleted_is_named(without_line, line):
    problems = without_line(line)
    assert names_run(problems, RUN)
    assert names_line(problems, line)


def test_a_last_line_that_is_repeated_is_told_of_its_run(with_line_twice):
    assert names_run(with_line_twice(LINES - 1), RUN)


@pytest.mark.parametrize("line", range(LINES - 1))
def test_a_line_that_is_repeated_is_named(with_line_twice, line):
    problems = with_line_twice(line)
    assert names_run(problems, RUN)
    assert names_line(problems, line)


@pytest.mark.parametrize("line", range(LINES - 1))
def test_lines_that_changed_places_are_named(study, line):
    lines = lines_of(ledger(study))
    lines.insert(line, lines.pop(line + 1))
    ledger(study).write_text("".join(lines))
    message = f"line {line + 1} has the number {line + 1}"
    assert any(message in problem for problem in problems_of(study))


@pytest.mark.parametrize(
    "key",
    ["correct", "train", "evaluate", "seq", "mono_ns", "seed", "block", "step", "samples", "loss"],
)
def test_a_digit_in_a_ledger(study, key):
    edit(ledger(study), rf'("{key}":-?[0-9.]*)([0-9])', with_next_digit)
    assert names_run(problems_of(study), RUN)


@pytest.mark.parametrize("number", ["1e400", "9" * 400])
@pytest.mark.parametrize("key", ["mono_ns", "train", "samples", "step"])
def test_a_number_that_no_float_holds_is_a_problem_and_no_crash(study, key, number):
    edit(ledger(study), rf'"{key}":[0-9.]+', f'"{key}":{number}')
    name = ledger(study).parent.name
    assert any(problem.startswith(f"{name}: ") for problem in problems_of(study))


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_torn_ledger_is_no_longer_that_of_a_finished_run(study, cut):
    content = ledger(study).read_bytes()
    ledger(study).write_bytes(content[:-cut])
    assert is_no_longer_its_result(study)


def test_part_of_a_line_behind_a_finished_run(study):
    with ledger(study).open("a") as file:
        file.write('{"schema')
    assert any("its ledger ends within a line" in problem for problem in problems_of(study))


def test_a_deleted_ledger_and_a_deleted_run(study):
    name = ledger(study).parent.name
    ledger(study).unlink()
    assert f"{name}: {UNTOLD}" in problems_of(study)
    shutil.rmtree(study / name)
    assert f"{name}: {UNTOLD}" in problems_of(study)


def test_the_last_run_is_missed_by_the_report(study):
    last = RunStore(study).plan().run_ids[-1]
    shutil.rmtree(study / last)
    assert problems_of(study) == [f"{last}: {UNTOLD}"]


def test_a_lost_block_cannot_be_dropped_from_the_study_by_a_new_report(study):
    """Without its ledgers the report is consistent again, but later blocks tell of it."""
    folders = sorted(study.glob("*-s2-*"))
    for folder in folders:
        shutil.rmtree(folder)
    write_report_of(study)
    assert len(folders) == 2
    assert problems_of(study) == [f"{folder.name}: {UNTOLD}" for folder in folders]


def test_a_run_copied_under_another_name(study):
    name = ledger(study).parent.name
    shutil.copytree(study / name, study / "copied")
    problems = problems_of(study)
    assert f"copied: its ledger is run {name}'s" in problems
    assert "copied: no run of the plan" in problems
    assert "random: seed 2 is there 2 times" in problems


def test_a_runs_ledger_in_another_runs_place(study):
    shutil.copy(ledger(study), ledger(study, "random-s3"))
    message = f"its ledger is run {ledger(study).parent.name}'s"
    assert any(problem.endswith(message) for problem in problems_of(study))


def test_a_run_that_nobody_planned(study):
    other = write_plan(study.parent / "other", "--seed=100")
    run = other.runs[0]
    with moved_clock() as clock:
        write_run(other, run, clock)
    shutil.copytree(other.store.run_dir(run.run_id), study / run.run_id)
    assert problems_of(study) == [f"{run.run_id}: no run of the plan"]


def line_with(path, text):
    """Return the number, from 1, of the first line that has a text."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if text in line:
            return number
    raise AssertionError(text)


def test_a_result_with_another_last_digit(study):
    path = ledger(study).parent / "result.json"
    edit(path, r'("train": [0-9.]*)([0-9])', with_next_digit)
    line = line_with(path, '"train":')
    assert problems_of(study) == [
        f"{path.parent.name}: result.json is not what its ledger folds to, from line {line} on"
    ]


def is_no_longer_its_result(study):
    message = "result.json is not what its ledger folds to"
    return any(message in problem for problem in problems_of(study))


def test_a_result_with_a_digit_that_no_float_holds(study):
    path = ledger(study).parent / "result.json"
    edit(path, r"(\d\.\d+)(,?\n)", r"\g<1>00000000000000000001\2")
    assert is_no_longer_its_result(study)


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"{}", b"\xff"])
def test_a_result_that_is_none(study, content):
    (ledger(study).parent / "result.json").write_bytes(content)
    assert is_no_longer_its_result(study)


def test_a_finished_run_without_its_result(study):
    (ledger(study).parent / "result.json").unlink()
    assert problems_of(study) == [f"{ledger(study).parent.name}: it has no result.json"]


def test_segments_that_do_not_sum_to_the_time_that_passed(study):
    """Even where result.json is made again to suit; a report is not made of them."""
    path = ledger(study)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[1:]:
        if "segments_s" in line["data"]:
            line["data"]["segments_s"]["train"] *= 0.9
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    result = fold_ledger(path, read_events(path))
    write_json(path.parent / "result.json", to_json(result))
    with pytest.raises(LedgerError, match="seq 0 to 1: segments tell"):
        write_report_of(study)
    run = path.parent.name
    assert problems_of(study) == [
        f"{run}: seq 0 to 1: segments tell 2.980 s of 3.300 s",
        f"{run}: seq 1 to 3: segments tell 2.990 s of 3.310 s",
        f"{run}: seq 3 to 5: segments tell 2.990 s of 3.310 s",
        f"{run}: seq 5 to 7: segments tell 2.990 s of 3.310 s",
    ]


@pytest.fixture(scope="module")
def spoiled(finished, tmp_path_factory):
    """Return a copy of which one ledger is changed again and again."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("spoiled") / "study")


@MANY
@given(data=st.data())
def test_any_other_byte_in_a_ledger_is_refused(finished, spoiled, data):
    content = ledger(finished).read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    byte = bytes([data.draw(st.sampled_from(b'0123456789abcdefNIuvt{}[]":,.-+ \n\x00\xff'))])
    kept = content[place : place + 1]
    instead = data.draw(st.sampled_from([byte, b"", byte + kept]))  # replaced, deleted, inserted
    changed = content[:place] + instead + content[place + 1 :]
    assume(changed != content)
    ledger(spoiled).write_bytes(changed)
    assert problems_of(spoiled) != []
