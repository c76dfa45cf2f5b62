"""What a comparison says of each arm, by hand: its times, its final accuracy, its rank by any
rules.
"""

import pytest

from bench.judge import statistics
from bench.judge.arm_records import MeanTime, RestartTime, Spread
from bench.judge.comparison import time_to_accuracy_s
from bench.judge.records import RankedArm
from bench.judge.rules import RULES
from bench.ledger.records import FINISHED, STATUSES
from tests.unit.judge.rows import comparison, threshold_of
from tests.unit.results_factory import EVERY_SAMPLES, FLOPS_PER_IMAGE, make_study
from tests.unit.study_factory import FLAT, RISING, pair, report_of, timed

EMPTY = Spread(median=None, low=None, high=None)


def test_medians_and_extremes_of_an_arm():
    runs = [timed(RISING, "random", block, step_s=s) for block, s in enumerate((1.0, 4.0, 2.0))]
    row = threshold_of(report_of(runs), "random")
    assert (row.reached, row.runs, row.confirmed, row.terminal) == (3, 3, 3, 0)
    assert row.time_to_accuracy_s == Spread(median=6.0, low=3.0, high=12.0)
    samples = 3 * EVERY_SAMPLES
    assert row.samples_to_accuracy == Spread(median=samples, low=samples, high=samples)
    assert row.flops_to_accuracy.median == 3 * FLOPS_PER_IMAGE * samples
    assert row.epochs_to_accuracy.median == runs[0].evaluations[2].epoch
    assert row.joules_to_accuracy == EMPTY


def test_mean_time_and_time_with_restarts_by_hand():
    """Crossed at 3 and 6 s, missed at 8 s; the budget that all had ends at 4 s."""
    runs = [
        timed(RISING, block=0),
        timed(RISING, block=1, step_s=2.0),
        timed(FLAT, block=2, step_s=2.0),
    ]
    row = threshold_of(report_of(runs), "pretrained")
    assert row.mean_s == MeanTime(value=pytest.approx((3 + 4 + 4) / 3), tau=4.0)
    assert row.restarts_s.value == (3 + 6 + 8) / 2
    assert row.restarts_s.low < 8.5 < row.restarts_s.high
    assert row.restarts_s.floor is None


def test_where_none_reached_there_is_a_floor():
    row = threshold_of(
        report_of([timed(FLAT, block=block, step_s=1.0 + block) for block in range(3)]),
        "pretrained",
    )
    p = 1 - 0.05 ** (1 / 3)
    assert row.restarts_s == RestartTime(
        value=None, low=row.restarts_s.low, high=None, floor=pytest.approx(4 * (1 - p) / p)
    )
    assert row.restarts_s.low > 0
    assert row.mean_s.value == 4.0


def test_a_run_that_diverged_early_does_not_shorten_the_common_budget():
    runs = [
        *pair(0, 1.0, 2.0),
        timed((0.1,), block=1, step_s=0.5, status="diverged"),
        pair(1, 1.0, 2.0)[1],
    ]
    row = threshold_of(report_of(runs), "pretrained")
    assert row.mean_s == MeanTime(value=(3 + 4) / 2, tau=4.0)


def test_a_run_that_its_own_rule_ended_does_not_shorten_the_common_budget():
    runs = [
        *pair(0, 1.0, 2.0),
        *pair(1, 1.0, 2.0),
        timed(FLAT[:2], block=2, step_s=0.5, stopped_step=10),
        pair(2, 1.0, 2.0)[1],
    ]
    row = threshold_of(report_of(runs), "pretrained")
    assert row.mean_s == MeanTime(value=(3 + 3 + 4) / 3, tau=4.0)
    assert row.restarts_s.value == (3 + 3 + 4) / 2
    assert comparison(report_of(runs)).blocks_sooner == 2


def budgets_of(block, arm, correct):
    """Make an annealed block of an arm: eight looks that reach, and two that do not."""
    runs = []
    for looks, last, right in ((8, 0.95, correct), (2, 0.5, 100)):
        curve = [0.1] * (looks - 1) + [last]
        runs.append(timed(curve, arm, block, budget=looks, test_correct=right))
    return runs


def test_of_several_budgets_the_longest_is_the_common_one_and_has_the_final_accuracy():
    runs = [
        *budgets_of(0, "pretrained", 450),
        *reversed(budgets_of(0, "random", 400)),
        *budgets_of(1, "pretrained", 450),
        *budgets_of(1, "random", 410),
    ]
    report = report_of(runs, kind="annealed")
    random = report.arm("random")
    assert threshold_of(report, "random").mean_s.tau == 8.0
    assert random.final_accuracy == Spread(median=pytest.approx(0.81), low=0.8, high=0.82)
    (final,) = report.final_accuracy
    assert (final.blocks, final.difference) == (2, pytest.approx(0.09))
    assert (threshold_of(report, "random").runs, random.runs) == (2, 4)


