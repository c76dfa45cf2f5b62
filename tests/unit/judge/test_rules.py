"""Crossings: worked examples, and properties against a definition that looks at every window.

Then judged runs: when, at best.
"""

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.clocks import CLOCKS, read_clock
from bench.judge.rules import RULES, crossing, first_touch, judge
from tests.unit.study_factory import timed
from tests.unit.results_factory import EVERY_SAMPLES, make_config

ACCURACIES = st.lists(st.sampled_from([0.1, 0.5, 0.7, 0.9]), max_size=12)
THRESHOLDS = st.sampled_from([0.1, 0.5, 0.6, 0.9, 0.95])
LOOKS = st.integers(1, 5)


def find(accuracies, *, threshold=0.9, confirm_looks=3, completed=True):
    return crossing(accuracies, threshold, confirm_looks=confirm_looks, completed=completed)


def by_definition(accuracies, threshold, confirm_looks, completed):
    """All starts of whole windows that hold, then all tails that hold: the earliest of the first,
    else of the second.
    """
    n = len(accuracies)
    whole = [
        k
        for k in range(n - confirm_looks + 1)
        if all(accuracies[j] >= threshold for j in range(k, k + confirm_looks))
    ]
    tails = [
        k
        for k in range(max(0, n - confirm_looks + 1), n)
        if all(a >= threshold for a in accuracies[k:])
    ]
    if whole:
        return min(whole), "confirmed"
    return (min(tails), "terminal") if tails and completed else None


@pytest.mark.parametrize(
    ("accuracies", "found"),
    [
        ([0.5, 0.91, 0.92, 0.93, 0.4], (1, "confirmed")),
        ([0.9, 0.9, 0.9], (0, "confirmed")),
        ([0.5, 0.91, 0.89, 0.91, 0.92, 0.93], (3, "confirmed")),
        ([0.5, 0.6, 0.91, 0.92], (2, "terminal")),
        ([0.5, 0.6, 0.7, 0.91], (3, "terminal")),
        ([0.5, 0.91, 0.92, 0.89], None),
        ([0.5, 0.6], None),
        ([], None),
    ],
    ids=[
        "held",
        "at-once",
        "second-try",
        "last-two",
        "last-one",
        "touched-and-fell-back",
        "never",
        "no-looks",
    ],
)
def test_worked_examples(accuracies, found):
    assert find(accuracies) == found


def test_what_touched_and_fell_back_is_a_first_touch_and_no_crossing():
    accuracies = [0.5, 0.91, 0.7, 0.6]
    assert first_touch(accuracies, 0.9) == 1
    assert find(accuracies) is None
    assert find(accuracies, confirm_looks=1) == (1, "confirmed")


def test_only_a_completed_schedule_has_a_terminal_crossing():
    assert find([0.5, 0.91, 0.92], completed=False) is None
    assert find([0.5, 0.91, 0.92], completed=True) == (1, "terminal")


def test_first_touch_of_a_curve_that_never_gets_there():
    assert first_touch([0.1, 0.2], 0.9) is None


@given(ACCURACIES, THRESHOLDS, LOOKS, st.booleans())
def test_equals_the_definition(accuracies, threshold, confirm_looks, completed):
    found = crossing(accuracies, threshold, confirm_looks=confirm_looks, completed=completed)
    assert found == by_definition(accuracies, threshold, confirm_looks, completed)


@given(ACCURACIES, THRESHOLDS, LOOKS, st.booleans())
def test_never_before_the_first_touch(accuracies, threshold, confirm_looks, completed):
    found = find(accuracies, threshold=threshold, confirm_looks=confirm_looks, completed=completed)
    touch = first_touch(accuracies, threshold)
    assert found is None or (touch is not None and touch <= found[0])


@given(ACCURACIES, ACCURACIES, THRESHOLDS, LOOKS)
def test_a_confirmed_crossing_stands_whatever_comes_after(
    accuracies, later, threshold, confirm_looks
):
    found = find(accuracies, threshold=threshold, confirm_looks=confirm_looks, completed=False)
    if found:
        assert find(accuracies + later, threshold=threshold, confirm_looks=confirm_looks) == found


@given(ACCURACIES, LOOKS, st.booleans())
def test_a_higher_threshold_is_never_reached_sooner(accuracies, confirm_looks, completed):
    low, high = (
        find(accuracies, threshold=t, confirm_looks=confirm_looks, completed=completed)
        for t in (0.5, 0.9)
    )
    assert high is None or (low is not None and low[0] <= high[0])


def judged(runs, threshold=0.9, rules="headstart", **changes):
    return judge(make_config(**changes), runs, threshold, RULES[rules])


def one(runs, threshold=0.9, rules="headstart", **changes):
    (row,) = judged(runs, threshold, rules, **changes)
    return row


def ends(row):
    return row.span.after, row.span.by


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
    assert (ends(row), row.kind, row.look.step, row.block) == ((5.0, 7.5), "confirmed", 15, 0)
    assert ends(one([timed((0.5, 0.85, 0.95, 0.95), step_s=2.5)], 0.8)) == (2.5, 5.0)


def test_a_crossing_at_the_first_look_begins_where_the_run_did():
    run = timed((0.95, 0.95))
    run.start["segments_s"] = {"train": 0.0, "init": 5.0, "compile": 20.0}
    assert ends(one([run])) == (0.0, 1.0)
    assert ends(one([run], clock="airbench")) == (5.0, 6.0)


