"""The comparison against figures worked out by hand, and every way in which there is too little to compare."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results import statistics
from bench.results.comparison import summarize, time_to_accuracy_s
from bench.results.rules import RULES
from bench.results.statistics import Span
from bench.results.verdict import answer
from tests.unit.results.study import FLAT, RISING, losses, pair, primary, timed, told, wins
from tests.unit.results_factory import EVERY_SAMPLES, make_config, make_plan

EMPTY = {"median": None, "low": None, "high": None}


def comparison(report, threshold=0.9, arm="pretrained"):
    return next(
        row for row in report["comparisons"] if (row["arm"], row["threshold"]) == (arm, threshold)
    )


def arm_of(report, name):
    return next(arm for arm in report["arms"] if arm["name"] == name)


def threshold_of(report, arm, threshold=0.9):
    return next(row for row in arm_of(report, arm)["thresholds"] if row["threshold"] == threshold)


def test_the_ratio_is_the_geometric_mean_over_blocks_with_its_extremes():
    row = comparison(told(pair(0, 1.0, 2.0) + pair(1, 1.0, 8.0)))
    assert row["ratio"] == pytest.approx(4.0)
    assert (row["least"], row["greatest"]) == (pytest.approx(2.0), pytest.approx(8.0))
    assert (row["arm"], row["baseline"], row["blocks"], row["blocks_sooner"]) == (
        "pretrained",
        "random",
        2,
        2,
    )
    assert (row["blocks_later"], row["reached"], row["bound"]) == (0, [2, 2], None)


def test_the_interval_is_the_confidence_sequence_of_the_blocks_log_ratios():
    """Ratios 2 and 8 by turns: logs 3 x ln 2 and 1 x ln 2 over 8 blocks, mean ln 4, variance (ln 2)^2."""
    report = told([run for block in range(8) for run in pair(block, 1.0, (2.0, 8.0)[block % 2])])
    bound = (math.sqrt(9) / 0.05) ** (2 / 8)
    half = math.log(2) * math.sqrt((bound - 1) / (1 - bound / 9))
    row = comparison(report)
    assert (row["low"], row["high"]) == (
        pytest.approx(4 / math.exp(half)),
        pytest.approx(4 * math.exp(half)),
    )
    assert row["evidence"] == pytest.approx(statistics.sign_evidence([1.0] * 8))
    assert row["win_probability"] == 1.0


def test_four_blocks_have_no_interval_at_five_percent():
    row = comparison(told(wins(4)))
    assert row["ratio"] > 3
    assert (row["low"], row["high"]) == (None, None)


def test_blocks_that_overlap_are_not_told_apart():
    """Crossings in (2, 3] and (2.6, 3.9]: nobody knows which was sooner, though the ratio is 1.3."""
    row = comparison(told(pair(0, 1.0, 1.3)))
    assert (row["blocks"], row["blocks_sooner"], row["blocks_later"], row["win_probability"]) == (
        1,
        0,
        0,
        0.5,
    )
    assert row["ratio"] == pytest.approx(1.3)


def test_where_a_run_missed_there_is_a_bound_and_no_ratio():
    paces = (4.0, 9.0, 4.0, 4.0, 4.0, 4.0, 4.0)  # 0 and 1 miss, at 16 and at 36 s
    runs = [
        run
        for block, pace in enumerate(paces)
        for run in pair(block, 1.0, pace, baseline=RISING if block > 1 else FLAT)
    ]
    row = comparison(told(runs))
    assert (row["ratio"], row["low"], row["high"], row["reached"]) == (None, None, None, [7, 5])
    own, other = (
        [Span(after=2, by=3)] * 7,
        [Span(after=16, by=math.inf)] * 2 + [Span(after=8, by=12)] * 5,
    )
    arm, baseline = (statistics.ert_interval(spans, 16.0, 0.025) for spans in (own, other))
    assert row["bound"] == {
        "low": pytest.approx(baseline[0] / arm[1]),
        "high": pytest.approx(baseline[1] / arm[0]),
    }
    assert row["blocks_sooner"] == 7
    assert comparison(told(runs), 0.8)["bound"] is not None


def test_a_bound_is_open_where_an_arm_never_reached():
    runs = [run for block in range(20) for run in pair(block, 1.0, 4.0, baseline=FLAT)]
    row = comparison(told(runs))
    none, every = (
        (0.05 / 8) ** (1 / 20),
        1 - (0.05 / 8) ** (1 / 20),
    )  # Clopper-Pearson of 20 in 20, and of 0 in 20
    low, high = (1 - every) / every * 16, 3 + (1 - none) / none * 16
    assert row["bound"] == {"low": pytest.approx(low / high), "high": None}
    assert row["bound"]["low"] > 1
    row = comparison(
        told([run for block in range(7) for run in pair(block, 1.0, 4.0, arm=FLAT, baseline=FLAT)])
    )
    assert (row["bound"], row["win_probability"]) == ({"low": 0.0, "high": None}, 0.5)


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
    assert row["restarts_s"] == {"value": None, "low": pytest.approx(row["restarts_s"]["low"]), "high": None,
                                 "floor": pytest.approx(4 * (1 - p) / p)}  # fmt: skip
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


def change(run, key, **values):
    run.start[key] = {**run.start[key], **values}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda run: change(run, "dataset", sha256="e" * 64),
            f"2 different data sets cannot be compared: {'d' * 64}, {'e' * 64}",
        ),
        (
            lambda run: run.start.update(method_version="0.9"),
            "2 different versions of the method .*: 0.9, 1.1",
        ),
        (lambda run: run.start.update(world_size=2), "2 different numbers of processes .*: 1, 2"),
        (
            lambda run: change(run, "precision", name="bf16"),
            "2 different precisions .*: bf16, fp32",
        ),
        (
            lambda run: change(run, "environment", gpu="NVIDIA H100"),
            "2 different kinds of hardware .*: NVIDIA H100, None None",
        ),
        (
            lambda run: change(run, "environment", cpu="EPYC"),
            "2 different kinds of hardware .*: EPYC None",
        ),
        (
            lambda run: change(run, "environment", threads_per_rank=4),
            "2 different kinds of hardware .*: None 4, None None",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(spoil, said):
    runs = pair(0, 1.0, 2.0)
    spoil(runs[1])
    with pytest.raises(ValueError, match=f"^runs of {said}"):
        told(runs)


def test_p_values_of_what_is_not_primary_are_corrected_by_holm():
    arms = {"pretrained": {}, "random": {}, "small": {}}
    runs = wins(7) + [
        timed(RISING, "small", block, step_s=2.0 + 0.01 * block) for block in range(7)
    ]
    report = told(runs, arms=arms)
    rows = report["comparisons"]
    others = [row for row in rows if (row["arm"], row["threshold"]) != ("pretrained", 0.9)]
    assert [row["p_sign_flip"] for row in rows] == [2 / 2**7] * 4
    assert comparison(report)["p_holm"] is None
    assert [row["p_holm"] for row in others] == [pytest.approx(3 * 2 / 2**7)] * 3


def test_p_values_where_a_run_missed_are_of_the_blocks_scores():
    runs = [
        run
        for block in range(7)
        for run in pair(block, 1.0, 4.0, baseline=RISING if block else FLAT)
    ]
    assert comparison(told(runs))["p_sign_flip"] == 2 / 2**7


def leads(*seconds):
    """Thresholds crossed by the pretrained arm at these seconds, by the other always at 5.5 s, in a look of its own."""
    grid = [n / 10 for n in range(1, len(seconds) + 1)]

    def curve(times):
        return [
            max([0.0, *(g for g, t in zip(grid, times, strict=True) if look >= t)])
            for look in range(1, 11)
        ]

    runs = [
        timed(curve(seconds), "pretrained"),
        timed(curve([5.5] * len(seconds)), "random", step_s=0.99),
    ]
    report = told(runs, thresholds=grid, primary=primary(threshold=grid[0]))
    (row,) = report["crossover"]
    return None if row["accuracy"] is None else grid.index(row["accuracy"])


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
    assert leads(*seconds) == place


def test_a_crossover_that_does_not_last_is_none():
    runs = [timed((0.5, 0.95, 0.95, 0.95)), timed((0.9, 0.9, 0.9, 0.9), "random", step_s=1.3)]
    assert told(runs)["crossover"] == [
        {"arm": "pretrained", "baseline": "random", "accuracy": None}
    ]


def test_arms_are_ranked_under_every_set_of_rules():
    """Held: random at 2 s, pretrained at 4 s. Touched on test: pretrained first. Neither mean reaches 0.9."""
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


def test_final_accuracy_is_of_test_and_its_difference_is_paired():
    right = [(450, 400), (460, 420), (480, 430)]
    runs = [timed((0.9,), arm, block, test_correct=correct)
            for block, both in enumerate(right) for arm, correct in zip(("pretrained", "random"), both, strict=True)]  # fmt: skip
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


def test_a_report_of_nothing():
    report = told([])
    assert (report["dataset"], report["environment"], report["runs"]) == (None, None, [])
    assert [row["arms"] for row in report["rankings"]] == [None, None, None]
    assert arm_of(report, "random")["network"] is None
    assert report["verdict"]["verdict"] == "undecided"


@pytest.mark.parametrize(
    "runs",
    [
        pair(0, 1.0, 2.0)[:1],
        pair(0, 1.0, 2.0)[1:],
        pair(0, 1.0, 1.0),
        [timed((0.1,), status="failed")],
        [timed((), status="interrupted")],
        [
            timed((), status="diverged", segments_s={"train": 0.0}),
            timed((), "random", status="diverged", segments_s={}),
        ],
        [
            timed((0.1,), arm, block, status="diverged")
            for arm in ("pretrained", "random")
            for block in range(9)
        ],
        [run for block in range(9) for run in pair(block, 1.0, 1.0, arm=FLAT, baseline=FLAT)],
        [run for block in range(9) for run in pair(block, 1.0, 1.0)],
    ],
    ids=[
        "arm-only",
        "baseline-only",
        "tie",
        "failed",
        "started",
        "diverged-at-once",
        "all-diverged",
        "all-censored",
        "all-tied",
    ],
)
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("kind", ["anytime", "annealed"])
def test_degenerate_runs_give_a_value_or_undecided_and_never_a_crash(runs, rules, kind):
    report = told(
        [dataclasses.replace(run, test_looks=run.looks) for run in runs], rules, kind=kind
    )
    json.dumps(report, allow_nan=False)
    assert report["verdict"]["verdict"] in ("undecided", "never reached", "equivalent")
    assert answer(report)


def test_one_arm_alone_is_compared_with_nothing():
    config = make_config(arms={"random": {}}, primary=primary(arm="random"))
    report = summarize(make_plan(config), [timed(RISING, "random")])
    assert (report["comparisons"], report["final_accuracy"], report["crossover"]) == ([], [], [])
    assert report["verdict"] == {"verdict": "undecided", "reason": "there is one arm only"}


CURVES = st.lists(st.sampled_from([0.1, 0.8, 0.9, 0.95]), min_size=1, max_size=5)
RUN = st.tuples(
    CURVES,
    st.floats(0.01, 100),
    st.sampled_from(["completed", "completed", "diverged", "failed", "interrupted"]),
)


@given(
    st.lists(st.tuples(RUN, RUN), max_size=6),
    st.sampled_from(sorted(RULES)),
    st.sampled_from(["anytime", "annealed"]),
)
def test_whatever_the_runs_there_is_a_report_that_json_can_say(blocks, rules, kind):
    runs = [
        timed(curve, arm, block, step_s=step_s, status=status, test=curve)
        for block, both in enumerate(blocks)
        for arm, (curve, step_s, status) in zip(("pretrained", "random"), both, strict=True)
    ]
    report = told(runs, rules, kind=kind)
    json.dumps(report, allow_nan=False)
    assert report["verdict"]["verdict"] in (
        "arm sooner",
        "baseline sooner",
        "equivalent",
        "never reached",
        "undecided",
    )
    assert answer(report)
    for row in report["comparisons"]:
        assert row["blocks_sooner"] + row["blocks_later"] <= row["blocks"] <= len(blocks)
        assert (row["ratio"] is None) or (
            row["least"] <= row["ratio"] * (1 + 1e-9)
            and row["ratio"] <= row["greatest"] * (1 + 1e-9)
        )


def test_losses_mirror_wins():
    won, lost = (comparison(told(runs)) for runs in (wins(7), losses(7)))
    assert lost["ratio"] == pytest.approx(1 / won["ratio"])
    assert (lost["low"], lost["high"]) == (
        pytest.approx(1 / won["high"]),
        pytest.approx(1 / won["low"]),
    )
    assert (lost["blocks_later"], lost["evidence"]) == (
        won["blocks_sooner"],
        pytest.approx(won["evidence"]),
    )


def test_the_correlation_within_blocks_is_of_log_times():
    """Blocks in which both arms take 1, 2 and 4 times as long go together wholly; constant or few ones tell nothing."""
    together = told(
        [run for block, s in enumerate((1.0, 2.0, 4.0)) for run in pair(block, s, 3 * s)]
    )
    apart = told([run for block, s in enumerate((1.0, 2.0, 4.0)) for run in pair(block, s, 3 / s)])
    assert [comparison(report)["correlation"] for report in (together, apart)] == [
        pytest.approx(1),
        pytest.approx(-1),
    ]
    constant = told([run for block in range(3) for run in pair(block, 1.0, 1.0 + block)])
    assert (
        comparison(constant)["correlation"]
        is comparison(told(pair(0, 1.0, 2.0)))["correlation"]
        is None
    )


def test_rules_that_judge_looks_which_were_not_taken_are_refused():
    runs = [timed(RISING, arm, test=RISING[-1:]) for arm in ("pretrained", "random")]
    assert told(runs, "airbench")["rules"] == "airbench"
    with pytest.raises(
        ValueError, match=r"dawnbench judges every look on test, .* evaluation.test_every_look"
    ):
        told(runs, "dawnbench")
