"""The comparison against figures worked out by hand: ratios, intervals, bounds, p-values."""

import math

import pytest

from bench.judge import statistics
from bench.judge.pairs import tells_size
from bench.judge.records import Crossover, Interval
from bench.judge.times import CensoredTime, ert_interval
from tests.unit.judge.rows import comparison
from tests.unit.results_factory import with_fact, with_start
from tests.unit.study_factory import (
    FLAT,
    RISING,
    losses,
    pair,
    pairs,
    primary,
    report_of,
    timed,
    wins,
)


def test_the_ratio_is_the_geometric_mean_over_blocks_with_its_extremes():
    row = comparison(report_of(pair(0, 1.0, 2.0) + pair(1, 1.0, 8.0)))
    assert row.ratio == pytest.approx(4.0)
    assert (row.least, row.greatest) == (pytest.approx(2.0), pytest.approx(8.0))
    assert (row.arm, row.baseline) == ("pretrained", "random")
    assert (row.blocks, row.blocks_sooner, row.blocks_later) == (2, 2, 0)
    assert (row.reached, row.bound) == ((2, 2), None)


def test_the_interval_is_the_confidence_sequence_of_the_blocks_log_ratios():
    """Ratios 2 and 8 by turns: logs ln 2 and 3 ln 2 over 8 blocks, mean ln 4, variance (ln 2)^2."""
    runs = []
    for block in range(8):
        runs += pair(block, 1.0, 8.0 if block % 2 else 2.0)
    bound = (math.sqrt(9) / 0.05) ** (2 / 8)
    half = math.log(2) * math.sqrt((bound - 1) / (1 - bound / 9))
    row = comparison(report_of(runs))
    assert row.low == pytest.approx(4 / math.exp(half))
    assert row.high == pytest.approx(4 * math.exp(half))
    assert row.evidence == pytest.approx(statistics.sign_evidence([1.0] * 8))
    assert row.win_probability == 1.0


def test_four_blocks_have_no_interval_at_five_percent():
    row = comparison(report_of(wins(4)))
    assert row.ratio > 3
    assert (row.low, row.high) == (None, None)


def test_blocks_that_overlap_are_not_told_apart():
    """Crossings in (2, 3] and (2.6, 3.9]: either may be the sooner, though the ratio is 1.3."""
    row = comparison(report_of(pair(0, 1.0, 1.3)))
    assert (row.blocks, row.blocks_sooner, row.blocks_later) == (1, 0, 0)
    assert row.win_probability == 0.5
    assert row.ratio == pytest.approx(1.3)


def test_where_a_run_missed_there_is_a_bound_and_no_ratio():
    runs = []
    for block, pace in enumerate((4.0, 9.0, 4.0, 4.0, 4.0, 4.0, 4.0)):
        baseline = RISING if block > 1 else FLAT  # 0 and 1 miss, at 16 and at 36 s
        runs += pair(block, 1.0, pace, baseline=baseline)
    row = comparison(report_of(runs))
    assert (row.ratio, row.low, row.high, row.reached) == (None, None, None, (7, 5))
    arm_times = [CensoredTime(after=2, by=3)] * 7
    missed = [CensoredTime(after=16, by=math.inf)] * 2
    baseline_times = missed + [CensoredTime(after=8, by=12)] * 5
    arm_low, arm_high = ert_interval(arm_times, 16.0, 0.025)
    baseline_low, baseline_high = ert_interval(baseline_times, 16.0, 0.025)
    assert row.bound == Interval(
        low=pytest.approx(baseline_low / arm_high), high=pytest.approx(baseline_high / arm_low)
    )
    assert row.blocks_sooner == 7
    assert comparison(report_of(runs), 0.8).bound is not None


