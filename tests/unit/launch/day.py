"""A day as the driver has it, and what a machine would have said of itself."""

import json
from dataclasses import asdict
from pathlib import Path

from bench.experiment.machine_record import (
    CARD_NAME,
    DRIVER,
    DaliCheck,
    ImportCheck,
    MachineFacts,
    TorchFacts,
)
from bench.experiment.throughput_records import (
    ArmProfile,
    ArmThroughput,
    ExperimentThroughput,
    LoopTiming,
)
from launch.gpu_day_files import DaySummary
from launch.gpu_day_steps import Day

MODULES = ("torch", "wandb", "xdist", "nvidia.dali.plugin.pytorch")


def machine(*missing: str, gpu: str | None = "a card") -> MachineFacts:
    imports = {}
    for name in MODULES:
        error = "ModuleNotFoundError: no" if name in missing else None
        imports[name] = ImportCheck(seconds=1.0, error=error)
    environment = {"commit": "abc", "torch": "2.11.0", "cpu": "a CPU", "cpu_cores": 16}
    return MachineFacts(
        gpu=gpu,
        nvidia_smi={CARD_NAME: gpu, DRIVER: "580.1"} if gpu else {},
        imports=imports,
        torch=TorchFacts(gpu=gpu, environment=environment),
        dali_batch=DaliCheck(batch="(4, 3, 8, 8)"),
    )


def make_day(tmp_path: Path, *missing: str, environment=None, rehearsal: bool = False) -> Day:
    for name in ("out/logs", "work", "tests"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    return Day(
        python="python3",
        root=tmp_path,
        out=tmp_path / "out",
        work=tmp_path / "work",
        cores=16,
        environment=environment or {},
        machine=machine(*missing, gpu=None if rehearsal else "a card"),
        rehearsal=rehearsal,
    )


def make_summary(**fields) -> DaySummary:
    return DaySummary(label="gpu-day", part="1", date="2026-11-30T10:00:00+00:00", **fields)


def timing(images_per_s: float, **changes: float | None) -> LoopTiming:
    fields = {"steps": 9, "step_ms": 10.0, "data_wait_ms": 0.25, "issue_ms": 3.5}
    return LoopTiming(images_per_s=images_per_s, **{**fields, **changes})


def arm_figures(**changes: object) -> ArmThroughput:
    """One arm of a throughput.json."""
    figures = {
        "arm": "random",
        "network": "resnet18",
        "input_size": 128,
        "batch_size": 256,
        "precision": "bf16",
        "compiled": True,
        "compile_s": 21.0,
        "harness": timing(12_000),
        "loaders": {"dali": timing(10_000), "resident": timing(11_000)},
        "loaders_alone": {},
        "bare": timing(13_200),
        "overhead_ratio": 1.1,
        "resize_ms": 1.0,
        "evaluation_images_per_s": 50_000.0,
        "peak_memory_bytes": 3 * 2**30,
        "faults": {},
    }
    return ArmThroughput(**{**figures, **changes})


def write_figures(
    out: Path, name: str, *, profile: ArmProfile | None = None, **changes: object
) -> None:
    (out / name).mkdir(exist_ok=True)
    figures = ExperimentThroughput(
        experiment="gpu_throughput",
        environment={},
        arms={"random": arm_figures(**changes)},
        profile=profile,
        faults={},
    )
    (out / name / "throughput.json").write_text(json.dumps(asdict(figures)))
