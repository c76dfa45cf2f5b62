"""Medians, extremes and intervals as report.json holds them: null where there is nothing."""

import math
import statistics
from collections.abc import Sequence

from bench.judge.arm_records import Spread
from bench.judge.records import Interval


def spread_of(values: Sequence[float | None]) -> Spread:
    """Return median and extremes of the values that are there."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return Spread(median=None, low=None, high=None)
    return Spread(median=statistics.median(numbers), low=min(numbers), high=max(numbers))


def interval_of(ends: tuple[float, float] | None) -> Interval:
    """Return an interval for JSON, which knows no infinity: an open end is null.

    None: all reals.
    """
    if ends is None:
        return Interval(low=None, high=None)
    low, high = ends
    return Interval(low=finite_or_none(low), high=finite_or_none(high))


def finite_or_none(number: float) -> float | None:
    """Return a number that JSON takes; None for an infinite one."""
    return number if math.isfinite(number) else None