def test_of_a_resumed_run_only_its_looks_tell_when_it_crossed():
    run = dataclasses.replace(timed((0.95, 0.95, 0.95)), resumed=True)
    for checkpoint_s in (1.0, 2.0):
        run.start["segments_s"] = {"train": checkpoint_s}
        assert ends(one([run])) == (0.0, 1.0)


def test_where_the_second_process_paid_less_nothing_is_known_of_the_time_before():
    run = timed((0.5, 0.95, 0.95), resumed=True)
    paid = [
        {"train": 1.0, "compile": 60.0},
        {"train": 2.0, "compile": 5.0},
        {"train": 3.0, "compile": 5.0},
    ]
    looks = [
        dataclasses.replace(look, segments_s=segments_s)
        for look, segments_s in zip(run.looks, paid, strict=True)
    ]
    assert ends(one([dataclasses.replace(run, looks=looks)], clock="algoperf")) == (0.0, 7.0)


def test_what_is_not_reached_is_censored_at_the_budget():
    row = one([timed((0.5, 0.95, 0.5), segments_s={"train": 3.25, "evaluate": 9.0})])
    assert (ends(row), row.look, row.kind) == ((3.25, math.inf), None, None)


def test_a_diverged_run_never_reaches_though_its_curve_did():
    row = one([timed((0.95, 0.95, 0.95), status="diverged")])
    assert (ends(row), row.touched) == ((math.inf, math.inf), True)
    for rules in RULES:
        assert not one(
            [timed((0.95, 0.95), status="diverged", test=(0.95, 0.95))], rules=rules
        ).span.reached


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
    assert not one([timed((0.5, 0.95), status="interrupted")], kind="annealed").span.reached


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
    runs = annealed(*((n, last, "completed") for n, last in budgets))
    for order in itertools.permutations(runs):
        assert ends(one(list(order), kind="annealed")) == span


def test_budgets_that_diverged():
    done, lost = "completed", "diverged"
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
    assert (ends(row), row.kind, row.look.accuracy) == ((2.0, 4.0), "touch", 0.95)
    assert not one([run]).span.reached


def test_airbench_takes_the_mean_of_all_last_looks_on_its_own_clock():
    runs = [
        timed((0.5, 0.5), block=block, test=(0.5, last))
        for block, last in enumerate((0.93, 0.94, 0.95))
    ]
    rows = judged(runs, 0.94, "airbench")
    assert [(ends(row), row.kind) for row in rows] == [((0.0, 7.0), "end")] * 3
    assert not any(row.span.reached for row in judged(runs, 0.9401, "airbench"))


def test_airbench_has_no_mean_where_a_run_has_no_end():
    runs = [
        timed((0.5,), block=0, test=(0.99,)),
        timed((0.5,), block=1, test=(0.99,), status="diverged"),
    ]
    assert [row.span.reached for row in judged(runs, rules="airbench")] == [False, False]
    assert [
        row.span.reached for row in judged([runs[0], timed((0.99,), block=1)], rules="airbench")
    ] == [False, False]


def test_airbench_takes_each_budgets_mean_by_itself():
    runs = [timed([0.1] * n, budget=n * EVERY_SAMPLES, test=(last,), block=block)
            for block in (0, 1) for n, last in ((2, 0.85), (4, 0.93 + block / 50))]  # fmt: skip
    rows = judged(runs, 0.94, "airbench", kind="annealed")
    assert [ends(row) for row in rows] == [(7.0, 9.0)] * 2


@pytest.mark.parametrize("accuracy", [0.94, 0.1, 0.7, 0.29])
def test_a_mean_of_equal_accuracies_is_that_accuracy(accuracy):
    runs = [timed((0.5,), block=block, test=(accuracy,)) for block in range(7)]
    curves = [
        dataclasses.replace(
            r, test_looks=[dataclasses.replace(r.test_looks[0], correct=accuracy, total=1)]
        )
        for r in runs
    ]
    for some in (runs, curves):
        assert all(row.span.reached for row in judged(some, accuracy, "airbench"))


@given(
    st.lists(st.sampled_from([0.1, 0.7, 0.9, 0.95]), min_size=1, max_size=8), st.floats(1e-3, 1e3),
    st.sampled_from(["completed", "diverged"]), st.sampled_from(sorted(RULES)),
    st.sampled_from(["anytime", "annealed"]), st.sampled_from(sorted(CLOCKS)),
)  # fmt: skip
def test_whatever_the_curve_its_row_is_coherent(curve, step_s, status, rules, kind, clock):
    run = timed(curve, step_s=step_s, status=status, test=curve)
    row = one([run], rules=rules, kind=kind, clock=clock)
    assert row.span.reached == (row.look is not None) == (row.kind is not None)
    assert row.span.reached <= row.touched
    assert row.ended_below <= row.fell_back <= row.touched
    if row.span.reached:
        assert 0 <= row.span.after < row.span.by
        assert row.span.by == read_clock(RULES[rules].clock or clock, row.look.segments_s)
        assert status == "completed"


@given(
    st.lists(st.sampled_from([0.5, 0.9, 0.95]), min_size=1, max_size=8),
    st.sampled_from(["anytime", "annealed"]),
)
def test_the_held_crossing_is_never_before_the_first_touch(curve, kind):
    run = timed(curve, test=curve)
    held, touch = one([run], kind=kind), one([run], rules="dawnbench", kind=kind)
    assert held.span.by >= touch.span.by
    assert held.touched == touch.span.reached
