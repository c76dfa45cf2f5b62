"""How many verbs and dependencies there are, and what is locked."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.reading import ROOT

MAX_VERBS = 9
MAX_DEPENDENCIES = 20
LOCK_LINE = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+")


def lock_breaches(project: dict, lock: str) -> Iterator[str]:
    """What pyproject.toml's [project] and a lock disagree about, and lines that lock nothing."""
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    yield from (f"no name==version: {line!r}" for line in lines if not LOCK_LINE.fullmatch(line))
    locked = {}
    for line in lines:
        name, _, version = line.partition("==")
        locked[canonicalize_name(name)] = version
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
    text = (
        "positional arguments:\n  VERB\n    run       run an experiment\n    sync\n\n"
        "options:\n  -h, --help  show this\n"
    )
    assert verbs(text) == ["run", "sync"]
