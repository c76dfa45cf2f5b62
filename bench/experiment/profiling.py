"""A look into a few training steps by torch's profiler: kernels, the host's time, and how long
the GPU had nothing to do.
"""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

PROFILED_STEPS = 20
LONG_GAP_US = 5.0  # a launch behind a busy host; kernels that follow each other directly are nearer
TOP = 15
DEVICE_WORK = ("kernel", "gpu_memcpy", "gpu_memset")  # categories of a trace's events


class Span(NamedTuple):
    """A piece of work on the device: its name, start and end in microseconds."""

    name: str
    start_us: float
    end_us: float


class TimeOf(NamedTuple):
    """Milliseconds a step, and calls a step, of a kernel or of an operator on the host."""

    name: str
    ms: float
    calls: float


@dataclass(frozen=True, kw_only=True)
class StepProfile:
    """Say where the time of a step goes. The device's fields are null on a CPU.

    Of the time from the first device work to the last, `busy_fraction` is the part with work under
    way, `long_gaps` the gaps a step above LONG_GAP_US, and `gap_ms` all gaps a step.
    """

    steps: int
    busy_fraction: float | None
    long_gaps: float | None
    gap_ms: float | None
    kernels: list[TimeOf]
    host: list[TimeOf]


def profile_steps(
    run: Callable[[int], None], synchronize: Callable[[], None], trace: Path
) -> StepProfile:
    """Profile PROFILED_STEPS steps, which `run` makes; `trace` (.json.gz) gets all events."""
    run(3)
    synchronize()
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as recorded:
        run(PROFILED_STEPS)
        synchronize()
    recorded.export_chrome_trace(str(trace))
    spans = device_spans(json.loads(gzip.decompress(trace.read_bytes())))
    return summarize_profile(spans, _host_times(recorded.key_averages()), PROFILED_STEPS)


def device_spans(trace: dict[str, Any]) -> list[Span]:
    """Read the device's work out of a trace, in the order of its starts."""
    spans = []
    for event in trace["traceEvents"]:
        if event.get("cat") in DEVICE_WORK:
            spans.append(Span(event["name"], event["ts"], event["ts"] + event["dur"]))
    return sorted(spans, key=lambda span: span.start_us)


def summarize_profile(spans: Sequence[Span], host: list[TimeOf], steps: int) -> StepProfile:
    """Fold the device's work of so many steps into a profile; `spans` in the order of their
    starts.
    """
    if not spans:
        return StepProfile(
            steps=steps, busy_fraction=None, long_gaps=None, gap_ms=None, kernels=[], host=host
        )
    gaps_us = gaps_between(spans)
    last_us = max(span.end_us for span in spans)
    return StepProfile(
        steps=steps,
        busy_fraction=1 - sum(gaps_us) / (last_us - spans[0].start_us),
        long_gaps=sum(gap_us > LONG_GAP_US for gap_us in gaps_us) / steps,
        gap_ms=sum(gaps_us) / 1e3 / steps,
        kernels=_longest(spans, steps),
        host=host,
    )


def gaps_between(spans: Sequence[Span]) -> list[float]:
    """Microseconds of each gap in which no work was under way; work on several streams may
    overlap.
    """
    gaps_us = []
    busy_until_us = spans[0].end_us
    for span in spans[1:]:
        if span.start_us > busy_until_us:
            gaps_us.append(span.start_us - busy_until_us)
        busy_until_us = max(busy_until_us, span.end_us)
    return gaps_us


def _longest(spans: Sequence[Span], steps: int) -> list[TimeOf]:
    total_us, calls = Counter[str](), Counter[str]()
    for span in spans:
        total_us[span.name] += span.end_us - span.start_us  # type: ignore[assignment]
        calls[span.name] += 1
    return [
        TimeOf(name, us / 1e3 / steps, calls[name] / steps)
        for name, us in total_us.most_common(TOP)
    ]


def _host_times(averages: Any) -> list[TimeOf]:
    """Operators by the host's own time in them, without what they call."""
    longest = sorted(averages, key=lambda average: average.self_cpu_time_total, reverse=True)[:TOP]
    times = []
    for average in longest:
        ms = average.self_cpu_time_total / 1e3 / PROFILED_STEPS
        times.append(TimeOf(average.key, ms, average.count / PROFILED_STEPS))
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
    for title, times in (
        ("on the device", step_profile.kernels),
        ("on the host", step_profile.host),
    ):
        lines.append(f"\n{title}")
        lines += [f"{time.ms:10.4f} ms {time.calls:8.1f} calls  {time.name[:90]}" for time in times]
    return "\n".join(lines) + "\n"
