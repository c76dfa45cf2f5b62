"""Studies and their written reports, which several tests of pages read."""

import dataclasses

import pytest

from bench.judge.study import planned_study
from bench.ledger.json_records import to_json
from bench.ledger.plan_record import AmendedPlan
from bench.ledger.result import RunResult
from bench.report.pages import write_report
from tests.unit.report.pages import Page
from tests.unit.report.studies import ARMS, EVIL, THREE_ARMS, THRESHOLDS, make_runs
from tests.unit.results_factory import (
    make_config,
    make_plan,
    make_study,
    with_fact,
    with_start,
)
from tests.unit.runs_factory import make_study_runs


@pytest.fixture(scope="module")
def study():
    return make_study(arms=ARMS, factors=("weights", "optim"), thresholds=THRESHOLDS)


@pytest.fixture(scope="module")
def written(tmp_path_factory, study):
    directory = tmp_path_factory.mktemp("report")
    return directory, write_report(directory, study, make_runs())


@pytest.fixture(scope="module")
def page(written):
    return Page((written[0] / "report.html").read_text())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A study with all that a report can show: three arms, classes, evaluations on test, controls,
    stored epochs, amended plans.
    """
    directory = tmp_path_factory.mktemp("full")
    config = make_config(
        arms=THREE_ARMS,
        factors=("weights", "optim"),
        thresholds=(0.5, 0.8, 0.9),
        controls={"again": "equal"},
        reference={"random": (2.9, 3.0)},
    )
    plan = make_plan(config)
    earlier = AmendedPlan(sha256="e" * 64, primary={**to_json(plan.primary), "blocks": 5})
    study = planned_study(dataclasses.replace(plan, amended=(earlier,)))
    runs = list(make_study_runs(study, test_looks=True))
    return directory, write_report(directory, study, runs)


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A report in which everything that a user can name is markup."""
    directory = tmp_path_factory.mktemp("evil")
    arms = {EVIL: {"weights.tag": EVIL}, "random": {}}
    study = make_study(question=EVIL, cost=EVIL, command=EVIL, expected=EVIL, thresholds=THRESHOLDS)
    study = dataclasses.replace(study, name=EVIL, arms=arms, primary_arm=EVIL)
    runs = [_with_evil_names(run) for run in make_study_runs(study, blocks=2)]
    write_report(directory, study, runs)
    return directory


def _with_evil_names(run: RunResult) -> RunResult:
    run = dataclasses.replace(run, error=EVIL)
    run = with_fact(run, "dataset", name=EVIL, classes=(EVIL,) * 10)
    run = with_fact(run, "network", name=EVIL)
    run = with_fact(run, "weights", tag=EVIL)
    return with_start(run, environment={"device": "cpu", EVIL: EVIL})
