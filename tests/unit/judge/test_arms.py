"""What an arm's runs tell.

How a step splits, what compiling paid, whether it is as it was stored.
"""

import dataclasses
import math

import pytest

from bench.judge.arm_records import MeanTime, RestartTime, Spread, StepSplit
from bench.judge.records import Interval
from bench.judge.spread import interval_of, spread_of
from bench.ledger.records import NetworkFacts
from tests.unit.results_factory import EVERY_SAMPLES, TRAIN_SAMPLES, with_fact
from tests.unit.study_factory import FLAT, RISING, report_of, timed

EPOCHS_A_LOOK = EVERY_SAMPLES / TRAIN_SAMPLES


def arm_of(runs, **changes):
    return report_of(runs, **changes).arm("pretrained")


def compiled_run(block=0, **facts):
    """Make a run of which its compilation says these things."""
    return with_fact(timed(RISING, block=block), "compile", **facts)


@pytest.mark.parametrize(
    ("waiting", "exchanging", "bottleneck"),
    [
        (None, 0.0, None),
        (0.0, 0.0, "compute"),
        (0.05, 0.0, "compute"),
        (0.051, 0.0, "data"),
        (1.0, 0.0, "data"),
        (0.0, 0.5, "compute"),
        (0.0, 0.51, "communication"),
        (0.06, 0.9, "data"),
    ],
)
def test_the_bottleneck_is_named_from_five_percent_waiting_on(waiting, exchanging, bottleneck):
    run = compiled_run(communication_fraction=exchanging)
    run = dataclasses.replace(run, data_wait_fraction=waiting)
    assert arm_of([run]).step.bottleneck == bottleneck


def test_a_step_splits_into_waiting_exchange_and_compute():
    runs = []
    for block, waiting in enumerate((0.1, 0.2, 0.9)):
        run = compiled_run(block, communication_fraction=0.25)
        runs.append(dataclasses.replace(run, data_wait_fraction=waiting))
    assert arm_of(runs).step == StepSplit(
        data_wait=0.2,
        communication=pytest.approx(0.2),
        compute=pytest.approx(0.6),
        bottleneck="data",
    )
    unknown = timed(FLAT, status="failed", data_wait_fraction=None)
    assert arm_of([unknown]).step == StepSplit(
        data_wait=None, communication=None, compute=None, bottleneck=None
    )


def test_compiling_has_paid_after_this_many_runs():
    """A step saves 0.1 s, a run has 200 steps: 40 s of compiling are paid by the second run."""
    summary = arm_of([compiled_run(compile_s=40.0, step_s=0.1, eager_step_s=0.2)]).compile
    assert summary.break_even_runs == pytest.approx(2.0)
    assert (summary.compile_s, summary.cache_misses, summary.enabled) == (40.0, 3, True)


@pytest.mark.parametrize(
    "slow",
    [{"step_s": 0.2}, {"step_s": 0.3}, {"enabled": False}, {"step_s": None, "eager_step_s": None}],
)
def test_compiling_that_saves_nothing_never_pays(slow):
    assert arm_of([compiled_run(**slow)]).compile.break_even_runs is None


def compared_with_stored(stored, looks):
    """Return how an arm stands that crossed at these looks; a look of 0: it never did."""
    runs = []
    for block, look in enumerate(looks):
        curve = [0.5] * (look - 1) + [0.95, 0.95] if look else FLAT
        runs.append(timed(curve, block=block))
    return arm_of(runs, reference={"pretrained": stored}).stored_epochs


def test_an_arm_is_as_its_stored_epochs():
    stored = [EPOCHS_A_LOOK * look for look in (3, 4, 5)]
    summary = compared_with_stored(stored, (3, 4, 5))
    assert summary.outcome == "as stored"
    assert summary.epochs.median == pytest.approx(4 * EPOCHS_A_LOOK)
    assert summary.p_sooner > 0.3
    assert summary.p_later > 0.3
    assert arm_of([timed(RISING)]).stored_epochs is None


