"""A day as the driver knows it, and what a machine would have said of itself."""

import json
from pathlib import Path

from launch.gpu_day_steps import Day

MODULES = ("torch", "wandb", "xdist", "nvidia.dali.plugin.pytorch")


def machine(*missing: str, gpu: str | None = "a card") -> dict:
    imports = {}
    for name in MODULES:
        error = "ModuleNotFoundError: no" if name in missing else None
        imports[name] = {"seconds": 1.0, "error": error}
    environment = {"commit": "abc", "torch": "2.11.0", "cpu": "a CPU", "cpu_cores": 16}
    return {
        "gpu": gpu,
        "imports": imports,
        "nvidia_smi": {"name": gpu, "driver_version": "580.1"} if gpu else {},
        "torch": {"environment": environment},
        "dali_batch": {"batch": "(4, 3, 8, 8)"},
    }


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


def timing(images_per_s: float, **changes: float | None) -> dict:
    fields = {"steps": 9, "step_ms": 10.0, "data_wait_ms": 0.25, "issue_ms": 3.5}
    return {"images_per_s": images_per_s, **fields, **changes}


def arm_figures(**changes: object) -> dict:
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
    return figures | changes


def write_figures(out: Path, name: str, **changes: object) -> None:
    (out / name).mkdir(exist_ok=True)
    content = {"arms": {"random": arm_figures(**changes)}, "profile": None, "faults": {}}
    (out / name / "throughput.json").write_text(json.dumps(content))
