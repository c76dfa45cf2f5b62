"""How long a file and a function may be, how many verbs and dependencies there are, and what is locked."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.reading import ROOT, files

MAX_VERBS = 9
MAX_DEPENDENCIES = 20
MAX_FILE_LINES = 350
MAX_TEST_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_KERNEL_LINES = 120
LOCK_LINE = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+")


def is_test(path: Path) -> bool:
    """Whether a file counts as a test; a relative path."""
    return path.parts[0] == "tests"


def style_breaches(source: str, path: Path) -> Iterator[str]:
    """What is too long or has no docstring in one Python file; `path` is relative."""
    lines, limit = source.count("\n"), MAX_TEST_FILE_LINES if is_test(path) else MAX_FILE_LINES
    if lines > limit:
        yield f"{path}: {lines} lines; at most {limit}"
    tree = ast.parse(source)
    if not ast.get_docstring(tree):
        yield f"{path}: no module docstring"
    allowed = MAX_KERNEL_LINES if path.parts[0] == "kernels" else MAX_FUNCTION_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            if length > allowed:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines; at most {allowed}"


def lock_breaches(project: dict, lock: str) -> Iterator[str]:
    """What pyproject.toml's [project] and a lock disagree about, and lines that are no `name==version`."""
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    yield from (f"no name==version: {line!r}" for line in lines if not LOCK_LINE.fullmatch(line))
    locked = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines)
    }
    if len(locked) != len(lines):
        yield "a package is locked twice"
    for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = Requirement(line)
        version = locked.get(canonicalize_name(wanted.name))
        if version is None:
            yield f"{wanted.name} is not locked; make lock"
        elif not wanted.specifier.contains(version, prereleases=True):
            yield f"{line} but {version} is locked; make lock"


def verbs(help_text: str) -> list[str]:
    """The verbs that argparse lists: indented by four, each before its help."""
    return re.findall(r"^ {4}([a-z][a-z-]*)(?=\s{2,}|$)", help_text, re.MULTILINE)


def pyproject() -> dict:
    """pyproject.toml's [project]."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def code() -> dict[Path, str]:
    """Relative path to source, for every Python file of the project."""
    return {path.relative_to(ROOT): path.read_text() for path in files(".py")}


def test_files_functions_and_docstrings():
    assert [line for path, source in code().items() for line in style_breaches(source, path)] == []


def test_verbs_and_that_help_needs_the_standard_library_alone():
    done = subprocess.run(
        [sys.executable, "-S", "-m", "bench", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "run" in verbs(done.stdout), done.stdout
    assert len(verbs(done.stdout)) <= MAX_VERBS


def test_direct_dependencies():
    assert len(pyproject()["dependencies"]) <= MAX_DEPENDENCIES


def test_lock_holds_what_pyproject_asks_for():
    assert list(lock_breaches(pyproject(), (ROOT / "requirements.lock").read_text())) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("bench/long.py", '"""Long."""\n' + "x = 1\n" * 350),
        ("tests/unit/test_long.py", '"""Long."""\n' + "x = 1\n" * 400),
        ("bench/bare.py", "x = 1\n"),
        ("bench/__init__.py", ""),
        (
            "bench/deep.py",
            '"""Deep."""\nclass A:\n    async def f(self):\n' + "        x = 1\n" * 60,
        ),
        ("kernels/pad/kernel.py", '"""Deep."""\ndef f():\n' + "    x = 1\n" * 120),
    ],
)
def test_a_file_over_a_limit_is_reported(path: str, source: str):
    assert list(style_breaches(source, Path(path)))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("bench/full.py", '"""Full."""\n' + "x = 1\n" * 349),
        ("bench/deep.py", '"""Deep."""\ndef f():\n' + "    x = 1\n" * 59),
        ("kernels/pad/kernel.py", '"""Deep."""\ndef f():\n' + "    x = 1\n" * 119),
    ],
)
def test_a_file_at_a_limit_is_let_be(path: str, source: str):
    assert list(style_breaches(source, Path(path))) == []


@pytest.mark.parametrize(
    "lock",
    [
        "pyyaml==6.0.3\npytest==9.2.0\n",
        "torch==2.14.0\nPyYAML==6.0.3\npytest==9.2.0\n",
        "torch==2.14.1\nPyYAML==5.4\npytest==9.2.0\n",
        "torch==2.14.1\nPyYAML==6.0.3\n",
        "torch==2.14.1\nPyYAML>=6.0.3\npytest==9.2.0\n",
        "torch==2.14.1\ntorch==2.14.1\nPyYAML==6.0.3\npytest==9.2.0\n",
        "--index-url https://example.org\ntorch==2.14.1\nPyYAML==6.0.3\npytest==9.2.0\n",
        "torch==2.14.1 --hash=sha256:00\nPyYAML==6.0.3\npytest==9.2.0\n",
    ],
)
def test_a_wrong_lock_is_reported(lock: str):
    project = {
        "dependencies": ["torch==2.14.1", "pyyaml>=6"],
        "optional-dependencies": {"dev": ["pytest>=8.3"]},
    }
    assert list(lock_breaches(project, lock))


def test_verbs_are_read_from_help():
    text = "positional arguments:\n  VERB\n    run       run an experiment\n    sync\n\noptions:\n  -h, --help  show this\n"
    assert verbs(text) == ["run", "sync"]
