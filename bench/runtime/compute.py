"""How steps are computed: in a precision that is asked for or chosen by a recorded rule, and
compiled.

Compiling has its one owner here: always fullgraph, with static shapes, its seconds counted, and
proof that none fall on the clock.
"""

import logging
import os
import shutil
import time
import timeit
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import NamedTuple

import torch
from torch import nn
from torch._dynamo.utils import counters

from bench.ledger.records import PrecisionFacts
from kernels.compiling import give_own_code

PROBE_STEPS = 8


def resolve_precision(
    name: str, device: torch.device, probe: Callable[[], Mapping[str, float]]
) -> PrecisionFacts:
    """Say which precision is computed in, and why.

    `auto` asks a GPU what it has, and times steps on a CPU: `probe` gives seconds a step by
    precision.
    """
    if name != "auto":
        return PrecisionFacts(name=name, reason="asked for")
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return PrecisionFacts(
            name="bf16" if has_bf16 else "fp16",
            reason="auto: bf16 where the GPU has it, else fp16",
        )
    probe_s = probe()
    return PrecisionFacts(
        name=min(probe_s, key=probe_s.__getitem__),
        reason=f"auto: fastest of {PROBE_STEPS - 1} eager steps each",
        probe_s=probe_s,
    )


def probe_step_s(step: Callable[[], None]) -> dict[str, float]:
    """Return the seconds of the fastest of a few eager CPU steps in fp32 and under bf16 autocast.

    The first step of each is left out.
    """
    fastest_s = {}
    for name in ("fp32", "bf16"):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "bf16"):
            steps_s = timeit.repeat(step, timer=time.monotonic, number=1, repeat=PROBE_STEPS)
        fastest_s[name] = min(steps_s[1:])
    return fastest_s


def check_compiler(device: torch.device) -> None:
    """Raise ValueError when torch.compile would find no compiler.

    It needs one of C++ for a CPU, and one of C for Triton's launcher on a GPU.
    """
    candidates = [os.environ.get("CC", "gcc"), "clang"]
    if device.type == "cpu":
        candidates = [os.environ.get("CXX", "g++")]
    if not any(shutil.which(name) for name in candidates):
        raise ValueError(
            "compile.enabled: torch.compile needs a compiler and "
            f"{' or '.join(candidates)} is not on PATH; "
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


def no_recompile(enabled: bool) -> AbstractContextManager[object]:
    """Make any compilation inside an error: the proof that nothing is compiled on the clock."""
    if not enabled:
        return nullcontext()
    return torch.compiler.set_stance("fail_on_recompile")


class CompileCounts(NamedTuple):
    """What torch.compile has done in this process so far."""

    graphs: int
    cache_hits: int
    cache_misses: int


def compile_counts() -> CompileCounts:
    """Read torch's own counters."""
    return CompileCounts(
        graphs=counters["stats"]["unique_graphs"],
        cache_hits=counters["inductor"]["fxgraph_cache_hit"],
        cache_misses=counters["inductor"]["fxgraph_cache_miss"],
    )


class CompileMeter:
    """Counts the seconds spent inside (compiling and kernel warm-up), graphs made and cache hits.

    Its fields are right after the `with` block, at whose end the device is waited for.
    """

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self._synchronize = synchronize
        self.compile_s = 0.0
        self.graphs = 0
        self.cache_hits = 0
        self.cache_misses = 0

    def __enter__(self) -> "CompileMeter":
        """Begin to count."""
        self._counts_before = compile_counts()
        self._start_s = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, once the device has done what was asked of it."""
        self._synchronize()
        self.compile_s = time.monotonic() - self._start_s
        counts = compile_counts()
        self.graphs = counts.graphs - self._counts_before.graphs
        self.cache_hits = counts.cache_hits - self._counts_before.cache_hits
        self.cache_misses = counts.cache_misses - self._counts_before.cache_misses
