"""What a run is measured on and by: environment facts, recorded and never asked for by config, and raw readings of time."""

import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
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


def environment_facts(device: torch.device, world_size: int) -> dict[str, Any]:
    """A flat dict of what the run ran on. Null where this machine has no such thing."""
    facts: dict[str, Any] = {
        "device": device.type,
        "world_size": world_size,
        "cpu": _first(r"(?<=model name\t: ).+", Path("/proc/cpuinfo")) or platform.processor(),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "threads_per_rank": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "gpu_driver": _first(r"\d+\.\d+[.\d]*", DRIVER),  # the NVIDIA kernel module's
        "gpus_visible": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "os": platform.platform(),
        "python": platform.python_version(),
        "commit": _commit(),
    }
    return facts | {
        name: next((found.version for found in distributions(name=name)), None)
        for name in _PACKAGES
    }


class PhaseTimer:
    """Cuts monotonic time into named segments, every nanosecond in exactly one. The device is synchronised at each cut alone."""

    def __init__(
        self,
        segment: str,
        synchronize: Callable[[], None],
        earlier_s: Mapping[str, float] | None = None,
    ) -> None:
        self._synchronize = synchronize
        self._total_ns = {name: round(seconds * 1e9) for name, seconds in (earlier_s or {}).items()}
        self._segment, self._since_ns = segment, time.monotonic_ns()

    def switch(self, segment: str) -> None:
        """End the running segment here and begin another."""
        self._synchronize()
        now_ns = time.monotonic_ns()
        self._total_ns[self._segment] = (
            self._total_ns.get(self._segment, 0) + now_ns - self._since_ns
        )
        self._segment, self._since_ns = segment, now_ns

    def read_s(self) -> dict[str, float]:
        """Seconds by segment so far, the running one included; on this rank."""
        self.switch(self._segment)
        return {name: total_ns / 1e9 for name, total_ns in self._total_ns.items()}


def process_age_s() -> float:
    """Seconds since the kernel started this process, in steps of a hundredth."""
    started = int(
        Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    )  # in clock ticks after boot
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def _first(pattern: str, file: Path) -> str | None:
    """What a pattern first finds in a file; null where there is no such file."""
    found = re.search(pattern, file.read_text()) if file.exists() else None
    return found[0] if found else None


def _commit() -> str | None:
    """The checkout's commit, marked when files differ from it; null outside a git checkout."""
    command, here = ["git", "describe", "--always", "--dirty", "--abbrev=12"], Path(__file__).parent
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=5, cwd=here
        ).strip()
    return None
