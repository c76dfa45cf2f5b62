"""Reports where there is too little to compare: a value or undecided, and never a crash."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.records import Report, Verdict
from bench.judge.rules import RULES
from bench.ledger.json_records import parse, to_json
from tests.unit.study_factory import FLAT, RISING, pair, pairs, primary, report_of, timed


def diverged(runs):
    return [dataclasses.replace(run, status="diverged") for run in runs]


def test_a_report_of_nothing():
    report = report_of([])
    assert (report.dataset, report.environment, report.runs) == (None, None, [])
    assert [ranking.arms for ranking in report.rankings] == [None, None, None]
    assert report.arm("random").network is None
    assert (report.break_even, report.tuning_cost, report.class_order) == ([], [], [])
    assert report.verdict.verdict == "undecided"


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
        diverged(pairs(9, 1.0, 1.0, arm=FLAT[:1], baseline=FLAT[:1])),
        pairs(9, 1.0, 1.0, arm=FLAT, baseline=FLAT),
        pairs(9, 1.0, 1.0),
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
    on_test = [dataclasses.replace(run, test_evaluations=run.evaluations) for run in runs]
    report = report_of(on_test, rules, kind=kind)
    assert json.dumps(to_json(report), allow_nan=False)
    assert report.verdict.verdict in ("undecided", "never reached", "equivalent")


def test_one_arm_alone_is_compared_with_nothing():
    report = report_of(
        [timed(RISING, "random")], arms={"random": {}}, primary=primary(arm="random")
    )
    assert (report.comparisons, report.final_accuracy, report.crossover) == ([], [], [])
    assert report.verdict == Verdict(verdict="undecided", reason="there is one arm only")


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
    runs = []
    for block, both in enumerate(blocks):
        for arm, (curve, step_s, status) in zip(("pretrained", "random"), both, strict=True):
            runs.append(timed(curve, arm, block, step_s=step_s, status=status, test=curve))
    report = report_of(runs, rules, kind=kind)
    tree = to_json(report)
    stored = parse(Report, json.dumps(tree, allow_nan=False))
    assert to_json(stored) == tree
    assert report.verdict.verdict in (
        "arm sooner",
        "baseline sooner",
        "equivalent",
        "never reached",
        "undecided",
    )
    for row in report.comparisons:
        assert row.blocks_sooner + row.blocks_later <= row.blocks <= len(blocks)


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=6),
    st.sampled_from(sorted(RULES)),
)
def test_a_ratio_lies_between_the_least_and_the_greatest(blocks, rules):
    runs = []
    for block, (arm_s, baseline_s) in enumerate(blocks):
        for arm, step_s in (("pretrained", arm_s), ("random", baseline_s)):
            runs.append(timed(RISING, arm, block, step_s=step_s, test=RISING))
    ratios = [row for row in report_of(runs, rules).comparisons if row.ratio is not None]
    assert ratios != []
    for row in ratios:
        assert row.least <= row.ratio * (1 + 1e-9)
        assert row.ratio <= row.greatest * (1 + 1e-9)
