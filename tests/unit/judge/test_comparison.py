"""The comparison against figures worked out by hand, and where there is too little to compare."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge import statistics
from bench.judge.comparison import summarize
from bench.judge.rules import RULES
from bench.judge.statistics import Span
from bench.report.words import answer
from tests.unit.judge.rows import arm_of, comparison
from tests.unit.study_factory import FLAT, RISING, losses, pair, primary, timed, told, wins
from tests.unit.results_factory import make_config, make_plan


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
    """Ratios 2 and 8 by turns: logs 3 x ln 2 and 1 x ln 2 over 8 blocks, mean ln 4, variance (ln
    2)^2.
    """
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
    """Crossings in (2, 3] and (2.6, 3.9]: either may be the sooner, though the ratio is 1.3."""
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
    """Thresholds crossed by the pretrained arm at these seconds, by the other always at 5.5 s, in a
    look of its own.
    """
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
    """Blocks in which both arms take 1, 2 and 4 times as long go together wholly; constant or few
    ones tell nothing.
    """
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
