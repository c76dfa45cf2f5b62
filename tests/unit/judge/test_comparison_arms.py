"""What a comparison says of each arm, by hand: its times, its final accuracy, its rank by any
rules.
"""

import pytest

from bench.judge import statistics
from bench.judge.comparison import time_to_accuracy_s
from bench.judge.rules import RULES
from tests.unit.judge.rows import arm_of, comparison, threshold_of
from tests.unit.study_factory import FLAT, RISING, pair, timed, told
from tests.unit.results_factory import EVERY_SAMPLES, make_config

EMPTY = {"median": None, "low": None, "high": None}


def test_medians_and_extremes_of_an_arm():
    runs = [timed(RISING, "random", block, step_s=s) for block, s in enumerate((1.0, 4.0, 2.0))]
    row = threshold_of(told(runs), "random")
    assert (row["reached"], row["runs"], row["confirmed"], row["terminal"]) == (3, 3, 3, 0)
    assert row["time_to_accuracy_s"] == {"median": 6.0, "low": 3.0, "high": 12.0}
    samples = 3 * EVERY_SAMPLES
    assert row["samples_to_accuracy"] == {"median": samples, "low": samples, "high": samples}
    assert row["flops_to_accuracy"]["median"] == 3 * 37_000_000 * samples
    assert row["epochs_to_accuracy"]["median"] == runs[0].looks[2].epoch
    assert row["joules_to_accuracy"] == EMPTY


def test_mean_time_and_time_with_restarts_by_hand():
    """Crossed at 3 and 6 s, missed at 8 s; the budget that all had ends at 4 s."""
    runs = [
        timed(RISING, block=0),
        timed(RISING, block=1, step_s=2.0),
        timed(FLAT, block=2, step_s=2.0),
    ]
    row = threshold_of(told(runs), "pretrained")
    assert row["mean_s"] == {"value": pytest.approx((3 + 4 + 4) / 3), "tau": 4.0}
    assert row["restarts_s"]["value"] == (3 + 6 + 8) / 2
    assert row["restarts_s"]["low"] < 8.5 < row["restarts_s"]["high"]
    assert row["restarts_s"]["floor"] is None


def test_where_none_reached_there_is_a_floor():
    row = threshold_of(
        told([timed(FLAT, block=block, step_s=1.0 + block) for block in range(3)]), "pretrained"
    )
    p = 1 - 0.05 ** (1 / 3)
    assert row["restarts_s"] == {
        "value": None,
        "low": pytest.approx(row["restarts_s"]["low"]),
        "high": None,
        "floor": pytest.approx(4 * (1 - p) / p),
    }
    assert row["mean_s"]["value"] == 4.0


def test_a_run_that_diverged_early_does_not_shorten_the_common_budget():
    runs = [
        *pair(0, 1.0, 2.0),
        timed((0.1,), block=1, step_s=0.5, status="diverged"),
        pair(1, 1.0, 2.0)[1],
    ]
    row = threshold_of(told(runs), "pretrained")
    assert row["mean_s"] == {"value": (3 + 4) / 2, "tau": 4.0}


def test_a_run_that_its_own_rule_ended_does_not_shorten_the_common_budget():
    runs = [
        *pair(0, 1.0, 2.0),
        *pair(1, 1.0, 2.0),
        timed(FLAT[:2], block=2, step_s=0.5, stopped_step=10),
        pair(2, 1.0, 2.0)[1],
    ]
    row = threshold_of(told(runs), "pretrained")
    assert row["mean_s"] == {"value": (3 + 3 + 4) / 3, "tau": 4.0}
    assert row["restarts_s"]["value"] == (3 + 3 + 4) / 2
    assert comparison(told(runs))["blocks_sooner"] == 2


def test_of_several_budgets_the_longest_is_the_common_one_and_has_the_final_accuracy():
    def block(index, arm, correct):
        return [
            timed(
                [0.1] * n + [last],
                arm,
                index,
                budget=n,
                segments_s={"train": float(n)},
                test_correct=right,
            )
            for n, last, right in ((8, 0.95, correct), (2, 0.5, 100))
        ]

    runs = (
        block(0, "pretrained", 450)
        + block(0, "random", 400)[::-1]
        + block(1, "pretrained", 450)
        + block(1, "random", 410)
    )
    report = told(
        runs, kind="annealed", budgets=[2, 8], train={"samples": 8, "global_batch_size": 1}
    )
    assert threshold_of(report, "random")["mean_s"]["tau"] == 8.0
    assert arm_of(report, "random")["final_accuracy"] == {
        "median": pytest.approx(0.81),
        "low": 0.8,
        "high": 0.82,
    }
    (final,) = report["final_accuracy"]
    assert (final["blocks"], final["difference"]) == (2, pytest.approx(0.09))
    assert (threshold_of(report, "random")["runs"], arm_of(report, "random")["runs"]) == (2, 4)


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_run_that_broke_is_counted_apart_and_its_block_is_not_compared(status):
    runs = [
        *pair(0, 1.0, 2.0),
        *pair(1, 1.0, 9.0)[:1],
        timed((0.95, 0.95), "random", 1, status=status),
    ]
    report = told(runs)
    assert arm_of(report, "random")["runs"] == 1
    assert arm_of(report, "random")["statuses"] == {
        "completed": 1,
        "diverged": 0,
        "failed": 0,
        "interrupted": 0,
        status: 1,
    }
    assert (comparison(report)["blocks"], comparison(report)["ratio"]) == (1, pytest.approx(2.0))


