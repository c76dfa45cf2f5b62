"""Stored studies give today the numbers that they gave when they were made, and the run ids too.

tests/fixtures/studies/README.md says what each study is; tests/fixtures/stored.py calls the code.
"""

import re
import shutil
from pathlib import Path

import pytest

from tests.fixtures import stored
from tests.fixtures.stored import CURVES, NAMES, RUN_IDS, STUDIES, first_difference, read_json

# A result copies what its ledger says, and divides: the same bits on any machine.
RESULT_TOLERANCE = 0.0
# A report adds, takes logarithms and finds roots: the C library and NumPy may do so in other steps
# on another processor, which moves the last bits.
REPORT_TOLERANCE = 1e-12
RUNS = [(name, run) for name in NAMES for run in stored.run_names(STUDIES / name)]
REPORTS = sorted(path.relative_to(STUDIES) for path in STUDIES.glob("*/report*.json"))
DRAWN = ("annealed", "controls", "faults", "interrupted", "stopped")  # each unlike the others
PAGES = sorted(path.parent.name for path in STUDIES.glob("*/report.md"))


def rules_of(report: Path) -> str:
    """The rules that a stored report was judged by, from its file's name."""
    return report.stem.removeprefix("report").removeprefix("-") or "headstart"


def judge_again(report: Path) -> dict:
    study = STUDIES / report.parent
    if study == CURVES:
        return stored.judge_curves()[0]
    return stored.judge_study(study, rules_of(report))


def copy_study(name: str, folder: Path) -> Path:
    """A copy without other rules' reports, whose pages are not stored and would be missed."""
    other_rules = shutil.ignore_patterns("report-*")
    return shutil.copytree(STUDIES / name, folder / name, ignore=other_rules)


def change_digit(ledger: Path, pattern: str) -> None:
    """Change the digit that a pattern ends with, at its first place."""
    text = ledger.read_text()
    match = re.search(pattern, text)
    assert match is not None
    other_digit = "4" if match[0][-1] == "5" else "5"
    ledger.write_text(text[: match.end() - 1] + other_digit + text[match.end() :])


@pytest.fixture(scope="module", params=NAMES)
def rewritten(request, tmp_path_factory):
    """A copy of each study, with results and report written by today's code."""
    copy = copy_study(request.param, tmp_path_factory.mktemp("rewritten"))
    stored.write_again(copy, draws=request.param in DRAWN)
    return copy


@pytest.mark.parametrize(("name", "run"), RUNS)
def test_a_ledger_folds_to_its_stored_result(name, run):
    folder = STUDIES / name / run
    unfinished = folder / "folded.json"  # of a run without an end: what its ledger folds to
    path = unfinished if unfinished.is_file() else folder / "result.json"
    result = stored.fold_run(STUDIES / name, run)
    assert first_difference(read_json(path), result, RESULT_TOLERANCE) is None


@pytest.mark.parametrize("report", REPORTS, ids=str)
def test_a_study_is_judged_as_its_stored_report_says(report):
    stored_report = read_json(STUDIES / report)
    del stored_report["method_version"]  # the judge's; it stands in run_ids.json
    difference = first_difference(stored_report, judge_again(report), REPORT_TOLERANCE)
    assert difference is None


@pytest.mark.parametrize("report", REPORTS, ids=str)
def test_a_stored_report_answers_in_the_stored_sentence(report):
    text_path = STUDIES / report.with_name(report.stem.replace("report", "answer") + ".txt")
    assert stored.answer_text(judge_again(report)) + "\n" == text_path.read_text()


@pytest.mark.parametrize(("name", "decided"), [("decided", True), ("censored", False)])
def test_a_study_with_blocks_until_decided_stops_where_it_did(name, decided):
    assert stored.is_decided(stored.judge_study(STUDIES / name, "headstart")) is decided


def test_curves_from_elsewhere_are_read_as_the_stored_results():
    results = stored.judge_curves()[1]
    assert first_difference(read_json(CURVES / "results.json"), results, RESULT_TOLERANCE) is None


