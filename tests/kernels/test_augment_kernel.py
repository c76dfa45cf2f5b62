"""The Triton kernel of `augment` without a GPU.

It is interpreted, and compiled for three generations of GPUs.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
import triton
from packaging.version import Version
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.augment.kernel import WARPS, augment_kernel, constants
from kernels.augment.reference import Recipe
from tests.architecture.reading import ROOT
from tests.kernels.augment_cases import CIFAR

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
ARCHITECTURES = [80, 90, 100]
PLAIN = {}
ALL_CHANGED = {"pad_mode": "zero", "flip": "alternating", "cutout": 12}
CASES = [
    pytest.param(32, PLAIN, id="32 px, plain"),
    pytest.param(32, ALL_CHANGED, id="32 px, all changed"),
    pytest.param(224, PLAIN, id="224 px, plain"),
    pytest.param(224, ALL_CHANGED, id="224 px, all changed"),
    pytest.param(1024, ALL_CHANGED, id="1024 px, all changed"),
]
TRITON = Version(triton.__version__).release[:2]
# 65,536 registers of a multiprocessor over 128 threads a program: 80 leave room for six programs,
# 128 for four.
MAX_REGISTERS = {32: 80, 224: 80, 1024: 128}


def compiled(size: int, dtype: torch.dtype, arch: int, *, seed="i64", epoch="i32", **changes):
    """The kernel for images of size x size, compiled as a launch on aligned tensors would.

    Seed and epoch are a type, or 1.
    """
    recipe = Recipe(**{**CIFAR, "dtype": dtype, **changes})
    constexprs = constants(size, size, recipe)
    types = [
        "*u8",
        "*i64",
        f"*{NAMES[dtype]}",
        seed,
        epoch,
        *["fp32"] * 6,
        *["constexpr"] * len(constexprs),
    ]
    signature = dict(zip(augment_kernel.arg_names, types, strict=True))
    ones = {name: 1 for name, kind in signature.items() if kind == 1}
    signature |= {name: "constexpr" for name in ones}
    aligned = {(place,): [["tt.divisibility", 16]] for place in range(3)}
    source = ASTSource(
        augment_kernel, signature=signature, constexprs=constexprs | ones, attrs=aligned
    )
    target = GPUTarget("cuda", arch, 32)
    kernel = triton.compile(source, target=target, options={"num_warps": WARPS})
    return kernel, constexprs


def resources(cubin: bytes, folder: Path) -> dict[str, int]:
    """REG, STACK, LOCAL and others, as cuobjdump counts them."""
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    done = subprocess.run(
        [CUOBJDUMP, "-res-usage", path], capture_output=True, text=True, check=True
    )
    return {name: int(count) for name, count in re.findall(r"(\w+):(\d+)", done.stdout)}


def test_interpreted():
    pytest_command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*pytest_command, "tests/kernels/interpreted.py"],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b66 passed", done.stdout), done.stdout


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(("size", "changes"), CASES)
def test_compiled(size, changes, arch, tmp_path):
    """It compiles, keeps what it computes in registers, and rounds to the nearest, ties to even."""
    for dtype, name in NAMES.items():
        kernel, _ = compiled(size, dtype, arch, **changes)
        counts = resources(kernel.asm["cubin"], tmp_path)
        assert (counts["STACK"], counts["LOCAL"]) == (0, 0), "spilled"
        assert not re.findall(r"\b(?:fma|div|rem)\.[\w.]*", kernel.asm["ptx"])
        assert f"cvt.rn.{name.replace('fp', 'f')}" in kernel.asm["ptx"]


@pytest.mark.skipif(TRITON != (3, 8), reason="it was tuned with Triton 3.8")
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(("size", "changes"), CASES)
def test_the_code_is_as_small_as_it_was_when_it_was_tuned(size, changes, arch, tmp_path):
    """Few registers, no shared memory; bytes are read one by one and written 16 at a time."""
    for dtype in NAMES:
        kernel, constexprs = compiled(size, dtype, arch, **changes)
        counts = resources(kernel.asm["cubin"], tmp_path)
        assert counts["REG"] <= MAX_REGISTERS[size], counts
        assert kernel.metadata.shared == 0
        elements = constexprs["ROWS"] * constexprs["LINE"] // (WARPS * 32)  # of one thread
        ptx = kernel.asm["ptx"]
        # A crop is aligned to nothing, so its bytes cannot be read together.
        assert Counter(re.findall(r"(?:ld|st)\.global[.\w]*", ptx)) == {
            "ld.global.b64": 1,
            "ld.global.b8": elements,
            "st.global.v4.b32": elements * dtype.itemsize // 16,
        }
        assert not re.findall(r"\b(?:bar|shfl)\.[\w.]*", ptx)


@pytest.mark.parametrize(("seed", "epoch"), [("i32", "i32"), ("i64", "i64"), (1, 1)])
def test_compiled_for_what_else_a_launch_may_pass(seed, epoch):
    """Small seeds are i32. Inside another's compile a symbolic epoch is i64, and 1 a constant."""
    kernel, _ = compiled(32, torch.float32, 90, seed=seed, epoch=epoch, flip="alternating")
    assert "st.global.v4.b32" in kernel.asm["ptx"]
