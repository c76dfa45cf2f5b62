"""Crossings: worked examples, and properties against a definition that looks at every window."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.crossing import Crossing, find_crossing, first_touch

ACCURACIES = st.lists(st.sampled_from([0.1, 0.5, 0.7, 0.9]), max_size=12)
THRESHOLDS = st.sampled_from([0.1, 0.5, 0.6, 0.9, 0.95])
LOOKS = st.integers(1, 5)


def find(accuracies, *, threshold=0.9, confirm_looks=3, completed=True):
    return find_crossing(accuracies, threshold, confirm_looks=confirm_looks, completed=completed)


def by_definition(accuracies, threshold, confirm_looks, completed):
    """Find all starts of windows that hold, then all tails that hold.

    The earliest of the first, else of the second.
    """
    n = len(accuracies)
    windows = []
    tails = []
    for start in range(n):
        if min(accuracies[start : start + confirm_looks]) < threshold:
            continue
        if start + confirm_looks <= n:
            windows.append(start)
        else:
            tails.append(start)
    if windows:
        return Crossing(min(windows), "confirmed")
    if tails and completed:
        return Crossing(min(tails), "terminal")
    return None


@pytest.mark.parametrize(
    ("accuracies", "crossing"),
    [
        ([0.5, 0.91, 0.92, 0.93, 0.4], Crossing(1, "confirmed")),
        ([0.9, 0.9, 0.9], Crossing(0, "confirmed")),
        ([0.5, 0.91, 0.89, 0.91, 0.92, 0.93], Crossing(3, "confirmed")),
        ([0.5, 0.6, 0.91, 0.92], Crossing(2, "terminal")),
        ([0.5, 0.6, 0.7, 0.91], Crossing(3, "terminal")),
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
def test_worked_examples(accuracies, crossing):
    assert find(accuracies) == crossing


def test_what_touched_and_fell_back_is_a_first_touch_and_no_crossing():
    accuracies = [0.5, 0.91, 0.7, 0.6]
    assert first_touch(accuracies, 0.9) == 1
    assert find(accuracies) is None
    assert find(accuracies, confirm_looks=1) == Crossing(1, "confirmed")


def test_only_a_completed_schedule_has_a_terminal_crossing():
    assert find([0.5, 0.91, 0.92], completed=False) is None
    assert find([0.5, 0.91, 0.92], completed=True) == Crossing(1, "terminal")


def test_first_touch_of_a_curve_that_never_gets_there():
    assert first_touch([0.1, 0.2], 0.9) is None


@given(ACCURACIES, THRESHOLDS, LOOKS, st.booleans())
def test_equals_the_definition(accuracies, threshold, confirm_looks, completed):
    crossing = find(
        accuracies, threshold=threshold, confirm_looks=confirm_looks, completed=completed
    )
    assert crossing == by_definition(accuracies, threshold, confirm_looks, completed)


@given(ACCURACIES, THRESHOLDS, LOOKS, st.booleans())
def test_never_before_the_first_touch(accuracies, threshold, confirm_looks, completed):
    crossing = find(
        accuracies, threshold=threshold, confirm_looks=confirm_looks, completed=completed
    )
    touch = first_touch(accuracies, threshold)
    touch_place = math.inf if touch is None else touch
    assert touch_place <= place_of(crossing)


def place_of(crossing: Crossing | None) -> float:
    """Where a crossing is; infinitely late where there is none."""
    return math.inf if crossing is None else crossing.place


@given(ACCURACIES, ACCURACIES, THRESHOLDS, LOOKS)
def test_a_confirmed_crossing_stands_whatever_comes_after(before, later, threshold, confirm_looks):
    accuracies = before + [threshold] * confirm_looks
    crossing = find(accuracies, threshold=threshold, confirm_looks=confirm_looks, completed=False)
    assert crossing is not None
    longer = find(accuracies + later, threshold=threshold, confirm_looks=confirm_looks)
    assert longer == crossing


@given(ACCURACIES, LOOKS, st.booleans())
def test_a_higher_threshold_is_never_reached_sooner(accuracies, confirm_looks, completed):
    low = find(accuracies, threshold=0.5, confirm_looks=confirm_looks, completed=completed)
    high = find(accuracies, threshold=0.9, confirm_looks=confirm_looks, completed=completed)
    assert place_of(low) <= place_of(high)
