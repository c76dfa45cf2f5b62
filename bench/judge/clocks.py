"""Segments of a run's time and the clocks made of them (docs/METHOD.md, section 1). A new clock is one line of data."""

from collections.abc import Mapping

METHOD_VERSION = "1.1"
SEGMENTS = (
    "startup", "data_setup", "build", "compile", "init", "train", "evaluate", "evaluate_final", "checkpoint", "log", "idle",
)  # fmt: skip
CLOCKS: dict[str, tuple[str, ...]] = {
    "train": ("train",),
    "airbench": ("init", "train", "evaluate_final"),
    "mlperf": ("data_setup", "init", "train", "evaluate", "evaluate_final", "checkpoint", "log"),
    "algoperf": ("compile", "init", "train"),
    "wall": SEGMENTS,  # of runs in a process of their own; see bench.ledger.fold.RunResult.wall_s
}


def read_clock(clock: str, segments_s: Mapping[str, float]) -> float:
    """Seconds on a clock, from seconds by segment; a segment that is absent took no time."""
    return sum(segments_s.get(segment, 0.0) for segment in CLOCKS[clock])
