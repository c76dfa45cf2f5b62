"""Environment facts: what a run is measured on. Recorded, and never asked for by the config."""

import hashlib
import importlib
import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from bench.files import files_sha256
from bench.ledger.records import EnvironmentFacts, Fact

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "triton",
    "nvidia-dali-cuda130",
    "accelerate",
    "wandb",
    "numpy",
)
DRIVER = Path("/proc/driver/nvidia/version")
CPU_INFO = Path("/proc/cpuinfo")


def environment_facts(device: torch.device, world_size: int) -> EnvironmentFacts:
    """Return what a run runs on, by name; None where this machine has no such thing."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts: dict[str, Fact] = {
        "device": device.type,
        "world_size": world_size,
        "cpu": first_match(r"(?<=model name\t: ).+", CPU_INFO) or platform.processor(),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "threads_per_rank": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "memory_gib": round(memory_bytes / 2**30, 1),
        "gpu": gpu_name(device),
        "gpu_driver": first_match(r"\d+\.\d+[.\d]*", DRIVER),  # the NVIDIA kernel module's
        "gpus_visible": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "os": platform.platform(),
        "python": platform.python_version(),
        "commit": commit(),
    }
    for package in PACKAGES:
        facts[package] = package_version(package)
    return facts


def gpu_name(device: torch.device) -> str | None:
    """Return the model of a device that is a GPU; None of any other."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def code_sha256(plug_ins: Sequence[str]) -> str:
    """Return a digest of the code that computes: bench, kernels, and imported plug-in modules."""
    digests = []
    for name in ("bench", "kernels", *plug_ins):
        module_file = Path(importlib.import_module(name).__file__ or "")
        folder = module_file.parent
        files = [module_file]
        if module_file.name == "__init__.py":
            files = sorted(folder.rglob("*.py"))
        digests.append(f"{name} {files_sha256(files, folder)}")
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def process_age_s() -> float:
    """Return the seconds since the kernel started this process, in steps of a hundredth."""
    fields_after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start_ticks = int(fields_after_name[19])  # after boot
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks / os.sysconf("SC_CLK_TCK")


def package_version(name: str) -> str | None:
    """Return a package's version; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def first_match(pattern: str, file: Path) -> str | None:
    """Return what a pattern first matches in a file; None where there is no such file."""
    if not file.exists():
        return None
    match = re.search(pattern, file.read_text())
    return match[0] if match else None


def commit() -> str | None:
    """Return the checkout's commit, marked when files differ from it; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=5, cwd=Path(__file__).parent
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return None
