"""Judged runs: in which time a block reached a threshold, under every set of rules."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.clocks import CLOCKS, read_clock
from bench.judge.outcome import judge
from bench.judge.rules import RULES
from tests.unit.results_factory import EVERY_SAMPLES, make_study, with_start
from tests.unit.study_factory import timed


def judged(runs, threshold=0.9, rules="headstart", **changes):
    return judge(make_study(**changes), runs, threshold, RULES[rules])


def one(runs, threshold=0.9, rules="headstart", **changes):
    (row,) = judged(runs, threshold, rules, **changes)
    return row


def ends(row):
    return row.time.after, row.time.by


def annealed(*budgets, step_s=1.0, block=0):
    """Runs of one block from (looks, last accuracy, status); a look takes a second."""
    return [
        timed(
            [0.1] * (n - 1) + [last],
            block=block,
            step_s=step_s,
            budget=n * EVERY_SAMPLES,
            status=status,
        )
        for n, last, status in budgets
    ]


def test_a_crossing_lies_between_the_look_before_and_its_own():
    row = one([timed((0.5, 0.85, 0.95, 0.95), step_s=2.5)])
    assert (ends(row), row.kind, row.evaluation.step, row.block) == ((5.0, 7.5), "confirmed", 15, 0)
    assert ends(one([timed((0.5, 0.85, 0.95, 0.95), step_s=2.5)], 0.8)) == (2.5, 5.0)


def test_a_crossing_at_the_first_look_begins_where_the_run_did():
    start_s = {"train": 0.0, "init": 5.0, "compile": 20.0}
    run = with_start(timed((0.95, 0.95)), segments_s=start_s)
    assert ends(one([run])) == (0.0, 1.0)
    assert ends(one([run], clock="airbench")) == (5.0, 6.0)


def test_of_a_resumed_run_only_its_looks_tell_when_it_crossed():
    run = dataclasses.replace(timed((0.95, 0.95, 0.95)), resumed=True)
    for checkpoint_s in (1.0, 2.0):
        resumed = with_start(run, segments_s={"train": checkpoint_s})
        assert ends(one([resumed])) == (0.0, 1.0)


def test_where_the_second_process_paid_less_nothing_is_known_of_the_time_before():
    run = timed((0.5, 0.95, 0.95), resumed=True)
    paid = [
        {"train": 1.0, "compile": 60.0},
        {"train": 2.0, "compile": 5.0},
        {"train": 3.0, "compile": 5.0},
    ]
    evaluations = [
        dataclasses.replace(evaluation, segments_s=segments_s)
        for evaluation, segments_s in zip(run.evaluations, paid, strict=True)
    ]
    run = dataclasses.replace(run, evaluations=evaluations)
    assert ends(one([run], clock="algoperf")) == (0.0, 7.0)


def test_what_is_not_reached_is_censored_at_the_budget():
    row = one([timed((0.5, 0.95, 0.5), segments_s={"train": 3.25, "evaluate": 9.0})])
    assert (ends(row), row.evaluation, row.kind) == ((3.25, math.inf), None, None)


def test_a_diverged_run_never_reaches_though_its_curve_did():
    row = one([timed((0.95, 0.95, 0.95), status="diverged")])
    assert (ends(row), row.touched) == ((math.inf, math.inf), True)
    run = timed((0.95, 0.95), status="diverged", test=(0.95, 0.95))
    for rules in RULES:
        assert not one([run], rules=rules).time.reached


def test_a_run_that_its_own_rule_ended_never_reached_what_it_missed():
    run = timed((0.5, 0.85, 0.85), stopped_step=15)
    assert ends(one([run])) == (math.inf, math.inf)
    assert ends(one([dataclasses.replace(run, stopped_step=None)])) == (
        3.0,
        math.inf,
    )  # its budget cut it off
    assert (ends(one([run], 0.8)), one([run], 0.8).kind) == ((1.0, 2.0), "confirmed")
    late = timed((0.5, 0.7, 0.95), stopped_step=15)
    assert (ends(one([late])), one([late]).kind) == ((2.0, 3.0), "terminal")
    assert ends(one([run], kind="annealed")) == (math.inf, math.inf)


@pytest.mark.parametrize(
    ("curve", "flags"),
    [
        ((0.5, 0.95, 0.95), (True, False, False)),
        ((0.5, 0.95, 0.5, 0.95), (True, True, False)),
        ((0.5, 0.95, 0.5), (True, True, True)),
        ((0.5, 0.6, 0.7), (False, False, False)),
        ((), (False, False, False)),
    ],
    ids=["held", "fell-back", "ended-below", "never", "no-looks"],
)
@pytest.mark.parametrize("rules", ["headstart", "dawnbench"])
def test_touching_falling_back_and_ending_below_are_told_apart(curve, flags, rules):
    row = one([timed(curve, test=curve)], rules=rules)
    assert (row.touched, row.fell_back, row.ended_below) == flags


def test_every_block_has_a_row_in_order():
    rows = judged(
        [timed((0.95, 0.95), block=2), timed((0.1, 0.1), block=0), timed((0.1, 0.95), block=1)]
    )
    assert [(row.block, row.kind) for row in rows] == [(0, None), (1, "terminal"), (2, "confirmed")]
    assert judged([]) == []


def test_an_annealed_run_counts_at_its_end_alone():
    row = one(annealed((4, 0.95, "completed")), kind="annealed")
    assert (ends(row), row.kind) == ((0.0, 4.0), "end")
    fell = one([timed((0.95, 0.95, 0.5))], kind="annealed")
    assert (ends(fell), fell.ended_below) == ((3.0, math.inf), True)


def test_an_annealed_run_that_was_stopped_has_no_end():
    assert not one([timed((0.5, 0.95), status="interrupted")], kind="annealed").time.reached


@pytest.mark.parametrize(
    ("budgets", "span"),
    [
        ([(2, 0.5), (4, 0.95), (8, 0.97)], (2.0, 4.0)),
        ([(2, 0.5), (4, 0.6), (8, 0.97)], (4.0, 8.0)),
        ([(2, 0.95), (4, 0.97), (8, 0.98)], (0.0, 2.0)),
        ([(2, 0.5), (4, 0.95), (8, 0.5)], (2.0, 4.0)),
        ([(2, 0.5), (4, 0.6), (8, 0.7)], (8.0, math.inf)),
    ],
    ids=["middle", "longest", "shortest", "longer-one-failed", "none"],
)
def test_of_several_budgets_the_soonest_that_reached_counts(budgets, span):
    runs = annealed(*[(n, last, "completed") for n, last in budgets])
    for order in itertools.permutations(runs):
        assert ends(one(list(order), kind="annealed")) == span


def test_budgets_that_diverged():
    done = "completed"
    lost = "diverged"
    assert ends(one(annealed((2, 0.5, done), (4, 0.5, lost)), kind="annealed")) == (
        math.inf,
        math.inf,
    )
    assert ends(one(annealed((2, 0.5, lost), (4, 0.5, done)), kind="annealed")) == (4.0, math.inf)
    assert ends(one(annealed((2, 0.5, lost), (4, 0.95, done)), kind="annealed")) == (0.0, 4.0)
    long_lost_early = [
        *annealed((4, 0.95, done)),
        timed((0.1,), budget=9 * EVERY_SAMPLES, status=lost),
    ]
    assert ends(one(long_lost_early, kind="annealed")) == (0.0, 4.0)


def test_dawnbench_takes_the_first_touch_on_test():
    run = timed((0.5, 0.5, 0.5, 0.5), test=(0.5, 0.95, 0.5, 0.95), step_s=2.0)
    row = one([run], rules="dawnbench", clock="mlperf")
    assert (ends(row), row.kind, row.evaluation.accuracy) == ((2.0, 4.0), "touch", 0.95)
    assert not one([run]).time.reached


def test_airbench_takes_the_mean_of_all_last_looks_on_its_own_clock():
    runs = [
        timed((0.5, 0.5), block=block, test=(0.5, last))
        for block, last in enumerate((0.93, 0.94, 0.95))
    ]
    rows = judged(runs, 0.94, "airbench")
    assert [(ends(row), row.kind) for row in rows] == [((0.0, 7.0), "end")] * 3
    assert not any(row.time.reached for row in judged(runs, 0.9401, "airbench"))


def test_airbench_has_no_mean_where_a_run_has_no_end():
    runs = [
        timed((0.5,), block=0, test=(0.99,)),
        timed((0.5,), block=1, test=(0.99,), status="diverged"),
    ]
    assert [row.time.reached for row in judged(runs, rules="airbench")] == [False, False]
    assert [
        row.time.reached for row in judged([runs[0], timed((0.99,), block=1)], rules="airbench")
    ] == [False, False]


def test_airbench_takes_each_budgets_mean_by_itself():
    runs = []
    for block in (0, 1):
        for n, last in ((2, 0.85), (4, 0.93 + block / 50)):
            curve = [0.1] * n
            runs.append(timed(curve, block=block, budget=n * EVERY_SAMPLES, test=(last,)))
    rows = judged(runs, 0.94, "airbench", kind="annealed")
    assert [ends(row) for row in rows] == [(7.0, 9.0)] * 2


@pytest.mark.parametrize("accuracy", [0.94, 0.1, 0.7, 0.29])
@pytest.mark.parametrize("has_counts", [True, False])
def test_a_mean_of_equal_accuracies_is_that_accuracy(accuracy, has_counts):
    runs = []
    for block in range(7):
        run = timed((0.5,), block=block, test=(accuracy,))
        if not has_counts:  # as of a curve from elsewhere
            (last,) = run.test_evaluations
            last = dataclasses.replace(last, correct=accuracy, total=1)
            run = dataclasses.replace(run, test_evaluations=[last])
        runs.append(run)
    assert [row.time.reached for row in judged(runs, accuracy, "airbench")] == [True] * 7


@given(
    st.lists(st.sampled_from([0.1, 0.7, 0.9, 0.95]), min_size=1, max_size=8),
    st.floats(1e-3, 1e3),
    st.sampled_from(["completed", "diverged"]),
    st.sampled_from(sorted(RULES)),
    st.sampled_from(["anytime", "annealed"]),
    st.sampled_from(sorted(CLOCKS)),
)
def test_whatever_the_curve_its_row_is_coherent(curve, step_s, status, rules, kind, clock):
    run = timed(curve, step_s=step_s, status=status, test=curve)
    row = one([run], rules=rules, kind=kind, clock=clock)
    assert row.time.reached == (row.evaluation is not None) == (row.kind is not None)
    assert row.time.reached <= row.touched
    assert row.ended_below <= row.fell_back <= row.touched


@given(
    st.lists(st.sampled_from([0.1, 0.7, 0.9, 0.95]), max_size=5),
    st.floats(1e-3, 1e3),
    st.sampled_from(sorted(RULES)),
    st.sampled_from(["anytime", "annealed"]),
    st.sampled_from(sorted(CLOCKS)),
)
def test_what_holds_to_the_end_is_reached_at_an_evaluations_time(
    before, step_s, rules, kind, clock
):
    curve = before + [0.95] * 4
    run = timed(curve, step_s=step_s, test=curve)
    row = one([run], rules=rules, kind=kind, clock=clock)
    assert row.time.reached
    assert 0 <= row.time.after < row.time.by
    assert row.time.by == read_clock(RULES[rules].clock or clock, row.evaluation.segments_s)


@given(
    st.lists(st.sampled_from([0.1, 0.7, 0.9, 0.95]), min_size=1, max_size=8),
    st.sampled_from(sorted(RULES)),
    st.sampled_from(["anytime", "annealed"]),
)
def test_whatever_its_curve_a_run_that_diverged_never_reaches(curve, rules, kind):
    run = timed(curve, status="diverged", test=curve)
    assert not one([run], rules=rules, kind=kind).time.reached


@given(
    st.lists(st.sampled_from([0.5, 0.9, 0.95]), min_size=1, max_size=8),
    st.sampled_from(["anytime", "annealed"]),
)
def test_the_crossing_is_never_before_the_first_touch(curve, kind):
    run = timed(curve, test=curve)
    crossing = one([run], kind=kind)
    touch = one([run], rules="dawnbench", kind=kind)
    assert crossing.time.by >= touch.time.by
    assert crossing.touched == touch.time.reached
