"""What comes on top of a run: when pretraining has paid, and times with their tuning in them."""

import pytest

from bench.judge.comparison import summarize
from bench.judge.records import BreakEven, TuningCost
from bench.ledger.records import Pretraining
from tests.unit.results_factory import (
    EVERY_SAMPLES,
    FLOPS_PER_IMAGE,
    make_study,
    with_fact,
    with_start,
)
from tests.unit.study_factory import FLAT, RISING, report_of, timed

PRICE = Pretraining(source="a paper", flops=1e15, estimate=True)
SLOW = (0.5, 0.6, 0.7, 0.85, 0.95, 0.95)  # reaches 0.9 two evaluations after RISING
FLOPS_A_LOOK = 3 * FLOPS_PER_IMAGE * EVERY_SAMPLES


def pretrained(run, price=PRICE):
    return with_fact(run, "weights", pretraining=price)


def test_pretraining_has_paid_after_its_price_over_what_a_run_saves():
    report = report_of([pretrained(timed(RISING)), timed(SLOW, "random")])
    assert report.break_even == [
        BreakEven(
            arm="pretrained",
            source="a paper",
            pretraining_flops=1e15,
            estimate=True,
            saved_flops=2 * FLOPS_A_LOOK,
            runs=pytest.approx(1e15 / (2 * FLOPS_A_LOOK)),
        )
    ]


@pytest.mark.parametrize(("curve", "saved_looks"), [(RISING, 0), (SLOW, -2)])
def test_pretraining_that_saves_nothing_never_pays(curve, saved_looks):
    report = report_of([pretrained(timed(curve)), timed(RISING, "random")])
    (row,) = report.break_even
    assert row.saved_flops == saved_looks * FLOPS_A_LOOK
    assert row.runs is None


@pytest.mark.parametrize(
    "runs",
    [
        [pretrained(timed(FLAT)), timed(RISING, "random")],
        [pretrained(timed(RISING)), timed(FLAT, "random")],
        [pretrained(timed(RISING)), pretrained(timed(FLAT, block=1)), timed(RISING, "random")],
        [pretrained(timed(RISING))],
    ],
    ids=["arm-missed", "baseline-missed", "one-missed", "no-baseline"],
)
def test_where_not_all_runs_reached_it_is_not_known_what_they_save(runs):
    (row,) = report_of(runs).break_even
    assert (row.saved_flops, row.runs) == (None, None)


def test_weights_whose_price_nobody_tells_have_no_row():
    assert report_of([timed(RISING), timed(SLOW, "random")]).break_even == []


def test_where_the_baseline_is_pretrained_too_there_is_nothing_to_pay_for():
    report = report_of([pretrained(timed(RISING)), pretrained(timed(SLOW, "random"))])
    assert report.break_even == []


def tuning_run(rate, accuracy, arm):
    """Make a run of tuning that takes two seconds."""
    run = timed((0.1, accuracy), arm)
    return with_start(run, config={"optim": {"lr": rate}, "train": {"samples": 1280}})


def tuned_report(runs, overrides):
    """Return the report of arms for which 0.2 was the best of two rates, after four seconds."""
    study = make_study(arms={"pretrained": overrides, "random": {}}, optim={"lr": 0.1})
    trials = []
    for arm in ("pretrained", "random"):
        trials += [tuning_run(0.1, 0.4, arm), tuning_run(0.2, 0.5, arm)]
    return summarize(study, runs, trials=trials)


def test_time_to_accuracy_with_its_tuning_in_it():
    report = tuned_report([timed(RISING), timed(FLAT, "random")], {"optim.lr": 0.2})
    assert report.tuning_cost == [
        TuningCost(arm="pretrained", ran_at_best=True, with_tuning_s=3.0 + 4.0),
        TuningCost(arm="random", ran_at_best=False, with_tuning_s=None),
    ]


def test_without_an_override_an_arm_runs_at_the_rate_of_all():
    report = tuned_report([timed(RISING), timed(RISING, "random")], {})
    assert [row.ran_at_best for row in report.tuning_cost] == [False, False]


def test_without_a_tuning_there_is_no_cost_of_it():
    assert report_of([timed(RISING), timed(SLOW, "random")]).tuning_cost == []
