"""The precision is as asked for, or the faster of two. Compiling breaks no graph, and never
happens where it is forbidden.
"""

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._dynamo.exc import Unsupported
from torch._dynamo.utils import counters

from bench.ledger.records import PrecisionFacts
from bench.runtime import compute
from bench.runtime.compute import (
    PROBE_STEPS,
    CompileMeter,
    check_compiler,
    compile_module,
    no_recompile,
    probe_step_s,
    resolve_precision,
)
from kernels.compiling import give_own_code

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def put_on_path(folder, monkeypatch, *names: str) -> None:
    """A PATH of one folder with these programs."""
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    for variable in ("CXX", "CC"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("device", "missing"), [(CPU, r"g\+\+ is not on PATH"), (GPU, "gcc or clang is not on PATH")]
)
def test_without_a_compiler_the_error_names_it(tmp_path, monkeypatch, device, missing):
    put_on_path(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=rf"compile.enabled.*{missing}.*--compile.enabled=false"):
        check_compiler(device)


@pytest.mark.parametrize(("device", "compiler"), [(CPU, "g++"), (GPU, "gcc"), (GPU, "clang")])
def test_a_compiler_on_path_is_enough(tmp_path, monkeypatch, device, compiler):
    put_on_path(tmp_path, monkeypatch, compiler)
    check_compiler(device)


def test_a_c_compiler_is_none_for_a_cpu(tmp_path, monkeypatch):
    put_on_path(tmp_path, monkeypatch, "gcc", "clang")
    with pytest.raises(ValueError, match=r"g\+\+"):
        check_compiler(CPU)


def test_cxx_names_another_compiler(tmp_path, monkeypatch):
    put_on_path(tmp_path, monkeypatch, "g++", "c++-20")
    monkeypatch.setenv("CXX", "c++-20")
    check_compiler(CPU)
    monkeypatch.setenv("CXX", "c++-21")
    with pytest.raises(ValueError, match=r"c\+\+-21 is not on PATH"):
        check_compiler(CPU)


@torch.no_grad()
def test_another_shape_is_refused_inside_the_guard():
    module = nn.Linear(4, 4)  # a library call, so inductor writes no C++
    compile_module(module, "default")
    images = torch.randn(2, 4)
    expected = nn.functional.linear(images, module.weight, module.bias)
    assert torch.allclose(module(images), expected, atol=1e-6)
    with no_recompile(True):
        module(images)
        with pytest.raises(RuntimeError, match="recompile"):
            module(torch.randn(3, 4))
    assert module(torch.randn(3, 4)).shape == (3, 4)


@torch.no_grad()
def test_the_first_compilation_is_refused_too():
    module = nn.Linear(4, 4)
    compile_module(module, "default")
    with no_recompile(True), pytest.raises(RuntimeError, match="recompile"):
        module(torch.randn(2, 4))


@torch.no_grad()
def test_without_compiling_the_guard_does_nothing():
    module = nn.Linear(4, 4)
    compile_module(module, "default")
    with no_recompile(False):
        assert module(torch.randn(5, 4)).shape == (5, 4)


class Broken(nn.Module):
    """Something in the middle of its forward pass that no graph can hold."""

    def forward(self, images):
        torch._dynamo.graph_break()
        return images + 1


def test_a_graph_break_is_an_error():
    module = Broken()
    compile_module(module, "default")
    with pytest.raises(Unsupported, match="graph_break"):
        module(torch.randn(2))


@pytest.fixture
def without_inductor(monkeypatch):
    """Graphs are caught and guarded as ever, then run by the interpreter."""
    plain = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda *args, mode, **named: plain(*args, **named, backend="eager")
    )


@torch.no_grad()
@pytest.mark.usefixtures("without_inductor")
def test_every_shape_has_a_graph_of_its_own():
    module = nn.Linear(4, 4)
    before = counters["stats"]["unique_graphs"]
    compile_module(module, "default")
    for rows in (2, 3, 5, 3):
        module(torch.randn(rows, 4))
    assert counters["stats"]["unique_graphs"] == before + 3


@torch.no_grad()
@pytest.mark.usefixtures("without_inductor")
def test_a_process_may_compile_any_number_of_networks():
    """Dynamo gives up at eight recompiles of one code object, and all modules share theirs."""
    modules = [nn.Linear(4, 1 + width) for width in range(10)]
    for width, module in enumerate(modules):
        compile_module(module, "default")
        assert module(torch.randn(2, 4)).shape == (2, 1 + width)
    with no_recompile(True):
        for module in modules:
            module(torch.randn(2, 4))


@torch.no_grad()
def test_a_record_counts_the_graphs_and_seconds_inside(monkeypatch):
    waits = []
    now_s = [5.0]
    monkeypatch.setattr(compute, "time", SimpleNamespace(monotonic=lambda: now_s[0]))

    def synchronize() -> None:
        waits.append(True)
        now_s[0] += 0.5

    first = nn.Linear(4, 4)
    second = nn.Linear(4, 5)
    for module in (first, second):
        give_own_code(module)
        module.compile(backend="eager", dynamic=False)
    first(torch.randn(2, 4))
    with CompileMeter(synchronize) as meter:
        first(torch.randn(2, 4))
        second(torch.randn(2, 4))
        now_s[0] += 1.0
        assert not waits
    assert meter.compile_s == 1.5
    assert (meter.graphs, meter.cache_hits, meter.cache_misses) == (1, 0, 0)
    assert len(waits) == 1


def never() -> dict[str, float]:
    raise AssertionError("probed")


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_an_explicit_precision_is_not_probed(name, device):
    assert resolve_precision(name, device, never) == PrecisionFacts(name=name, reason="asked for")


@pytest.mark.parametrize("probe_s", [{"fp32": 0.2, "bf16": 0.1}, {"fp32": 0.1, "bf16": 0.2}])
def test_auto_on_a_cpu_takes_the_faster_and_records_both(probe_s):
    facts = resolve_precision("auto", CPU, lambda: dict(probe_s))
    assert facts.name == min(probe_s, key=probe_s.get)
    assert facts.probe_s == probe_s
    assert f"{PROBE_STEPS - 1} eager steps" in facts.reason


@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_a_gpu_asks_the_gpu(monkeypatch, has_bf16, name):
    emulated = {True: True, False: has_bf16}
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: emulated[including_emulation],
    )
    facts = resolve_precision("auto", GPU, never)
    assert (facts.name, facts.probe_s) == (name, None)


def test_the_probe_takes_the_fastest_step_under_each_precision_but_never_the_first(monkeypatch):
    """Step durations by precision, the first one the shortest; each step says in which precision
    it ran.
    """
    falling = [float(duration) for duration in range(PROBE_STEPS, 1, -1)]
    durations_s = {
        torch.float32: iter([0.25, *falling]),
        torch.bfloat16: iter([0.5, *(3 + s for s in falling)]),
    }
    now_s = [100.0]
    ran_in = []

    def step() -> None:
        dtype = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        ran_in.append(dtype)
        now_s[0] += next(durations_s[dtype])

    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    assert probe_step_s(step) == {"fp32": 2.0, "bf16": 5.0}
    assert ran_in == [torch.float32] * PROBE_STEPS + [torch.bfloat16] * PROBE_STEPS
