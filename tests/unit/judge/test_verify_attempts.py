"""Verify of runs in several attempts, of runs that ended early, and of a study under way."""

import pytest

from tests.unit.disk_factory import moved_clock, write_plan, write_run
from tests.unit.judge.spoiling import edit, ledger, problems_of, write_report_of
from tests.unit.study_factory import RISING


def test_a_study_that_has_not_come_to_its_end_is_whole_as_far_as_it_is(tmp_path):
    study = write_plan(tmp_path)
    root = study.store.root
    with moved_clock() as clock:
        for run in study.runs[:3]:
            write_run(study, run, clock)
        write_run(study, study.runs[3], clock, status=None)
    assert problems_of(root) == [f"report.{kind} is missing" for kind in ("json", "md", "html")]
    write_report_of(root)
    assert problems_of(root) == []


def test_an_attempt_that_was_resumed_stays_valid(tmp_path):
    study = write_plan(tmp_path)
    root = study.store.root
    resumed = study.runs[4]
    less_s = {"startup": 9.0, "data_setup": 0.1, "compile": 1.0}
    with moved_clock() as clock:
        for run in study.runs[:4]:
            write_run(study, run, clock)
        write_run(study, resumed, clock, status=None)
        assert problems_of(root)[0] == "report.json is missing"
        write_run(study, resumed, clock, resumed_from=2, once_s=less_s)
        for run in study.runs[5:]:
            write_run(study, run, clock)
    write_report_of(root)
    assert problems_of(root) == []
    assert study.store.result(resumed.run_id).resumed


def test_a_failed_attempt_that_is_made_again(tmp_path):
    """Its result.json is the failed attempt's until the next one has ended."""
    study = write_plan(tmp_path)
    root = study.store.root
    run = study.runs[0]
    with moved_clock() as clock:
        write_run(study, run, clock, RISING[:1], status="failed")
        write_run(study, run, clock, RISING[:2], status=None)
        write_report_of(root)
        assert problems_of(root) == []
        write_run(study, run, clock)
    write_report_of(root)
    assert problems_of(root) == []


def test_a_study_of_runs_that_stopped_themselves_is_whole_and_its_digits_are_held(tmp_path):
    study = write_plan(tmp_path)
    root = study.store.root
    with moved_clock() as clock:
        for run in study.runs:
            curve = RISING[:3] if run.arm == "random" else RISING
            write_run(study, run, clock, curve, stopped_step=15, best_step=10)
    report = write_report_of(root)
    assert problems_of(root) == []
    row = report.arm("random").at(0.9)
    assert row.reached == row.terminal == 7  # at their ends
    assert row.mean_s.tau is None  # no run went to its budget
    gap = report.arm("pretrained").optimism_gap  # of the evaluation at step 10
    assert gap.median == pytest.approx(0.85 - 0.94)
    edit(ledger(root), '"best_step":10', '"best_step":15')
    message = "result.json is not what its ledger folds to, from line"
    assert any(message in problem for problem in problems_of(root))
