"""How steps are computed: in a precision as asked or chosen by a recorded rule, and compiled, which has its one owner here.

Compiling is always fullgraph, with static shapes, its seconds counted, and proof that none fall on the clock.
"""

import logging
import os
import shutil
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch._dynamo.utils import counters

from kernels.compiling import give_own_code

PROBE_STEPS = 8


def resolve(
    asked: str, device: torch.device, probe: Callable[[], dict[str, float]]
) -> dict[str, Any]:
    """Name and reason of the precision, for the record. `auto` probes a CPU (`probe`: name -> seconds a step)."""
    if asked != "auto":
        return {"name": asked, "reason": "asked for", "probe_s": None}
    if device.type == "cuda":
        name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return {
            "name": name,
            "reason": "auto: bf16 where the GPU has it, else fp16",
            "probe_s": None,
        }
    probe_s = probe()
    fastest = min(probe_s, key=probe_s.__getitem__)
    return {
        "name": fastest,
        "reason": f"auto: fastest of {PROBE_STEPS - 1} eager steps each",
        "probe_s": probe_s,
    }


def probe_step_s(step: Callable[[], None]) -> dict[str, float]:
    """The fastest of a few eager steps on the CPU under fp32 and under bf16 autocast, the first left out; seconds."""
    fastest = {}
    for name in ("fp32", "bf16"):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "bf16"):
            fastest[name] = min(
                timeit.repeat(step, timer=time.monotonic, number=1, repeat=PROBE_STEPS)[1:]
            )
    return fastest


def check_compiler(device: torch.device) -> None:
    """Raise ValueError when torch.compile would find no compiler: C++ for a CPU, C for Triton's launcher on a GPU."""
    candidates = (
        [os.environ.get("CXX", "g++")]
        if device.type == "cpu"
        else [os.environ.get("CC", "gcc"), "clang"]
    )
    if not any(shutil.which(name) for name in candidates):
        raise ValueError(
            f"compile.enabled: torch.compile needs a compiler and {' or '.join(candidates)} is not on PATH; "
            "install it (apt-get install g++) or set --compile.enabled=false"
        )


def compile_module(module: nn.Module, mode: str) -> None:
    """Compile the module's calls in place. A graph break is an error, another shape a recompile.

    A process may compile any number of modules.
    """
    if not torch.cuda.is_available():
        # Inductor looks for CUDA's headers even for a CPU; torch warns where it finds them.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    give_own_code(module)
    torch_mode = None if mode == "default" else mode
    module.compile(fullgraph=True, dynamic=False, mode=torch_mode)


def no_recompile(enabled: bool) -> AbstractContextManager[Any]:
    """Make any compilation inside an error: the proof that nothing is compiled on the clock."""
    return torch.compiler.set_stance("fail_on_recompile") if enabled else nullcontext()


@contextmanager
def compile_record(synchronize: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """Fill a record with the seconds spent inside (compile and kernel warm-up), graphs made and cache hits."""
    record: dict[str, Any] = {}
    before, start_s = _counts(), time.monotonic()
    yield record
    synchronize()
    record |= {"compile_s": time.monotonic() - start_s} | {
        name: count - before[name] for name, count in _counts().items()
    }


def _counts() -> dict[str, int]:
    inductor = counters["inductor"]
    found = (
        counters["stats"]["unique_graphs"],
        inductor["fxgraph_cache_hit"],
        inductor["fxgraph_cache_miss"],
    )
    return dict(zip(("graphs", "cache_hits", "cache_misses"), found, strict=True))
