"""Reads the project's files and the imports in them. Knows no rule; the rules stand in the tests beside it."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "kernels")
# Made by runs, below the root.
_MADE = {"runs", "wandb"}
_SHOWN = {".ci", ".github"}
_PLUG_IN = re.compile(r"(?:bench|kernels)(?:\.\w+)+:\w+")


class Import(NamedTuple):
    """One import: by whom, of what (dotted, with the imported name last), on which line, and whether inside a function."""

    by: str
    of: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.by}:{self.line} imports {self.of}"


def files(*suffixes: str) -> list[Path]:
    """The project's own files with one of these endings (a whole name counts as one), below ROOT, sorted."""
    found = []
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if _is_ours(Path(folder, name))]
        found += [Path(folder, name) for name in names if name.endswith(suffixes)]
    return sorted(found)


def _is_ours(folder: Path) -> bool:
    hidden = folder.name.startswith(".") and folder.name not in _SHOWN
    by_tools = (
        folder.name == "__pycache__"
        or folder.name.endswith(".egg-info")
        or (folder / "pyvenv.cfg").exists()
    )
    made = by_tools or folder in {ROOT / name for name in _MADE}
    return not hidden and not made


def modules() -> dict[str, str]:
    """Dotted name to source, for every module of bench and kernels."""
    found = {}
    for path in files(".py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] in PACKAGES:
            found[".".join(parts).removesuffix(".__init__")] = path.read_text()
    return found


def imports(source: str, module: str, *, plug_ins: bool = True) -> list[Import]:
    """Every import in a source: statements, also inside functions; `import_module("x")`; and "bench.x:y" strings.

    `from a.b import c` counts as `a.b.c`, since c may be a module. A relative import keeps its dots.
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


def all_imports() -> list[Import]:
    """Every import of bench and kernels. The plug-in table in bench.registry names modules of all floors; it is left out."""
    return [
        found
        for module, source in modules().items()
        for found in imports(source, module, plug_ins=module != "bench.registry")
    ]
