"""The day's JSON files: what the steps wrote, read into records, and the day's own summary.

Here alone JSON is taken apart. Needs the standard library alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.experiment.machine_record import DaliCheck, ImportCheck, MachineFacts, TorchFacts
from bench.experiment.throughput_records import (
    ArmProfile,
    ArmThroughput,
    ExperimentThroughput,
    LoopTiming,
    TimeOf,
)
from launch.gpu_day_run import Outcome

Json = Any  # a JSON object before it is read


@dataclass(frozen=True, kw_only=True)
class DaySummary:
    """All that summary.json says of a day: the machine, notes on it, and the steps so far.

    `rehearsal` is null before the machine has been looked at.
    """

    label: str
    part: str
    date: str
    rehearsal: bool | None = None
    machine: MachineFacts | None = None
    notes: tuple[str, ...] = ()
    interrupted: bool = False
    steps: tuple[Outcome, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EarlierPart:
    """What another part or day ended with: its date, and each step's status by name."""

    date: str
    statuses: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class KernelFigures:
    """A case of tests/benchmarks/test_kernels.py, and how many times faster than others it is."""

    name: str
    images_per_s: float
    gb_per_s: float | None
    ratios: Mapping[str, float] = field(default_factory=dict)


def read_json(path: Path) -> Json:
    """Read what a step wrote; None where it wrote no complete file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError:  # of a step that was killed while writing
        return None


def read_machine(path: Path) -> MachineFacts:
    """Read machine.json; nothing is known of the machine where there is none."""
    content = read_json(path)
    if content is None:
        return MachineFacts()
    imports = {name: ImportCheck(**check) for name, check in content["imports"].items()}
    dali_batch = None
    if content["dali_batch"] is not None:
        dali_batch = DaliCheck(**content["dali_batch"])
    return MachineFacts(
        gpu=content["gpu"],
        nvidia_smi=content["nvidia_smi"],
        imports=imports,
        torch=TorchFacts(**content["torch"]),
        dali_batch=dali_batch,
    )


def read_throughput(path: Path) -> ExperimentThroughput | None:
    """Read a throughput.json; None where there is none."""
    content = read_json(path)
    if content is None:
        return None
    arms = {name: _arm(figures) for name, figures in content["arms"].items()}
    profile = None
    if content["profile"] is not None:
        profile = _profile(content["profile"])
    return ExperimentThroughput(**{**content, "arms": arms, "profile": profile})


def _arm(figures: Json) -> ArmThroughput:
    bare = None
    if figures["bare"] is not None:
        bare = LoopTiming(**figures["bare"])
    timings = {
        "harness": LoopTiming(**figures["harness"]),
        "bare": bare,
        "loaders": _timings(figures["loaders"]),
        "loaders_alone": _timings(figures["loaders_alone"]),
    }
    return ArmThroughput(**{**figures, **timings})


def _timings(by_loader: Json) -> dict[str, LoopTiming]:
    return {loader: LoopTiming(**timing) for loader, timing in by_loader.items()}


def _profile(profile: Json) -> ArmProfile:
    times = {"kernels": _times(profile["kernels"]), "host": _times(profile["host"])}
    return ArmProfile(**{**profile, **times})


def _times(rows: Json) -> list[TimeOf]:
    return [TimeOf(*row) for row in rows]


def read_kernels(path: Path) -> list[KernelFigures]:
    """Read what pytest-benchmark wrote of the kernels; nothing where there is no file."""
    content = read_json(path)
    if content is None:
        return []
    return [_kernel(measured) for measured in content["benchmarks"]]


def _kernel(measured: Json) -> KernelFigures:
    figures = measured["extra_info"]
    return KernelFigures(
        name=measured["name"],
        images_per_s=figures["images_per_s"],
        gb_per_s=figures.get("gb_per_s"),
        ratios={name: ratio["ratio"] for name, ratio in figures["ratios"].items()},
    )


def read_part(path: Path) -> EarlierPart | None:
    """Read another part's or day's summary.json; None where there is none."""
    content = read_json(path)
    if content is None:
        return None
    statuses = {step["name"]: step["status"] for step in content["steps"]}
    return EarlierPart(date=content["date"], statuses=statuses)