@pytest.mark.parametrize(
    ("looks", "stored", "outcome"),
    [
        ([1] * 7, [2.0, 2.1, 2.2, 2.3, 2.4], "too good"),  # 1 of 792 splits
        ([1] * 2, [2.0, 2.1, 2.2], "as stored"),  # 1 of 10: too few to tell
        ([9] * 7, [1.0, 1.1, 1.2, 1.3, 1.4], "too slow"),
        ([0] * 2, [1.0, 1.1], "too slow"),
        ([], [1.0, 1.1], "as stored"),
    ],
)
def test_what_is_unlike_its_stored_epochs_is_told(looks, stored, outcome):
    assert compared_with_stored(stored, looks).outcome == outcome


def test_one_percent_decides_whether_it_is_unlike():
    """One sided, exact: 1 of C(9, 4) = 126 splits is under 1 %, 1 of C(8, 4) = 70 is not."""
    assert compared_with_stored([2.0, 2.1, 2.2, 2.3, 2.4], [1] * 4).outcome == "too good"
    assert compared_with_stored([2.0, 2.1, 2.2, 2.3], [1] * 4).outcome == "as stored"


def test_area_is_mean_accuracy_over_log_flops():
    """Looks at 1, 2, 3 and 4 shares of samples: trapezoids over their logs.

    Whatever an image costs.
    """
    parts = [
        (0.5 + 0.85) / 2 * math.log(2),
        (0.85 + 0.95) / 2 * math.log(3 / 2),
        0.95 * math.log(4 / 3),
    ]
    area = arm_of([timed(RISING)]).area_log_flops
    assert area.median == pytest.approx(sum(parts) / math.log(4))
    unknown = arm_of([with_fact(timed(RISING), "network", flops_per_image=None)])
    assert unknown.area_log_flops.median is None
    assert unknown.thresholds[1].flops_to_accuracy.median is None


@pytest.mark.parametrize(
    ("costs", "flops"),
    [
        ({}, [0, 30, 3000]),
        ({"train_flops_once": 500}, [500, 530, 3500]),
        ({"head_first_samples": 10}, [0, 12, 120 + 90 * 30]),
        ({"head_first_samples": 200}, [0, 12, 1200]),
        (
            {"head_first_samples": 10, "train_flops_once": 7, "train_flops_per_image": 3},
            [7, 19, 7 + 120 + 270],
        ),
    ],
)
def test_flops_of_training_by_hand(costs, flops):
    network = NetworkFacts(
        name="any",
        parameters=None,
        flops_per_image=10,
        train_flops_per_image=30,
        head_first_flops_per_image=12,
    )
    network = dataclasses.replace(network, **costs)
    assert [network.train_flops(samples) for samples in (0, 1, 100)] == flops


def test_flops_to_accuracy_and_the_area_are_at_the_price_that_was_paid():
    run = timed(RISING)
    frozen = arm_of([with_fact(run, "network", train_flops_per_image=5, train_flops_once=10**6)])
    assert frozen.thresholds[1].flops_to_accuracy.median == 10**6 + 5 * 960
    assert frozen.area_log_flops.median != pytest.approx(arm_of([run]).area_log_flops.median)


def test_the_optimism_gap_is_of_the_look_that_test_was_scored_on():
    """0.8 on test; 0.85 on val at step 10, 0.95 at the last."""
    restored = timed(RISING, test_correct=400, best_step=10, stopped_step=20)
    assert arm_of([restored]).optimism_gap.median == pytest.approx(0.05)
    assert arm_of([timed(RISING, test_correct=400)]).optimism_gap.median == pytest.approx(0.15)


def test_a_spread_leaves_out_what_is_not_known():
    assert spread_of([3.0, None, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)
    assert spread_of([None]) == spread_of([]) == Spread(median=None, low=None, high=None)


def test_an_open_end_is_null():
    assert interval_of(None) == Interval(low=None, high=None)
    assert interval_of((-math.inf, math.inf)) == Interval(low=None, high=None)
    assert interval_of((0.0, 2.0)) == Interval(low=0.0, high=2.0)


def test_an_arm_without_runs_is_described_by_nulls():
    arm = arm_of([])
    assert (arm.network, arm.runs) == (None, 0)
    assert (arm.step, arm.compile, arm.classes) == (None, None, None)
    assert arm.thresholds[0].mean_s == MeanTime(value=None, tau=None)
    assert arm.thresholds[0].restarts_s == RestartTime(value=None, low=None, high=None, floor=None)
