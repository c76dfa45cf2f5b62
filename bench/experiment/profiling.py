"""A look into a few training steps by torch's profiler.

It says which kernels they run, where the host's time goes, and how long the GPU had nothing to do.
"""

import gzip
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import ProfilerActivity, profile

from bench.experiment.throughput_records import StepProfile, TimeOf
from bench.ledger.json_records import parse, stored_as

PROFILED_STEPS = 20
SETTLING_STEPS = 3
LONG_GAP_US = 5.0  # a launch behind a busy host; kernels that follow each other directly are nearer
TOP = 15
DEVICE_WORK = ("kernel", "gpu_memcpy", "gpu_memset")  # categories of a trace's events


class Span(NamedTuple):
    """A piece of work on the device: its name, start and end in microseconds."""

    name: str
    start_us: float
    end_us: float


@dataclass(frozen=True, kw_only=True)
class TraceEvent:
    """An event of torch's trace, in its own words: category, name, start and length (us)."""

    cat: str = ""
    name: str = ""
    ts: float = 0.0
    dur: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What torch's profiler exports, as far as it is read here."""

    events: Annotated[list[TraceEvent], stored_as("traceEvents")]


def profile_steps(
    run: Callable[[int], None], synchronize: Callable[[], None], trace: Path
) -> StepProfile:
    """Profile PROFILED_STEPS steps, which `run` makes; `trace` (.json.gz) gets all events."""
    run(SETTLING_STEPS)
    synchronize()
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as recorded:
        run(PROFILED_STEPS)
        synchronize()
    recorded.export_chrome_trace(str(trace))
    spans = device_spans(gzip.decompress(trace.read_bytes()))
    return summarize_profile(spans, _host_times(recorded.key_averages()), PROFILED_STEPS)


def device_spans(trace: bytes | str) -> list[Span]:
    """Read the device's work out of a trace's JSON, in the order of its starts."""
    spans = []
    for event in parse(Trace, trace).events:
        if event.cat in DEVICE_WORK:
            spans.append(Span(event.name, event.ts, event.ts + event.dur))
    return sorted(spans, key=lambda span: span.start_us)


def summarize_profile(spans: Sequence[Span], host: list[TimeOf], steps: int) -> StepProfile:
    """Fold the device's work of so many steps into a profile.

    `spans` stand in the order of their starts.
    """
    if not spans:
        return StepProfile(
            steps=steps, busy_fraction=None, long_gaps=None, gap_ms=None, kernels=[], host=host
        )
    gaps_us = gaps_between(spans)
    long_gaps_us = [gap_us for gap_us in gaps_us if gap_us > LONG_GAP_US]
    last_us = max(span.end_us for span in spans)
    return StepProfile(
        steps=steps,
        busy_fraction=1 - sum(gaps_us) / (last_us - spans[0].start_us),
        long_gaps=len(long_gaps_us) / steps,
        gap_ms=sum(gaps_us) / 1e3 / steps,
        kernels=_longest(spans, steps),
        host=host,
    )


def gaps_between(spans: Sequence[Span]) -> list[float]:
    """Return the microseconds of each gap in which no work was under way.

    Work on several streams may overlap.
    """
    gaps_us = []
    busy_until_us = spans[0].end_us
    for span in spans[1:]:
        if span.start_us > busy_until_us:
            gaps_us.append(span.start_us - busy_until_us)
        busy_until_us = max(busy_until_us, span.end_us)
    return gaps_us


def _longest(spans: Sequence[Span], steps: int) -> list[TimeOf]:
    """Return the kernels that took longest, the longest first."""
    total_us: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for span in spans:
        total_us[span.name] += span.end_us - span.start_us
        calls[span.name] += 1
    times = [TimeOf(name, us / 1e3 / steps, calls[name] / steps) for name, us in total_us.items()]
    return sorted(times, key=lambda time: time.ms, reverse=True)[:TOP]


def _host_times(averages: Iterable[FunctionEventAvg]) -> list[TimeOf]:
    """Return operators by the host's time in themselves, without what they call."""
    longest = sorted(averages, key=lambda average: average.self_cpu_time_total, reverse=True)[:TOP]
    times = []
    for average in longest:
        ms = average.self_cpu_time_total / 1e3 / PROFILED_STEPS
        times.append(TimeOf(str(average.key), ms, average.count / PROFILED_STEPS))
    return times


def profile_text(step_profile: StepProfile) -> str:
    """Lay a profile out as text."""
    lines = [f"{step_profile.steps} steps; milliseconds and calls are those of one step"]
    if step_profile.busy_fraction is None:
        lines.append("no GPU: no work on a device was seen")
    else:
        lines.append(
            f"device busy {step_profile.busy_fraction:.1%}; gaps {step_profile.gap_ms:.3f} ms,"
            f" {step_profile.long_gaps:.1f} of them above {LONG_GAP_US:g} us"
        )
    lines += ["", "on the device", *_time_lines(step_profile.kernels)]
    lines += ["", "on the host", *_time_lines(step_profile.host)]
    return "\n".join(lines) + "\n"


def _time_lines(times: Sequence[TimeOf]) -> list[str]:
    return [f"{time.ms:10.4f} ms {time.calls:8.1f} calls  {time.name[:90]}" for time in times]