def test_a_rewritten_study_verifies(rewritten):
    assert stored.verify_study(rewritten) == []


@pytest.mark.parametrize("rewritten", PAGES, indirect=True)
def test_the_page_is_the_stored_one(rewritten):
    page = (rewritten / "report.md").read_text()
    assert page == (STUDIES / rewritten.name / "report.md").read_text()


def test_run_ids_and_plan_hashes_are_the_stored_ones():
    expected = read_json(RUN_IDS)
    assert sorted(expected["studies"]) == NAMES
    assert first_difference(expected, stored.today_ids(expected), 0.0) is None


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_loads_as_the_config_that_was_run(name):
    entry = read_json(RUN_IDS)["studies"][name]
    record = stored.plan_of(entry["experiment"], entry["overrides"])
    stored_config = read_json(STUDIES / name / "plan.json")["config"]
    assert first_difference(stored_config, record["config"], 0.0) is None


def test_stored_files_name_no_place_of_a_machine():
    places = re.compile(r"/(tmp|home|root|usr|opt|mnt|Users)/")
    files = [path for path in STUDIES.rglob("*") if path.is_file()]
    assert len(files) > len(RUNS)
    assert [path for path in files if places.search(path.read_text())] == []


# The bite: what is checked above is noticed when it changes.


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (r'"correct":\d', "looks[0].correct"),
        (r'"kind":"eval_stop".*?"train":\d+\.\d{4}', "looks[0].segments_s.train"),
        (r'"loss":\d\.\d{10}', "looks[0].loss"),
        (r'"flops_per_image":\d', "ledger_sha256"),
    ],
)
def test_a_changed_digit_of_a_ledger_changes_its_result(tmp_path, pattern, path):
    copy = copy_study("two_arms", tmp_path)
    run = stored.run_names(copy)[0]
    change_digit(copy / run / "events.rank0.jsonl", pattern)
    stored_result = read_json(copy / run / "result.json")
    difference = first_difference(stored_result, stored.fold_run(copy, run), RESULT_TOLERANCE)
    assert difference is not None
    assert difference.startswith(f"{path}: stored ")


def test_a_changed_digit_of_a_ledger_changes_the_report_and_is_found_by_verify(tmp_path):
    copy = copy_study("two_arms", tmp_path)
    stored.write_again(copy, draws=False)
    run = stored.run_names(copy)[0]
    change_digit(copy / run / "events.rank0.jsonl", r'"kind":"eval_stop".*?"train":\d+\.\d{3}')
    report = read_json(STUDIES / "two_arms" / "report.json")
    difference = first_difference(report, stored.judge_study(copy, "headstart"), REPORT_TOLERANCE)
    assert difference is not None
    assert any(problem.startswith(run) for problem in stored.verify_study(copy))


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b[1]: stored 2, now 3"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1]}}, "a.b: stored 2 items, now 1"),
        ({"a": 1, "b": None}, {"a": 1}, "b: stored None, now missing"),
        ({"a": 1}, {"a": 1.0}, "a: stored 1, now 1.0"),
        ({"a": True}, {"a": 1}, "a: stored True, now 1"),
        ({"a": None}, {"a": 0}, "a: stored None, now 0"),
        ({"a": {}}, {"a": []}, "a: stored {}, now []"),
        ({"a": 1.0}, {"a": 1.0 + 1e-11}, "a: stored 1.0, now 1.00000000001"),
    ],
)
def test_a_difference_is_told_with_its_path(before, after, difference):
    assert first_difference(before, after, REPORT_TOLERANCE) == difference


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": [{}]}, {"a": [{"b": 2}]}),
        ({"a": 1.0}, {"a": 1.0 + 1e-14}),
    ],
)
def test_a_new_key_and_the_last_bits_are_let_be(before, after):
    assert first_difference(before, after, REPORT_TOLERANCE) is None
