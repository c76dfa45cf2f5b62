"""Imports go down only, and what must start at once imports no torch."""

import subprocess
import sys
from collections.abc import Iterable

import pytest

from tests.architecture.reading import (
    PACKAGES,
    ROOMS,
    ROOT,
    Import,
    imports,
    imports_of,
    modules,
)

FLOORS = {
    "launch": 9,
    "bench.__main__": 9,
    "bench.cli": 8,
    "bench.verbs": 7,
    "bench.experiment": 6,
    "bench.training": 5,
    "bench.data": 4,
    "bench.models": 4,
    "bench.trackers": 4,
    "bench.runtime": 3,
    "bench.report": 3,
    "bench.judge": 2,
    "bench.ledger": 1,
    "bench.config": 1,
    "bench.files": 0,
    "bench.locks": 0,
    "bench.registry": 0,
    "kernels": 0,
}
# These, and all that they import when they are imported, run where no GPU stack is installed.
TORCH_FREE = (
    "bench.files",
    "bench.locks",
    "bench.registry",
    "bench.config",
    "bench.ledger",
    "bench.judge",
    "bench.report",
    "bench.trackers",
    "bench.models.counts",
    "bench.experiment.plan",
    "bench.experiment.cost",
    "bench.experiment.plan_text",
    "bench.experiment.prepare",
    "bench.cli",
    "bench.verbs",
    "bench.__main__",
    "launch",
)
GPU_STACK = {"torch", "torchvision", "timm", "accelerate", "triton", "nvidia"}


def part(name: str) -> str:
    """The room that a dotted name lies in: `bench.x`, `kernels` or `launch`."""
    root, *rest = name.split(".")
    return f"{root}.{rest[0]}" if root == "bench" and rest else root


def breach(statement: Import) -> str | None:
    """What is wrong with one import, or None."""
    here = part(statement.by)
    there = part(statement.of)
    if statement.of.startswith("."):
        return f"{statement}: write the whole name"
    if statement.of.split(".")[0] not in PACKAGES or here == there:
        return None
    for room in (here, there):
        if room not in FLOORS:
            return f"{statement}: {room} has no floor; allowed: {', '.join(FLOORS)}"
    if FLOORS[there] >= FLOORS[here]:
        return f"{statement}: floor {FLOORS[here]} may not see floor {FLOORS[there]}"
    return None


def breaches(statements: Iterable[Import]) -> list[str]:
    """What is wrong with imports, a line each."""
    lines = [breach(statement) for statement in statements]
    return [line for line in lines if line is not None]


def torch_paths(sources: dict[str, str], starts: tuple[str, ...]) -> list[str]:
    """One line for each import of the GPU stack, from a start module to where it is.

    In a start module itself a lazy one counts too.
    """
    rooms = tuple(f"{start}." for start in starts)
    starting = {name for name in sources if f"{name}.".startswith(rooms)}
    paths = {name: name for name in starting}
    waiting = sorted(starting)
    lines = []
    while waiting:
        name = waiting.pop()
        for statement in imports(sources[name], name, plug_ins=False):
            is_run = not statement.lazy
            if statement.of.split(".")[0] in GPU_STACK and (is_run or name in starting):
                lines.append(f"{paths[name]} -> {statement.of} (line {statement.line})")
            if not is_run:
                continue
            for module in _run_by(sources, statement.of):
                if module not in paths:
                    paths[module] = f"{paths[name]} -> {module}"
                    waiting.append(module)
    return lines


def _run_by(sources: dict[str, str], name: str) -> list[str]:
    """The modules that importing a dotted name runs: the packages above it, and itself."""
    parts = name.split(".")
    packages = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return [package for package in packages if package in sources]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down_only(room: str):
    assert breaches(imports_of(room)) == []


def test_every_room_has_a_floor():
    rooms = {part(name) for name in modules() if name not in PACKAGES}
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("start", TORCH_FREE)
def test_torch_free_modules_reach_no_torch(start: str):
    assert torch_paths(modules(), (start,)) == []


@pytest.mark.parametrize("start", [start for start in TORCH_FREE if start != "bench.__main__"])
def test_torch_free_modules_import_without_the_gpu_stack(start: str):
    names = [name for name in modules() if name == start or name.startswith(start + ".")]
    assert names
    absent = [(library, None) for library in sorted(GPU_STACK)]
    code = (
        f"import sys, importlib\nsys.modules.update({absent})\n"
        f"for name in {names}: importlib.import_module(name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("kernels.pad.op", "import bench"),
        ("kernels.pad.op", "from bench import registry"),
        ("kernels.pad.op", "from bench import files"),
        ("bench.files", "from bench import registry"),
        ("bench.config.load", "from bench.ledger import events"),
        ("bench.ledger.fold", "import bench.config.schema"),
        ("bench.ledger.fold", "from bench.judge import clocks"),
        ("bench.judge.verify", "from bench.report.pages import write_report"),
        ("bench.report.pages", "from bench.runtime import environment"),
        ("bench.runtime.environment", "from bench.report import words"),
        ("bench.models.weights", "from bench.data import cache"),
        ("bench.registry", "from bench.config import load"),
        ("bench.data.dali", "def load():\n    from bench.models import weights"),
        (
            "bench.models.stem",
            "import importlib\nimportlib.import_module('bench.trackers.console')",
        ),
        ("bench.trackers.console", "ENTRY = 'bench.data.dali:DaliLoader'"),
        ("bench.runtime.phases", "from ..training import loop"),
        ("bench.experiment.plan", "from bench.cli import main"),
        ("bench.training.loop", "from bench import experiment"),
        ("bench.training.loop", "from bench.helpers import everything"),
        ("bench.cli", "from launch import gpu_day"),
    ],
)
def test_a_breach_of_floors_is_reported(module: str, source: str):
    assert breaches(imports(source, module)) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "bench.config.load",
            "from bench import registry\nfrom bench.config.schema import ExperimentConfig",
        ),
        (
            "bench.trackers.console",
            "from bench.trackers import Tracker\nfrom bench.ledger.events import Event",
        ),
        ("bench.data.dali", "from kernels.pad import pad\nimport torch"),
        ("bench.judge.study", "from bench.config import load\nfrom bench.ledger import fold"),
        ("bench.report.pages", "from bench.judge.records import Report"),
        ("bench.runtime.compute", "from kernels.compiling import give_own_code"),
        ("bench.data.cache", "from bench.files import sha256_of"),
        ("bench.trackers.wandb", "from bench.report.words import accuracy_label"),
        ("bench.cli", "def main():\n    from bench.experiment import suite"),
    ],
)
def test_imports_down_the_floors_are_let_be(module: str, source: str):
    assert breaches(imports(source, module)) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"bench.models.counts": "import torch"},
        {"bench.models.counts": "def count():\n    import torch.nn"},
        {
            "bench.models.counts": "",
            "bench.models": "",
            "bench.cli": "from bench.models import weights",
            "bench.models.weights": "import timm",
        },
        {"bench.config.load": "from bench.config import deep", "bench.config": "import torch"},
    ],
)
def test_a_way_to_torch_is_reported(sources: dict[str, str]):
    assert torch_paths(sources, TORCH_FREE)
