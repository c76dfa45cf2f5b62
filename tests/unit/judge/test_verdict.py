"""The verdict: what decides, and all that leaves it undecided, whatever the runs show.

Then the answer in one sentence.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.comparison import summarize
from bench.judge.curves import read_curves
from bench.judge.rules import RULES
from bench.ledger.plan_record import plan_sha256
from bench.judge.verdict import is_enough
from bench.report.words import answer
from bench.report.words import accuracy_label
from tests.unit.study_factory import FLAT, RISING, losses, pair, primary, timed, told, wins
from tests.unit.results_factory import make_config, make_plan

THREE = {"pretrained": {}, "random": {}, "third": {}}


def verdict(runs, plan=None, rules="headstart", **changes):
    report = summarize(plan or make_plan(make_config(**changes)), runs, rules)
    return report["verdict"]["verdict"], report["verdict"]["reason"]


def test_seven_straight_wins_decide_and_six_do_not():
    assert verdict(wins(7)) == ("arm sooner", "7 sooner, 0 later of 7 blocks, evidence 26.8 of 20")
    assert verdict(wins(6)) == ("undecided", "6 sooner, 0 later of 6 blocks, evidence 14.4 of 20")


def test_seven_straight_losses_decide_for_the_baseline():
    assert verdict(losses(7)) == (
        "baseline sooner",
        "0 sooner, 7 later of 7 blocks, evidence 26.8 of 20",
    )
    assert verdict(losses(6))[0] == "undecided"


def test_a_loss_among_wins_takes_more_blocks():
    assert verdict(losses(1) + wins(10, first=1))[0] == "undecided"
    assert verdict(losses(1) + wins(11, first=1))[0] == "arm sooner"


def test_a_stricter_alpha_asks_for_more():
    assert verdict(wins(10), primary=primary(alpha=0.005))[0] == "undecided"
    assert verdict(wins(11), primary=primary(alpha=0.005))[0] == "arm sooner"


def test_blocks_in_which_one_arm_never_got_there_decide():
    assert (
        verdict([run for block in range(7) for run in pair(block, 1.0, 1.0, baseline=FLAT)])[0]
        == "arm sooner"
    )
    assert (
        verdict([run for block in range(7) for run in pair(block, 1.0, 1.0, arm=FLAT)])[0]
        == "baseline sooner"
    )


def test_a_diverged_baseline_is_a_win_and_a_failed_one_is_no_block():
    def runs(status):
        return [
            run
            for block in range(7)
            for run in (pair(block, 1.0, 9.0)[0], timed(FLAT, "random", block, status=status))
        ]

    assert verdict(runs("diverged"))[0] == "arm sooner"
    assert verdict(runs("failed")) == ("undecided", "no block is complete")


def test_an_interval_within_the_smallest_ratio_is_equivalent():
    runs = [run for block in range(9) for run in pair(block, 1.0, (1.0, 1.01)[block % 2])]
    assert verdict(runs) == ("equivalent", "the interval lies within 0.95x to 1.05x")
    assert verdict(runs, primary=primary(smallest_ratio=1.001))[0] == "undecided"


def test_never_reached_by_neither_in_as_many_blocks_as_could_have_decided():
    def runs(blocks):
        return [
            run for block in range(blocks) for run in pair(block, 1.0, 2.0, arm=FLAT, baseline=FLAT)
        ]

    assert verdict(runs(7)) == ("never reached", "by neither arm in 7 blocks")
    assert verdict(runs(6))[0] == "undecided"
    assert verdict([*runs(6), *pair(6, 1.0, 1.0, baseline=FLAT)])[0] == "undecided"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([RISING, FLAT]), st.floats(0.1, 10), st.sampled_from([RISING, FLAT])
        ),
        max_size=6,
    )
)
def test_too_few_blocks_never_tell_who_was_sooner(blocks):
    runs = [
        run
        for n, (arm, pace, baseline) in enumerate(blocks)
        for run in pair(n, pace, 1.0, arm, baseline)
    ]
    assert verdict(runs)[0] in ("undecided", "equivalent")


BEFORE = "14 runs were made before the plan was changed to this one"


def amended_plan(*keys):
    """A plan beside the one that the factory's runs were made under, from which it differs in these
    keys.
    """
    old, now = ({**primary(), **dict.fromkeys(keys, value)} for value in (0.8, 0.9))
    return make_plan(
        primary=now, sha256=plan_sha256(now), amended=[{"sha256": "p" * 64, "primary": old}]
    )


@pytest.mark.parametrize(
    "key",
    ["threshold", "alpha", "arm", "baseline", "smallest_ratio", "clock", "kind", "confirm_looks",
     "controls", "reference", "budget_samples", "method_version", "first_block"],
)  # fmt: skip
def test_runs_from_before_a_change_of_plan_decide_nothing(key):
    assert verdict(wins(7), amended_plan(key)) == ("undecided", BEFORE)
    assert verdict(wins(7), amended_plan("blocks", key)) == ("undecided", BEFORE)


@pytest.mark.parametrize("key", ["max_blocks", "blocks", "spread", "interval_width"])
def test_more_blocks_than_first_planned_do_no_harm(key):
    assert verdict(wins(7), amended_plan(key))[0] == "arm sooner"


def test_runs_of_a_plan_that_nobody_wrote_down_decide_nothing():
    assert verdict(wins(7), make_plan(sha256="q" * 64))[1] == BEFORE


def test_a_failed_control_blocks_the_verdict():
    equal = [timed(RISING, "third", block, step_s=20.0) for block in range(7)]
    changes = {"arms": THREE, "controls": {"third": "equal"}}
    report = told(wins(7) + equal, **changes)
    assert report["controls"] == [{"arm": "third", "expected": "equal", "told": "failed"}]
    assert verdict(wins(7) + equal, **changes) == ("undecided", "the control third failed")
    alike = [timed(RISING, "third", block, step_s=3.0 + 0.1 * block) for block in range(7)]
    report = told(wins(7) + alike, **changes)
    assert (report["controls"][0]["told"], report["verdict"]["verdict"]) == ("passed", "arm sooner")


def test_a_control_that_must_never_reach_fails_by_one_run():
    never = [timed(FLAT, "third", block) for block in range(7)]
    changes = {"arms": THREE, "controls": {"third": "never"}}
    assert verdict(wins(7) + never, **changes)[0] == "arm sooner"
    assert (
        verdict([*wins(7), *never[:6], timed(RISING, "third", 6)], **changes)[1]
        == "the control third failed"
    )
    assert told(wins(7), **changes)["controls"][0]["told"] == "no block yet"


def test_an_arm_that_is_too_good_is_doubted_and_one_too_slow_is_told():
    good = {"pretrained": [5.0, 5.1, 5.2, 5.3, 5.4]}
    assert (
        verdict(wins(7), reference=good)[1]
        == "pretrained converged in fewer epochs than its stored reference: is there a leak?"
    )
    assert (
        verdict(wins(7), reference={"pretrained": [0.1, 0.11, 0.12, 0.13, 0.14]})[0] == "arm sooner"
    )


@pytest.mark.parametrize("rules", [name for name in RULES if name != "headstart"])
def test_other_rules_describe(rules):
    runs = [
        timed(
            run.looks and RISING,
            run.arm,
            run.block,
            step_s=run.looks[0].segments_s["train"],
            test=RISING,
        )
        for run in wins(7)
    ]
    assert verdict(runs, rules=rules) == ("undecided", f"judged by {rules}'s rules, which describe")
    assert verdict(runs)[0] == "arm sooner"


def test_curves_from_elsewhere_were_not_planned(tmp_path):
    rows = [
        f"{arm},{run},{look},{look * pace},{RISING[look - 1]}"
        for run in range(9)
        for arm, pace in (("a", 1.0), ("b", 3.0))
        for look in (1, 2, 3, 4)
    ]
    (tmp_path / "c.csv").write_text("arm,run,epoch,seconds,accuracy\n" + "\n".join(rows))
    plan, runs = read_curves(
        tmp_path / "c.csv", clock="theirs", baseline=None, arm=None, thresholds=[0.9]
    )
    report = summarize(plan, runs)
    assert report["verdict"] == {
        "verdict": "undecided",
        "reason": "no comparison was planned before these runs",
    }
    assert answer(report).startswith(
        "a 3.00x sooner to 0.90 on curves of c.csv than b (theirs clock; 95 % interval "
    )


def test_a_run_that_is_there_twice_decides_nothing():
    assert verdict([*wins(7), wins(7)[0]])[1] == "a run is there twice"
    budgets = [timed(RISING, run.arm, run.block, budget=n) for run in wins(7) for n in (1, 2)]
    assert verdict(budgets, kind="annealed")[1] != "a run is there twice"
    assert verdict([*budgets, budgets[3]], kind="annealed")[1] == "a run is there twice"


def enough(runs, **rule):
    return is_enough(told(runs, primary=primary(**rule)))


def test_it_is_enough_when_there_is_a_verdict_and_an_interval_as_narrow_as_asked():
    assert (enough(wins(6)), enough(wins(7))) == (False, True)
    row = told(wins(7))["comparisons"][1]
    width = row["high"] / row["low"]
    assert enough(wins(7), interval_width=width * 1.001)
    assert not enough(wins(7), interval_width=width * 0.999)
    assert not enough(
        [run for block in range(7) for run in pair(block, 1.0, 1.0, baseline=FLAT)],
        interval_width=9.0,
    )
    assert not is_enough(told([], arms={"random": {}}, primary=primary(arm="random")))


def test_the_answer_where_the_arm_is_sooner():
    assert answer(told(wins(7))) == (
        "pretrained 3.29x sooner to 0.90 on digits than random (train clock; "
        "95 % interval 2.94x to 3.70x, sooner in 7 of 7 blocks; verdict: pretrained sooner)"
    )


def test_the_answer_where_the_arm_is_later_turns_ratio_and_interval():
    assert answer(told(losses(7))) == (
        "pretrained 3.29x later to 0.90 on digits than random (train clock; "
        "95 % interval 2.94x to 3.70x, sooner in 0 of 7 blocks; verdict: random sooner)"
    )


def test_the_answer_of_few_blocks_has_no_interval():
    assert answer(told(pair(0, 1.0, 3.0))) == (
        "pretrained 3.00x sooner to 0.90 on digits than random (train clock; "
        "sooner in 1 of 1 block; verdict: undecided)"
    )


def test_the_answer_names_the_alpha_of_its_interval():
    assert "(train clock; 99.5 % interval " in answer(told(wins(12), primary=primary(alpha=0.005)))


def test_the_answer_where_not_all_reached():
    runs = [*pair(0, 1.0, 2.0), *pair(1, 1.0, 2.0, baseline=FLAT)]
    assert answer(told(runs)) == (
        "0.90 on digits reached by pretrained in 2 of 2 runs (median 3.0 s), "
        "random in 1 of 2 runs (median 6.0 s); "
        "pretrained sooner in 2 of 2 blocks; verdict: undecided"
    )


def test_the_answer_where_one_arm_never_reached_gives_a_bound():
    runs = [run for block in range(20) for run in pair(block, 1.0, 4.0, baseline=FLAT)]
    least = told(runs)["comparisons"][1]["bound"]["low"]
    assert (
        f"; pretrained at least {least:.2f}x sooner with restarts, sooner in 20 of 20 blocks; "
        in answer(told(runs))
    )
    runs = [run for block in range(20) for run in pair(block, 4.0, 1.0, arm=FLAT)]
    least = 1 / told(runs)["comparisons"][1]["bound"]["high"]
    assert (
        f"; pretrained at least {least:.2f}x later with restarts, sooner in 0 of 20 blocks; "
        in answer(told(runs))
    )


def test_the_answer_before_a_block_is_complete():
    assert answer(told([])) == "pretrained against random: no block is complete yet"


def test_the_answer_of_a_single_arm_compares_nothing():
    report = told(
        [timed(RISING, "random", step_s=2.0)], arms={"random": {}}, primary=primary(arm="random")
    )
    assert (
        answer(report)
        == "0.90 on digits reached by random in 1 of 1 runs (median 6.0 s); nothing to compare with"
    )


@pytest.mark.parametrize(
    ("arm", "baseline"),
    [("arm", "baseline"), ("baseline", "arm"), ("fast", "my arm"), ("fast", "an arm sooner")],
)
def test_the_answer_names_the_winner_whatever_the_arms_are_called(arm, baseline):
    names = {"pretrained": arm, "random": baseline}
    for runs, winner in ((wins(7), arm), (losses(7), baseline)):
        runs = [
            timed(RISING, names[run.arm], run.block, step_s=run.looks[0].segments_s["train"])
            for run in runs
        ]
        report = told(
            runs,
            arms={name: {} for name in names.values()},
            baseline=baseline,
            primary=primary(arm=arm),
        )
        assert answer(report).endswith(f"verdict: {winner} sooner)")


@pytest.mark.parametrize(
    ("threshold", "label"),
    [(0.9, "0.90"), (0.85, "0.85"), (0.925, "0.925"), (0.1 + 0.2, repr(0.1 + 0.2))],
)
def test_a_threshold_is_never_shown_as_another(threshold, label):
    assert accuracy_label(threshold) == label
    assert float(label) == threshold