def test_a_bound_is_open_where_an_arm_never_reached():
    row = comparison(report_of(pairs(20, 1.0, 4.0, baseline=FLAT)))
    # Clopper-Pearson of 20 in 20, and of 0 in 20.
    least = (0.05 / 8) ** (1 / 20)
    most = 1 - least
    low = (1 - most) / most * 16
    high = 3 + (1 - least) / least * 16
    assert row.bound == Interval(low=pytest.approx(low / high), high=None)
    assert row.bound.low > 1
    row = comparison(report_of(pairs(7, 1.0, 4.0, arm=FLAT, baseline=FLAT)))
    assert row.bound == Interval(low=0.0, high=None)
    assert row.win_probability == 0.5


def test_a_bound_that_says_nothing_is_too_wide_to_tell():
    assert comparison(report_of(pairs(7, 1.0, 4.0, arm=FLAT, baseline=FLAT))).too_wide
    assert not comparison(report_of(pairs(20, 1.0, 4.0, baseline=FLAT))).too_wide


def test_where_there_is_no_interval_none_is_too_wide():
    for runs in ([], pair(0, 1.0, 2.0), wins(7)):
        assert not comparison(report_of(runs)).too_wide


def test_an_interval_whose_ends_are_both_beyond_telling_is_too_wide():
    """Five blocks whose ratios are 1,000 and a thousandth by turns."""
    runs = []
    for block in range(5):
        runs += pair(block, 1000.0, 1.0) if block % 2 else pair(block, 1.0, 1000.0)
    row = comparison(report_of(runs))
    assert row.ratio is not None
    assert row.low < 0.01
    assert row.high >= 1000
    assert row.too_wide


@pytest.mark.parametrize(
    ("ratio", "tells"),
    [(None, False), (0.0, False), (0.0099, False), (0.01, True), (999.9, True), (1000.0, False)],
)
def test_which_ends_of_an_interval_tell_something(ratio, tells):
    assert tells_size(ratio) == tells