def test_time_to_accuracy_is_the_readings_of_the_named_clock():
    run = timed((0.5, 0.95, 0.5, 0.95, 0.95))
    assert time_to_accuracy_s(make_config(), run, 0.9) == 4.0
    assert time_to_accuracy_s(make_config(confirm_looks=1), run, 0.9) == 2.0
    assert time_to_accuracy_s(make_config(clock="airbench"), run, 0.9) == 9.0
    assert time_to_accuracy_s(make_config(), timed(FLAT), 0.9) is None


def test_arms_are_ranked_under_every_set_of_rules():
    """Held: random at 2 s, pretrained at 4 s. Touched on test: pretrained first.

    Neither mean reaches 0.9.
    """
    runs = [
        timed((0.5, 0.95, 0.5, 0.95), "pretrained", test=(0.95, 0.5, 0.5, 0.5)),
        timed((0.5, 0.95, 0.95, 0.95), "random", test=(0.5, 0.5, 0.95, 0.85)),
    ]
    ranked = {row["rules"]: row for row in told(runs, clock="mlperf")["rankings"]}
    assert list(ranked) == list(RULES)
    assert {name: row["clock"] for name, row in ranked.items()} == {
        "headstart": "mlperf",
        "dawnbench": "train",
        "airbench": "airbench",
    }
    assert ranked["headstart"]["arms"] == [
        {"arm": "random", "median_s": 7.0},
        {"arm": "pretrained", "median_s": 9.0},
    ]
    assert ranked["dawnbench"]["arms"] == [
        {"arm": "pretrained", "median_s": 1.0},
        {"arm": "random", "median_s": 3.0},
    ]
    assert [row["median_s"] for row in ranked["airbench"]["arms"]] == [None, None]
    assert [row["same"] for row in ranked.values()] == [True, False, False]


def test_runs_without_looks_on_test_have_no_ranking_by_test():
    ranked = told(pair(0, 1.0, 2.0))["rankings"]
    assert [(row["arms"] is None, row["same"]) for row in ranked] == [
        (False, True),
        (True, None),
        (True, None),
    ]


def test_a_run_that_diverged_before_its_look_on_test_leaves_the_ranking():
    runs = [
        timed(RISING, arm, block, test=RISING[-1:])
        for block in (0, 1)
        for arm in ("pretrained", "random")
    ]
    ranked = told([*runs, timed(FLAT, "random", 2, status="diverged")])["rankings"]
    assert [row["arms"] and row["arms"][0]["median_s"] for row in ranked] == [
        3.0,
        None,
        9.0,
    ]  # one look is no curve to touch by


def test_the_report_is_judged_by_the_rules_that_are_asked_for():
    runs = [
        timed((0.5, 0.95, 0.5, 0.5), test=(0.5, 0.95, 0.5, 0.5)),
        timed(RISING, "random", test=RISING),
    ]
    report = told(runs, "dawnbench", clock="mlperf")
    assert (report["rules"], report["clock"]) == ("dawnbench", "train")
    assert comparison(report)["ratio"] == pytest.approx(1.5)
    assert threshold_of(report, "pretrained")["fell_back"] == 1
    assert comparison(told(runs))["ratio"] is None


def test_rules_that_judge_looks_which_were_not_taken_are_refused():
    runs = [timed(RISING, arm, test=RISING[-1:]) for arm in ("pretrained", "random")]
    assert told(runs, "airbench")["rules"] == "airbench"
    with pytest.raises(
        ValueError, match=r"dawnbench judges every look on test, .* evaluation.test_every_look"
    ):
        told(runs, "dawnbench")


def test_final_accuracy_is_of_test_and_its_difference_is_paired():
    right = [(450, 400), (460, 420), (480, 430)]
    runs = []
    for block, (pretrained, random) in enumerate(right):
        runs.append(timed((0.9,), "pretrained", block, test_correct=pretrained))
        runs.append(timed((0.9,), "random", block, test_correct=random))
    report = told(runs)
    assert arm_of(report, "pretrained")["final_accuracy"] == {
        "median": 0.92,
        "low": 0.9,
        "high": 0.96,
    }
    assert arm_of(report, "pretrained")["optimism_gap"]["median"] == pytest.approx(-0.02)
    (row,) = report["final_accuracy"]
    mean, low, high = statistics.mean_interval([0.1, 0.08, 0.1], 0.05)
    assert (row["blocks"], row["difference"]) == (3, pytest.approx(mean))
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))


def test_a_final_difference_of_one_block_has_no_interval():
    (row,) = told(pair(0, 1.0, 2.0))["final_accuracy"]
    assert (row["blocks"], row["difference"], row["low"], row["high"]) == (1, 0.0, None, None)
