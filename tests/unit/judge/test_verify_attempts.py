"""Verify of runs in several attempts, of runs that ended early, and of a study under way."""

import pytest

from bench.judge.verify import verify
from tests.unit.judge.spoiling import edit, ledger, report
from tests.unit.study_factory import RISING, own_clock, study_plan, write_run


def test_a_study_that_has_not_come_to_its_end_is_whole_as_far_as_it_is(tmp_path):
    made = study_plan(tmp_path)
    with own_clock() as clock:
        for spec in made.specs[:3]:
            write_run(made, spec, clock)
        write_run(made, made.specs[3], clock, status=None)
    assert verify(made.store.root) == [
        f"report.{kind} is missing" for kind in ("json", "md", "html")
    ]
    report(made)
    assert verify(made.store.root) == []


def test_an_attempt_that_was_resumed_stays_valid(tmp_path):
    made = study_plan(tmp_path)
    with own_clock() as clock:
        for place, spec in enumerate(made.specs):
            if place == 4:
                write_run(made, spec, clock, status=None)
                assert verify(made.store.root)[0] == "report.json is missing"
                write_run(
                    made,
                    spec,
                    clock,
                    resumed_from=2,
                    once_s={"startup": 9.0, "data_setup": 0.1, "compile": 1.0},
                )
            else:
                write_run(made, spec, clock)
    report(made)
    assert verify(made.store.root) == []
    assert made.store.result(made.specs[4].run_id).resumed


def test_a_failed_attempt_that_is_made_again(tmp_path):
    """Its result.json is the failed attempt's until the next one has ended."""
    made = study_plan(tmp_path)
    with own_clock() as clock:
        write_run(made, made.specs[0], clock, RISING[:1], status="failed")
        write_run(made, made.specs[0], clock, RISING[:2], status=None)
        report(made)
        assert verify(made.store.root) == []
        write_run(made, made.specs[0], clock)
    report(made)
    assert verify(made.store.root) == []


def test_a_study_of_runs_that_stopped_themselves_is_whole_and_its_digits_are_held(tmp_path):
    made = study_plan(tmp_path)
    with own_clock() as clock:
        for spec in made.specs:
            write_run(
                made,
                spec,
                clock,
                RISING[:3] if spec.arm == "random" else RISING,
                stop={"stopped_step": 15, "best_step": 10},
            )
    published = report(made)
    assert verify(made.store.root) == []
    row = published["arms"][1]["thresholds"][1]
    assert (row["reached"], row["mean_s"]["tau"]) == (
        7,
        None,
    )  # at their ends: terminal, and no run had a whole budget
    assert published["arms"][0]["optimism_gap"]["median"] == pytest.approx(
        0.85 - 0.94
    )  # of the look at step 10
    edit(ledger(made.store.root), '"best_step":10', '"best_step":15')
    assert any(
        "result.json is not what its ledger folds to, from line" in problem
        for problem in verify(made.store.root)
    )