@pytest.mark.parametrize("status", sorted(set(STATUSES) - set(FINISHED)))
def test_a_run_that_broke_is_counted_apart_and_its_block_is_not_compared(status):
    runs = [
        *pair(0, 1.0, 2.0),
        *pair(1, 1.0, 9.0)[:1],
        timed((0.95, 0.95), "random", 1, status=status),
    ]
    report = report_of(runs)
    counts = {name: 0 for name in STATUSES} | {"completed": 1}
    assert report.arm("random").runs == 1
    assert report.arm("random").statuses == {**counts, status: 1}
    assert comparison(report).blocks == 1
    assert comparison(report).ratio == pytest.approx(2.0)


def test_time_to_accuracy_is_the_readings_of_the_named_clock():
    run = timed((0.5, 0.95, 0.5, 0.95, 0.95))
    assert time_to_accuracy_s(make_study(), run, 0.9) == 4.0
    assert time_to_accuracy_s(make_study(confirm_looks=1), run, 0.9) == 2.0
    assert time_to_accuracy_s(make_study(clock="airbench"), run, 0.9) == 9.0
    assert time_to_accuracy_s(make_study(), timed(FLAT), 0.9) is None


def test_arms_are_ranked_under_every_set_of_rules():
    """Held: random at 2 s, pretrained at 4 s. Touched on test: pretrained first.

    Neither mean reaches 0.9.
    """
    runs = [
        timed((0.5, 0.95, 0.5, 0.95), "pretrained", test=(0.95, 0.5, 0.5, 0.5)),
        timed((0.5, 0.95, 0.95, 0.95), "random", test=(0.5, 0.5, 0.95, 0.85)),
    ]
    headstart, dawnbench, airbench = report_of(runs, clock="mlperf").rankings
    assert [headstart.rules, dawnbench.rules, airbench.rules] == list(RULES)
    assert (headstart.clock, dawnbench.clock, airbench.clock) == ("mlperf", "train", "airbench")
    assert headstart.arms == [
        RankedArm(arm="random", median_s=7.0),
        RankedArm(arm="pretrained", median_s=9.0),
    ]
    assert dawnbench.arms == [
        RankedArm(arm="pretrained", median_s=1.0),
        RankedArm(arm="random", median_s=3.0),
    ]
    assert [ranked.median_s for ranked in airbench.arms] == [None, None]
    assert (headstart.same, dawnbench.same, airbench.same) == (True, False, False)


def test_runs_without_looks_on_test_have_no_ranking_by_test():
    ranked = report_of(pair(0, 1.0, 2.0)).rankings
    assert [(row.arms is None, row.same) for row in ranked] == [
        (False, True),
        (True, None),
        (True, None),
    ]


def test_a_run_that_diverged_before_its_look_on_test_leaves_the_ranking():
    """One look on test is no curve to touch by."""
    runs = [timed(FLAT, "random", 2, status="diverged")]
    for block in (0, 1):
        runs += [timed(RISING, arm, block, test=RISING[-1:]) for arm in ("pretrained", "random")]
    headstart, dawnbench, airbench = report_of(runs).rankings
    assert headstart.arms[0].median_s == 3.0
    assert dawnbench.arms is None
    assert airbench.arms[0].median_s == 9.0


def test_the_report_is_judged_by_the_rules_that_are_asked_for():
    runs = [
        timed((0.5, 0.95, 0.5, 0.5), test=(0.5, 0.95, 0.5, 0.5)),
        timed(RISING, "random", test=RISING),
    ]
    report = report_of(runs, "dawnbench", clock="mlperf")
    assert (report.rules, report.clock) == ("dawnbench", "train")
    assert comparison(report).ratio == pytest.approx(1.5)
    assert threshold_of(report, "pretrained").fell_back == 1
    assert comparison(report_of(runs)).ratio is None


def test_rules_that_judge_looks_which_were_not_taken_are_refused():
    runs = [timed(RISING, arm, test=RISING[-1:]) for arm in ("pretrained", "random")]
    assert report_of(runs, "airbench").rules == "airbench"
    with pytest.raises(
        ValueError, match=r"dawnbench judges every look on test, .* evaluation.test_every_look"
    ):
        report_of(runs, "dawnbench")


def test_final_accuracy_is_of_test_and_its_difference_is_paired():
    right = [(450, 400), (460, 420), (480, 430)]
    runs = []
    for block, (pretrained, random) in enumerate(right):
        runs.append(timed((0.9,), "pretrained", block, test_correct=pretrained))
        runs.append(timed((0.9,), "random", block, test_correct=random))
    report = report_of(runs)
    final = report.arm("pretrained").final_accuracy
    assert final == Spread(median=0.92, low=0.9, high=0.96)
    assert report.arm("pretrained").optimism_gap.median == pytest.approx(-0.02)
    (row,) = report.final_accuracy
    mean, low, high = statistics.mean_interval([0.1, 0.08, 0.1], 0.05)
    assert (row.blocks, row.difference) == (3, pytest.approx(mean))
    assert (row.low, row.high) == (pytest.approx(low), pytest.approx(high))


def test_a_final_difference_of_one_block_has_no_interval():
    (row,) = report_of(pair(0, 1.0, 2.0)).final_accuracy
    assert (row.blocks, row.difference, row.low, row.high) == (1, 0.0, None, None)
