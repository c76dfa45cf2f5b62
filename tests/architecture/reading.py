"""Reads the project's files and the imports in them, by room.

Knows no rule; the rules stand beside it.
"""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "kernels", "launch")
# Made by runs, below the root.
_MADE = {"runs", "wandb"}
_SHOWN = {".ci", ".github"}
# A room to the paths that it lies at, below the root. A room is red on its own account alone.
ROOMS = {
    "ledger": ("bench/ledger/",),
    "judge": ("bench/judge/",),
    "report": ("bench/report/",),
    "config": ("bench/config/",),
    "runtime": ("bench/runtime/",),
    "data": ("bench/data/",),
    "models": ("bench/models/",),
    "trackers": ("bench/trackers/",),
    "training": ("bench/training/",),
    "experiment": ("bench/experiment/",),
    "cli, registry, files": (
        "bench/__init__.py",
        "bench/__main__.py",
        "bench/cli.py",
        "bench/verbs.py",
        "bench/registry.py",
        "bench/files.py",
        "bench/locks.py",
    ),
    "kernels": ("kernels/",),
    "launch": ("launch/",),
}
_PLUG_IN = re.compile(r"(?:bench|kernels)(?:\.\w+)+:\w+")


class Import(NamedTuple):
    """One import: by whom, of what (the imported name last), where, and if inside a function."""

    by: str
    of: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.by}:{self.line} imports {self.of}"


def files(*suffixes: str) -> list[Path]:
    """List the project's files with one of these endings, sorted; a file's full name is one too."""
    paths = []
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if _is_ours(Path(folder, name))]
        paths += [Path(folder, name) for name in names if name.endswith(suffixes)]
    return sorted(paths)


def room_of(path: str) -> str | None:
    """Return the room that a path below the root lies in; None for what is no product code."""
    for room, places in ROOMS.items():
        if path.startswith(places):
            return room
    return None


def sources(room: str, suffix: str = ".py") -> dict[str, str]:
    """Return path to text for a room's files with an ending."""
    texts = {}
    for file in files(suffix):
        path = file.relative_to(ROOT).as_posix()
        if room_of(path) == room:
            texts[path] = file.read_text()
    return texts


def _is_ours(folder: Path) -> bool:
    hidden = folder.name.startswith(".") and folder.name not in _SHOWN
    by_tools = (
        folder.name == "__pycache__"
        or folder.name.endswith(".egg-info")
        or (folder / "pyvenv.cfg").exists()
    )
    by_us = folder in {ROOT / name for name in _MADE}
    return not (hidden or by_tools or by_us)


def module_name(path: str) -> str:
    """Return the dotted name of a Python file below the root."""
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def modules() -> dict[str, str]:
    """Dotted name to source, for every module of the product."""
    sources_by_name = {}
    for room in ROOMS:
        for path, source in sources(room).items():
            sources_by_name[module_name(path)] = source
    return sources_by_name


def imports(source: str, module: str, *, plug_ins: bool = True) -> list[Import]:
    """Every import in a source: statements, `import_module("x")`, and "bench.x:y" strings.

    Those inside functions too. `from a.b import c` counts as `a.b.c`, since c may be a module. A
    relative import keeps its dots.
    """
    tree = ast.parse(source)
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(outer)
    }
    return [
        Import(module, name, node.lineno, id(node) in lazy)
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt | ast.expr)
        for name in _names(node, plug_ins)
    ]


def _names(node: ast.AST, plug_ins: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = "." * node.level + (f"{node.module}." if node.module else "")
        yield from (base + alias.name for alias in node.names)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = getattr(node.func, "attr", getattr(node.func, "id", None))
        if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            yield node.args[0].value
    elif (
        plug_ins
        and isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _PLUG_IN.fullmatch(node.value)
    ):
        yield node.value.replace(":", ".")


def imports_of(room: str) -> list[Import]:
    """List every import of a room.

    The plug-in table in bench.registry names modules of all floors; it is left out.
    """
    room_imports = []
    for path, source in sources(room).items():
        module = module_name(path)
        room_imports += imports(source, module, plug_ins=module != "bench.registry")
    return room_imports
