"""Rows of a report by their arm and threshold, for the tests of comparisons."""

from typing import Any


def comparison(
    report: dict[str, Any], threshold: float = 0.9, arm: str = "pretrained"
) -> dict[str, Any]:
    """The row that compares an arm with the baseline at a threshold."""
    rows = [row for row in report["comparisons"] if row["arm"] == arm]
    return next(row for row in rows if row["threshold"] == threshold)


def arm_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    """What a report says of one arm."""
    return next(arm for arm in report["arms"] if arm["name"] == name)


def threshold_of(report: dict[str, Any], arm: str, threshold: float = 0.9) -> dict[str, Any]:
    """The row of one arm at a threshold."""
    return next(row for row in arm_of(report, arm)["thresholds"] if row["threshold"] == threshold)
