"""Clocks: named sets of the segments of a run's time (docs/METHOD.md, section 1).

A new clock is one line of data.
"""

from collections.abc import Mapping

from bench.ledger.method import SEGMENTS

CLOCKS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "airbench": ("init", "train", "evaluate_final"),
    "mlperf": ("data_setup", "init", "train", "evaluate", "evaluate_final", "checkpoint", "log"),
    "algoperf": ("compile", "init", "train"),
    "wall": SEGMENTS,  # of runs in a process of their own; see bench.ledger.result.RunResult.wall_s
}


def read_clock(clock: str, segments_s: Mapping[str, float]) -> float:
    """Return seconds on a clock, from seconds by segment; a segment that is absent took no time."""
    return sum(segments_s.get(segment, 0.0) for segment in CLOCKS[clock])
