"""Crossings: worked examples, and properties against a definition that looks at every window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results.rules import Crossing, crossing, first_touch

ACCURACIES = st.lists(st.sampled_from([0.1, 0.5, 0.7, 0.9]), max_size=12)
THRESHOLDS = st.sampled_from([0.1, 0.5, 0.6, 0.9, 0.95])
LOOKS = st.integers(1, 5)


def find(accuracies, *, threshold=0.9, confirm_looks=3, completed=True):
    found = crossing(accuracies, threshold, confirm_looks=confirm_looks, completed=completed)
    return (found.look, found.kind) if found else None


def by_definition(accuracies, threshold, confirm_looks, completed):
    """All starts of whole windows that hold, then all tails that hold: the earliest of the first, else of the second."""
    n = len(accuracies)
    whole = [k for k in range(n - confirm_looks + 1) if all(accuracies[j] >= threshold for j in range(k, k + confirm_looks))]
    tails = [k for k in range(max(0, n - confirm_looks + 1), n) if all(a >= threshold for a in accuracies[k:])]
    if whole:
        return Crossing(look=min(whole), kind="confirmed")
    return Crossing(look=min(tails), kind="terminal") if tails and completed else None


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
    ids=["held", "at-once", "second-try", "last-two", "last-one", "touched-and-fell-back", "never", "no-looks"],
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
def test_a_confirmed_crossing_stands_whatever_comes_after(accuracies, later, threshold, confirm_looks):
    found = find(accuracies, threshold=threshold, confirm_looks=confirm_looks, completed=False)
    if found:
        assert find(accuracies + later, threshold=threshold, confirm_looks=confirm_looks) == found


@given(ACCURACIES, LOOKS, st.booleans())
def test_a_higher_threshold_is_never_reached_sooner(accuracies, confirm_looks, completed):
    low, high = (find(accuracies, threshold=t, confirm_looks=confirm_looks, completed=completed) for t in (0.5, 0.9))
    assert high is None or (low is not None and low[0] <= high[0])