def in_environment(run, **facts):
    return with_start(run, environment={**run.start.environment, **facts})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda run: with_fact(run, "dataset", sha256="e" * 64),
            f"2 different data sets cannot be compared: {'d' * 64}, {'e' * 64}",
        ),
        (
            lambda run: with_start(run, method_version="0.9"),
            "2 different versions of the method .*: 0.9, 1.1",
        ),
        (
            lambda run: with_start(run, world_size=2),
            "2 different numbers of processes .*: 1, 2",
        ),
        (
            lambda run: with_fact(run, "precision", name="bf16"),
            "2 different precisions .*: bf16, fp32",
        ),
        (
            lambda run: in_environment(run, gpu="NVIDIA H100"),
            "2 different kinds of hardware .*: NVIDIA H100, None None",
        ),
        (
            lambda run: in_environment(run, cpu="EPYC"),
            "2 different kinds of hardware .*: EPYC None",
        ),
        (
            lambda run: in_environment(run, threads_per_rank=4),
            "2 different kinds of hardware .*: None 4, None None",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(spoil, message):
    arm, baseline = pair(0, 1.0, 2.0)
    with pytest.raises(ValueError, match=f"^runs of {message}"):
        report_of([arm, spoil(baseline)])


def test_p_values_of_what_is_not_primary_are_corrected_by_holm():
    arms = {"pretrained": {}, "random": {}, "small": {}}
    runs = wins(7)
    for block in range(7):
        runs.append(timed(RISING, "small", block, step_s=2.0 + 0.01 * block))
    report = report_of(runs, arms=arms)
    rows = report.comparisons
    others = [row for row in rows if (row.arm, row.threshold) != ("pretrained", 0.9)]
    assert [row.p_sign_flip for row in rows] == [2 / 2**7] * 4
    assert comparison(report).p_holm is None
    assert [row.p_holm for row in others] == [pytest.approx(3 * 2 / 2**7)] * 3


def test_p_values_where_a_run_missed_are_of_the_blocks_scores():
    runs = pair(0, 1.0, 4.0, baseline=FLAT)
    for block in range(1, 7):
        runs += pair(block, 1.0, 4.0)
    assert comparison(report_of(runs)).p_sign_flip == 2 / 2**7


def curve_that_crosses(grid, seconds):
    """Make a curve of ten looks, one a second, that crosses each of the thresholds at its time."""
    curve = []
    for look in range(1, 11):
        accuracy = 0.0
        for threshold, second in zip(grid, seconds, strict=True):
            if look >= second:
                accuracy = threshold
        curve.append(max([accuracy, *curve]))
    return curve


def crossover_place(*seconds):
    """Return the place of the threshold at which the baseline overtakes.

    The arm crosses them at these seconds; the baseline all at 5.5 s, in a look of its own.
    """
    grid = [n / 10 for n in range(1, len(seconds) + 1)]
    arm = timed(curve_that_crosses(grid, seconds), "pretrained")
    baseline = curve_that_crosses(grid, [5.5] * len(seconds))
    runs = [arm, timed(baseline, "random", step_s=0.99)]
    report = report_of(runs, thresholds=grid, primary=primary(threshold=grid[0]))
    (row,) = report.crossover
    return None if row.accuracy is None else grid.index(row.accuracy)


@pytest.mark.parametrize(
    ("seconds", "place"),
    [
        ((1, 2, 9), 2),
        ((1, 9, 9), 1),
        ((1, 2, 3), None),
        ((9, 9, 9), None),
        ((1, 9, 99), 1),
        ((1, 2, 99), 2),
        ((9, 1, 9), 2),
    ],
    ids=["at-the-top", "early", "none", "always-behind", "then-misses", "misses", "first-behind"],
)
def test_the_crossover_is_where_the_baseline_overtakes_for_good(seconds, place):
    assert crossover_place(*seconds) == place


def test_where_neither_is_surely_sooner_there_is_no_crossover():
    runs = [timed((0.5, 0.95, 0.95, 0.95)), timed((0.9, 0.9, 0.9, 0.9), "random", step_s=1.3)]
    assert report_of(runs).crossover == [
        Crossover(arm="pretrained", baseline="random", accuracy=None)
    ]


def test_a_crossover_that_does_not_last_is_none():
    """The arm is sooner at 0.7 and at 0.9, the baseline between them, at 0.8."""
    arm = timed((0.75, 0.75, 0.75, 0.95, 0.95), "pretrained")
    baseline = timed((0.5, 0.85, 0.85, 0.85, 0.85, 0.85, 0.95, 0.95), "random", step_s=1.1)
    report = report_of([arm, baseline], thresholds=[0.7, 0.8, 0.9])
    leads = [row.blocks_sooner - row.blocks_later for row in report.comparisons]
    assert leads == [1, -1, 1]
    assert report.crossover[0].accuracy is None


def test_losses_mirror_wins():
    won = comparison(report_of(wins(7)))
    lost = comparison(report_of(losses(7)))
    assert lost.ratio == pytest.approx(1 / won.ratio)
    assert lost.low == pytest.approx(1 / won.high)
    assert lost.high == pytest.approx(1 / won.low)
    assert lost.blocks_later == won.blocks_sooner
    assert lost.evidence == pytest.approx(won.evidence)


def correlation(*paces):
    """Return the correlation of blocks in which the arms have these paces."""
    runs = []
    for block, (arm_s, baseline_s) in enumerate(paces):
        runs += pair(block, arm_s, baseline_s)
    return comparison(report_of(runs)).correlation


def test_the_correlation_within_blocks_is_of_log_times():
    """Blocks in which both arms take 1, 2 and 4 times as long go together.

    Constant or few ones tell nothing.
    """
    assert correlation((1.0, 3.0), (2.0, 6.0), (4.0, 12.0)) == pytest.approx(1)
    assert correlation((1.0, 3.0), (2.0, 1.5), (4.0, 0.75)) == pytest.approx(-1)
    assert correlation((1.0, 1.0), (1.0, 2.0), (1.0, 3.0)) is None
    assert correlation((1.0, 2.0), (2.0, 4.0)) is None
