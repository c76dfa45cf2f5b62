"""Which precision a run computes in: as asked, or chosen by a rule that is recorded."""

import time
from collections.abc import Callable
from typing import Any

import torch

PROBE_STEPS = 8


def check_precision(asked: str, device: torch.device) -> None:
    """Raise ValueError for fp16 on a CPU, which accelerate would silently turn into fp32."""
    if asked == "fp16" and device.type == "cpu":
        raise ValueError("precision: 'fp16' is not computed on a CPU; allowed there: auto, bf16, fp32")


def resolve(asked: str, device: torch.device, probe: Callable[[], dict[str, float]]) -> dict[str, Any]:
    """Name and reason of the precision, for the record. `auto` probes a CPU (`probe`: name -> seconds a step)."""
    if asked != "auto":
        return {"name": asked, "reason": "asked for", "probe_s": None}
    if device.type == "cuda":
        name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return {"name": name, "reason": "auto: bf16 where the GPU has it, else fp16", "probe_s": None}
    probe_s = probe()
    name = min(probe_s, key=lambda key: probe_s[key])
    return {"name": name, "reason": f"auto: fastest of {PROBE_STEPS - 1} eager steps each", "probe_s": probe_s}


def probe_step_s(step: Callable[[], None]) -> dict[str, float]:
    """The fastest of a few eager steps on the CPU under fp32 and under bf16 autocast, the first left out; seconds."""
    fastest = {}
    for name in ("fp32", "bf16"):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "bf16"):
            fastest[name] = min([_seconds(step) for _ in range(PROBE_STEPS)][1:])
    return fastest


def _seconds(step: Callable[[], None]) -> float:
    start_s = time.monotonic()
    step()
    return time.monotonic() - start_s
