"""METHOD names code and tests that exist; documents have lines that can be read."""

import re
from pathlib import Path

import pytest

from tests.architecture.reading import ROOT

METHOD = ROOT / "docs" / "METHOD.md"
MAX_COLUMNS = 100
GENERATED = ("docs/sample/report.md", "docs/results/*/report.md")  # written by headstart
CODE = re.compile(r"`([^`\n]+)`")
# `judge/verdict.py`, `judge/verdict.py: decide` or `test_verdict.py`.
SOURCE = re.compile(r"((?:\w+/)*\w+\.py)(?:: (\w[\w.]*))?")
ROOMS = ("bench", "kernels", "launch", "tests")


def documents() -> list[str]:
    """Every document that people write, by its path below the root."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("kernels/**/*.md")]
    names = [path.relative_to(ROOT) for path in paths]
    return sorted(str(name) for name in names if not is_generated(name))


def is_generated(document: Path) -> bool:
    return any(document.match(pattern) for pattern in GENERATED)


def missing_sources(text: str) -> list[str]:
    """Python files, and functions in them, that are named in code and do not exist."""
    missing = []
    for code in CODE.findall(text):
        match = SOURCE.fullmatch(code)
        if match is not None and not is_source(match[1], match[2]):
            missing.append(code)
    return missing


def is_source(file: str, name: str | None) -> bool:
    """Whether one of the checkout's files of that name has what is named."""
    for room in ROOMS:
        for path in (ROOT / room).rglob(Path(file).name):
            if str(path).endswith(f"/{file}") and has_name(path, name):
                return True
    return False


def has_name(path: Path, name: str | None) -> bool:
    """Whether a file defines a name, such as `decide` or `NetworkFacts.train_flops`."""
    if name is None:
        return True
    last = re.escape(name.split(".")[-1])
    return (
        re.search(rf"^\s*(?:def {last}\b|{last}[:\s])", path.read_text(), re.MULTILINE) is not None
    )


def long_lines(text: str) -> list[str]:
    """Lines that are too long, but for rows of tables and pictures."""
    lines = [line for line in text.splitlines() if len(line) > MAX_COLUMNS]
    return [line for line in lines if not line.startswith(("|", "!["))]


def test_method_names_code_and_tests_that_exist():
    text = METHOD.read_text()
    assert missing_sources(text) == []
    assert len(SOURCE.findall(text)) > 30  # so that there is something to look for


@pytest.mark.parametrize("document", documents())
def test_lines_can_be_read(document):
    assert long_lines((ROOT / document).read_text()) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`judge/verdicts.py`", ["judge/verdicts.py"]),
        ("`judge/verdict.py: dceide`", ["judge/verdict.py: dceide"]),
        ("`judge/verdict.py: HARMLESS_KEYS`", []),
        ("`ledger/records.py: NetworkFacts.train_flops`", []),
        ("`judge/verdict.py: decide` and `test_verdict.py`", []),
    ],
)
def test_code_that_is_not_there_is_reported(text, missing):
    assert missing_sources(text) == missing


def test_a_long_line_is_reported():
    row = "| " + "x" * 100
    assert long_lines(f"short\n{'x' * 101}\n{row}") == ["x" * 101]
