"""Rows of a report by their arm and threshold, for the tests of comparisons."""

from bench.judge.arm_records import ThresholdSummary
from bench.judge.records import Comparison, Report


def comparison(report: Report, threshold: float = 0.9, arm: str = "pretrained") -> Comparison:
    """Return the row that compares an arm with the baseline at a threshold."""
    row = report.comparison(arm, threshold)
    assert row is not None
    return row


def threshold_of(report: Report, arm: str, threshold: float = 0.9) -> ThresholdSummary:
    """Return the row of one arm at a threshold."""
    (row,) = [row for row in report.arm(arm).thresholds if row.threshold == threshold]
    return row
