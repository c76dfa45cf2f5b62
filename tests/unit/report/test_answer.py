"""The answer of a report in one sentence, whole: every way in which a comparison can end."""

import pytest

from bench.report.words import answer
from tests.unit.judge.rows import comparison
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


def answer_to(runs, **changes):
    return answer(report_of(runs, **changes))


def test_where_the_arm_is_sooner():
    assert answer_to(wins(7)) == (
        "pretrained 3.29x sooner to 0.90 on digits than random (train clock; "
        "95 % interval 2.94x to 3.70x, sooner in 7 of 7 blocks; verdict: pretrained sooner)"
    )


def test_where_the_arm_is_later_ratio_and_interval_are_turned():
    assert answer_to(losses(7)) == (
        "pretrained 3.29x later to 0.90 on digits than random (train clock; "
        "95 % interval 2.94x to 3.70x, sooner in 0 of 7 blocks; verdict: random sooner)"
    )


def test_of_few_blocks_there_is_no_interval():
    assert answer_to(pair(0, 1.0, 3.0)) == (
        "pretrained 3.00x sooner to 0.90 on digits than random (train clock; "
        "sooner in 1 of 1 block; verdict: undecided)"
    )


def test_the_interval_has_its_alpha():
    assert "(train clock; 99.5 % interval " in answer_to(wins(12), primary=primary(alpha=0.005))


def test_where_not_all_reached():
    runs = [*pair(0, 1.0, 2.0), *pair(1, 1.0, 2.0, baseline=FLAT)]
    assert answer_to(runs) == (
        "0.90 on digits reached by pretrained in 2 of 2 runs (median 3.0 s), "
        "random in 1 of 2 runs (median 6.0 s); "
        "pretrained sooner in 2 of 2 blocks; verdict: undecided"
    )


def test_where_the_baseline_never_reached_there_is_a_least_ratio():
    report = report_of(pairs(20, 1.0, 4.0, baseline=FLAT))
    least = comparison(report).bound.low
    words = f"; pretrained at least {least:.2f}x sooner with restarts, sooner in 20 of 20 blocks; "
    assert words in answer(report)


def test_where_the_arm_never_reached_there_is_a_least_ratio_the_other_way():
    report = report_of(pairs(20, 4.0, 1.0, arm=FLAT))
    least = 1 / comparison(report).bound.high
    words = f"; pretrained at least {least:.2f}x later with restarts, sooner in 0 of 20 blocks; "
    assert words in answer(report)


def test_before_a_block_is_complete():
    assert answer_to([]) == "pretrained against random: no block is complete yet"


def test_of_a_single_arm_nothing_is_compared():
    runs = [timed(RISING, "random", step_s=2.0)]
    assert answer_to(runs, arms={"random": {}}, primary=primary(arm="random")) == (
        "0.90 on digits reached by random in 1 of 1 runs (median 6.0 s); nothing to compare with"
    )


@pytest.mark.parametrize(
    ("arm", "baseline"), [("arm", "baseline"), ("baseline", "arm"), ("fast", "arm-sooner")]
)
@pytest.mark.parametrize("arm_s", [1.0, 9.0])
def test_the_winner_is_named_whatever_the_arms_are_called(arm, baseline, arm_s):
    runs = []
    for block in range(7):
        runs.append(timed(RISING, arm, block, step_s=arm_s))
        runs.append(timed(RISING, baseline, block, step_s=3.0))
    names = {"arms": {arm: {}, baseline: {}}, "baseline": baseline, "primary": primary(arm=arm)}
    winner = arm if arm_s < 3.0 else baseline
    assert answer_to(runs, **names).endswith(f"verdict: {winner} sooner)")
