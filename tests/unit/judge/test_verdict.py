"""The verdict: what decides, and all that leaves it undecided, whatever the runs show."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.comparison import summarize
from bench.judge.curves import read_curves
from bench.judge.records import Control, Verdict
from bench.judge.rules import RULES
from bench.judge.verdict import is_enough
from bench.ledger.plan_record import AmendedPlan
from tests.unit.results_factory import PLAN_SHA256, make_study
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

THREE = {"pretrained": {}, "random": {}, "third": {}}


def verdict(runs, rules="headstart", **changes):
    return verdict_of(make_study(**changes), runs, rules)


def verdict_of(study, runs, rules="headstart"):
    report = summarize(study, runs, rules)
    return report.verdict.verdict, report.verdict.reason


def test_seven_straight_wins_decide_and_six_do_not():
    assert verdict(wins(7)) == ("arm sooner", "7 sooner, 0 later of 7 blocks, evidence 26.8 of 20")
    assert verdict(wins(6)) == ("undecided", "6 sooner, 0 later of 6 blocks, evidence 14.4 of 20")


def test_seven_straight_losses_decide_for_the_baseline():
    reason = "0 sooner, 7 later of 7 blocks, evidence 26.8 of 20"
    assert verdict(losses(7)) == ("baseline sooner", reason)
    assert verdict(losses(6))[0] == "undecided"


def test_a_loss_among_wins_takes_more_blocks():
    assert verdict(losses(1) + wins(10, first=1))[0] == "undecided"
    assert verdict(losses(1) + wins(11, first=1))[0] == "arm sooner"


def test_a_stricter_alpha_asks_for_more():
    assert verdict(wins(10), primary=primary(alpha=0.005))[0] == "undecided"
    assert verdict(wins(11), primary=primary(alpha=0.005))[0] == "arm sooner"


def test_blocks_in_which_one_arm_never_got_there_decide():
    assert verdict(pairs(7, 1.0, 1.0, baseline=FLAT))[0] == "arm sooner"
    assert verdict(pairs(7, 1.0, 1.0, arm=FLAT))[0] == "baseline sooner"


@pytest.mark.parametrize(
    ("status", "expected"),
    [("diverged", "arm sooner"), ("failed", "undecided")],
)
def test_a_diverged_baseline_is_a_win_and_a_failed_one_is_no_block(status, expected):
    runs = []
    for block in range(7):
        runs += [timed(RISING, block=block), timed(FLAT, "random", block, status=status)]
    name, reason = verdict(runs)
    assert name == expected
    assert (reason == "no block is complete") == (status == "failed")


def test_an_interval_within_the_smallest_ratio_is_equivalent():
    runs = []
    for block in range(9):
        runs += pair(block, 1.0, 1.01 if block % 2 else 1.0)
    assert verdict(runs) == ("equivalent", "the interval lies within 0.95x to 1.05x")
    assert verdict(runs, primary=primary(smallest_ratio=1.001))[0] == "undecided"


def test_never_reached_by_neither_in_as_many_blocks_as_could_have_decided():
    six = pairs(6, 1.0, 2.0, arm=FLAT, baseline=FLAT)
    seven = pairs(7, 1.0, 2.0, arm=FLAT, baseline=FLAT)
    assert verdict(seven) == ("never reached", "by neither arm in 7 blocks")
    assert verdict(six)[0] == "undecided"
    assert verdict([*six, *pair(6, 1.0, 1.0, baseline=FLAT)])[0] == "undecided"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([RISING, FLAT]), st.floats(0.1, 10), st.sampled_from([RISING, FLAT])
        ),
        max_size=6,
    )
)
def test_too_few_blocks_never_tell_who_was_sooner(blocks):
    runs = []
    for block, (arm, pace, baseline) in enumerate(blocks):
        runs += pair(block, pace, 1.0, arm, baseline)
    assert verdict(runs)[0] in ("undecided", "equivalent")


BEFORE = "14 runs were made before the plan was changed to this one"


def amended_study(*keys):
    """Return a study whose runs were made under an earlier plan, which differs in these keys."""
    study = make_study()
    earlier = dict(study.primary)
    for key in keys:
        earlier[key] = "another"
    return dataclasses.replace(
        study,
        plan_sha256="q" * 64,
        amended=[AmendedPlan(sha256=PLAN_SHA256, primary=earlier)],
    )


@pytest.mark.parametrize(
    "key",
    [
        "threshold",
        "alpha",
        "arm",
        "baseline",
        "smallest_ratio",
        "clock",
        "kind",
        "confirm_looks",
        "controls",
        "reference",
        "budget_samples",
        "method_version",
        "first_block",
    ],
)
def test_runs_from_before_a_change_of_plan_decide_nothing(key):
    assert verdict_of(amended_study(key), wins(7)) == ("undecided", BEFORE)
    assert verdict_of(amended_study("blocks", key), wins(7)) == ("undecided", BEFORE)


@pytest.mark.parametrize("key", ["max_blocks", "blocks", "spread", "interval_width"])
def test_more_blocks_than_first_planned_do_no_harm(key):
    assert verdict_of(amended_study(key), wins(7))[0] == "arm sooner"


def test_a_key_that_an_earlier_plan_lacks_is_a_change():
    study = amended_study()
    (earlier,) = study.amended
    primary_without_alpha = {key: value for key, value in earlier.primary.items() if key != "alpha"}
    earlier = dataclasses.replace(earlier, primary=primary_without_alpha)
    study = dataclasses.replace(study, amended=[earlier])
    assert verdict_of(study, wins(7)) == ("undecided", BEFORE)


def test_runs_of_a_plan_that_nobody_wrote_down_decide_nothing():
    study = dataclasses.replace(make_study(), plan_sha256="q" * 64)
    assert verdict_of(study, wins(7)) == ("undecided", BEFORE)


def test_a_failed_control_blocks_the_verdict():
    slow = [timed(RISING, "third", block, step_s=20.0) for block in range(7)]
    changes = {"arms": THREE, "controls": {"third": "equal"}}
    report = report_of(wins(7) + slow, **changes)
    assert report.controls == [Control(arm="third", expected="equal", outcome="failed")]
    assert report.verdict == Verdict(verdict="undecided", reason="the control third failed")
    alike = [timed(RISING, "third", block, step_s=3.0 + 0.1 * block) for block in range(7)]
    report = report_of(wins(7) + alike, **changes)
    assert report.controls[0].outcome == "passed"
    assert report.verdict.verdict == "arm sooner"


def test_a_control_that_must_never_reach_fails_by_one_run():
    never = [timed(FLAT, "third", block) for block in range(7)]
    changes = {"arms": THREE, "controls": {"third": "never"}}
    assert verdict(wins(7) + never, **changes)[0] == "arm sooner"
    one_reached = [*wins(7), *never[:6], timed(RISING, "third", 6)]
    assert verdict(one_reached, **changes)[1] == "the control third failed"
    assert report_of(wins(7), **changes).controls[0].outcome == "no block yet"


def test_an_arm_that_is_too_good_is_doubted_and_one_too_slow_is_told():
    slower = {"pretrained": [5.0, 5.1, 5.2, 5.3, 5.4]}
    faster = {"pretrained": [0.1, 0.11, 0.12, 0.13, 0.14]}
    assert (
        verdict(wins(7), reference=slower)[1]
        == "pretrained converged in fewer epochs than its stored reference: is there a leak?"
    )
    assert verdict(wins(7), reference=faster)[0] == "arm sooner"


@pytest.mark.parametrize("rules", [name for name in RULES if name != "headstart"])
def test_other_rules_describe(rules):
    runs = [dataclasses.replace(run, test_evaluations=run.evaluations) for run in wins(7)]
    assert verdict(runs, rules) == ("undecided", f"judged by {rules}'s rules, which describe")
    assert verdict(runs)[0] == "arm sooner"


def test_curves_from_elsewhere_were_not_planned(tmp_path):
    rows = ["arm,run,epoch,seconds,accuracy"]
    for run in range(9):
        for look, accuracy in enumerate(RISING, 1):
            rows.append(f"a,{run},{look},{look},{accuracy}")
        for look, accuracy in enumerate(RISING, 1):
            rows.append(f"b,{run},{look},{look * 3.0},{accuracy}")
    (tmp_path / "c.csv").write_text("\n".join(rows))
    study, runs = read_curves(
        tmp_path / "c.csv", clock="theirs", baseline=None, arm=None, thresholds=[0.9]
    )
    report = summarize(study, runs)
    assert report.verdict == Verdict(
        verdict="undecided", reason="no comparison was planned before these runs"
    )
    assert report.primary_comparison.ratio == pytest.approx(3.0)


def test_a_run_that_is_there_twice_decides_nothing():
    assert verdict([*wins(7), wins(7)[0]])[1] == "a run is there twice"
    budgets = []
    for run in wins(7):
        budgets += [timed(RISING, run.arm, run.block, budget=n) for n in (1, 2)]
    assert verdict(budgets, kind="annealed")[1] != "a run is there twice"
    assert verdict([*budgets, budgets[3]], kind="annealed")[1] == "a run is there twice"


def enough(runs, **rule):
    return is_enough(report_of(runs, primary=primary(**rule)))


def test_it_is_enough_when_there_is_a_verdict_and_an_interval_as_narrow_as_asked():
    assert not enough(wins(6))
    assert enough(wins(7))
    row = report_of(wins(7)).primary_comparison
    width = row.high / row.low
    assert enough(wins(7), interval_width=width * 1.001)
    assert not enough(wins(7), interval_width=width * 0.999)
    assert not enough(pairs(7, 1.0, 1.0, baseline=FLAT), interval_width=9.0)
    assert not is_enough(report_of([], arms={"random": {}}, primary=primary(arm="random")))
