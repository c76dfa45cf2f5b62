"""What throughput.json holds: what an arm's steps cost, by what feeds them.

Needs the standard library alone, so that launch/ can read it anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bench.experiment.machine_record import Facts


@dataclass(frozen=True, kw_only=True)
class LoopTiming:
    """Say what a step took in a loop that was synchronised at its two ends alone.

    `step_ms` is the loop's time a step; `data_wait_ms` the host's wait for a batch; `issue_ms` the
    host's time to issue a step to an idle GPU (null on a CPU, where issuing is computing).
    """

    steps: int
    images_per_s: float
    step_ms: float
    data_wait_ms: float
    issue_ms: float | None


@dataclass(frozen=True, kw_only=True)
class ArmThroughput:
    """Say what an arm's steps cost, by what feeds them. Null: not measured, or not on this device.

    `harness` takes one batch again and again; `loaders` train on each loader's batches and
    `loaders_alone` only make them. `overhead_ratio` is bare images/s over the harness's. The peak
    is torch's own memory, without DALI's.
    """

    arm: str
    network: str
    input_size: int | None  # pixels
    batch_size: int
    precision: str
    compiled: bool
    compile_s: float
    harness: LoopTiming
    loaders: Mapping[str, LoopTiming]
    loaders_alone: Mapping[str, LoopTiming]
    bare: LoopTiming | None
    overhead_ratio: float | None
    resize_ms: float | None
    evaluation_images_per_s: float | None
    peak_memory_bytes: int | None
    faults: Mapping[str, str]  # by loader

    def timings(self) -> dict[str, LoopTiming]:
        """Every timed loop by its title, those that feed the harness one batch first."""
        loops = {"harness, one batch": self.harness}
        if self.bare is not None:
            loops |= {"bare loop, one batch": self.bare}
        for loader, timing in self.loaders.items():
            loops[f"harness, {loader}"] = timing
        for loader, timing in self.loaders_alone.items():
            loops[f"{loader} alone"] = timing
        return loops


class TimeOf(NamedTuple):
    """Milliseconds a step, and calls a step, of a kernel or of an operator on the host."""

    name: str
    ms: float
    calls: float


@dataclass(frozen=True, kw_only=True)
class StepProfile:
    """Say where the time of a step goes. The device's fields are null on a CPU.

    Of the time from the first device work to the last, `busy_fraction` is the part with work under
    way, `long_gaps` the gaps a step above profiling.LONG_GAP_US, and `gap_ms` all gaps a step.
    """

    steps: int
    busy_fraction: float | None
    long_gaps: float | None
    gap_ms: float | None
    kernels: list[TimeOf]
    host: list[TimeOf]


@dataclass(frozen=True, kw_only=True)
class ArmProfile(StepProfile):
    """The profile of an arm's steps on a loader's batches."""

    arm: str
    loader: str


@dataclass(frozen=True, kw_only=True)
class ExperimentThroughput:
    """The figures of an experiment's arms so far, and by arm the faults of those that failed."""

    experiment: str
    environment: Facts
    arms: Mapping[str, ArmThroughput]
    profile: ArmProfile | None
    faults: Mapping[str, str]

    @property
    def has_faults(self) -> bool:
        """Whether an arm or a loader failed."""
        return bool(self.faults) or any(arm.faults for arm in self.arms.values())
