"""METHOD names code and tests that exist; documents have lines that can be read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.reading import ROOT

METHOD = ROOT / "docs" / "METHOD.md"
MAX_COLUMNS = 100
GENERATED = ("docs/sample/report.md", "docs/results/*/report.md")  # written by headstart
CODE = re.compile(r"`([^`]+)`")  # a span may go on in the next line
# `judge/verdict.py`, `judge/verdict.py: decide` or `test_verdict.py`.
SOURCE = re.compile(r"((?:\w+/)*\w+\.py)(?:: (\w[\w.]*))?")
PLACE = re.compile(r"(\w+)/[\w./-]*")  # `configs/pretraining.yaml`
ROOMS = ("bench", "kernels", "launch", "tests")


def documents() -> list[str]:
    """Every document that people write, by its path below the root."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("kernels/**/*.md")]
    names = [path.relative_to(ROOT) for path in paths]
    return sorted(str(name) for name in names if not is_generated(name))


def is_generated(document: Path) -> bool:
    return any(document.match(pattern) for pattern in GENERATED)


def code_spans(text: str) -> list[str]:
    """What stands in backticks, each on one line; a stray backtick spoils its paragraph alone."""
    spans = []
    for paragraph in text.split("\n\n"):
        spans += [" ".join(code.split()) for code in CODE.findall(paragraph)]
    return spans


def paragraphs_with_a_stray_backtick(text: str) -> list[str]:
    return [paragraph for paragraph in text.split("\n\n") if paragraph.count("`") % 2]


def missing_sources(text: str) -> list[str]:
    """Files, and names of code in them, that stand in backticks and do not exist."""
    return [code for code in code_spans(text) if not is_there(code)]


def is_there(code: str) -> bool:
    """Whether what stands in backticks exists, if it is a file of the checkout at all."""
    source = SOURCE.fullmatch(code)
    if source is not None:
        return is_source(source[1], source[2])
    place = PLACE.fullmatch(code)
    if place is not None and (ROOT / place[1]).is_dir():
        return (ROOT / code).exists()
    return True


def is_source(file: str, name: str | None) -> bool:
    """Whether one of the checkout's files of that name has what is named."""
    for room in ROOMS:
        for path in (ROOT / room).rglob(Path(file).name):
            if str(path).endswith(f"/{file}") and has_name(path, name):
                return True
    return False


def has_name(path: Path, name: str | None) -> bool:
    """Whether a file defines a name, such as `decide` or `NetworkFacts.train_flops`."""
    return name is None or name in defined_names(path.read_text())


def defined_names(source: str) -> set[str]:
    """Names that a module defines; what is in a class follows the class's name and a dot."""
    names: set[str] = set()
    for statement in ast.parse(source).body:
        names.update(bound_names(statement))
        if isinstance(statement, ast.ClassDef):
            for member in statement.body:
                names.update(f"{statement.name}.{name}" for name in bound_names(member))
    return names


def bound_names(statement: ast.stmt) -> Iterator[str]:
    """Names that a definition or an assignment binds."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                yield child.id


def long_lines(text: str) -> list[str]:
    """Lines that are too long, but for rows of tables and pictures."""
    lines = [line for line in text.splitlines() if len(line) > MAX_COLUMNS]
    return [line for line in lines if not line.startswith(("|", "!["))]


def test_method_names_code_and_tests_that_exist():
    text = METHOD.read_text()
    assert missing_sources(text) == []
    sources = [code for code in code_spans(text) if SOURCE.fullmatch(code)]
    assert len(sources) > 80  # so that there is something to look for


def test_every_backtick_of_method_has_its_other_one():
    assert paragraphs_with_a_stray_backtick(METHOD.read_text()) == []


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
        ("`ledger/records.py: RunStop.train_flops`", ["ledger/records.py: RunStop.train_flops"]),
        ("`judge/verdict.py: decide` and `test_verdict.py`", []),
        ("(`judge/times.py:\nsoonest`, `test_no.py`)", ["judge/times.py: soonest", "test_no.py"]),
        ("(`judge/times.py:\nsooner`, `test_statistics.py`)", []),
        ("a stray `\n\nand `test_no.py`", ["test_no.py"]),
        ("`configs/pretrainings.yaml`", ["configs/pretrainings.yaml"]),
        ("`configs/pretraining.yaml`, `tuning/`, `--rules=X`", []),
    ],
)
def test_code_that_is_not_there_is_reported(text, missing):
    assert missing_sources(text) == missing


def test_a_name_that_is_only_used_or_told_of_is_not_defined():
    source = '"""decide\n\ndecide: said here.\n"""\nother(decide)\nclass Rule:\n    limit: int\n'
    assert defined_names(source) == {"Rule", "Rule.limit"}


def test_a_stray_backtick_is_reported():
    assert paragraphs_with_a_stray_backtick("`a`\n\n`b") == ["`b"]


def test_a_long_line_is_reported():
    row = "| " + "x" * 100
    assert long_lines(f"short\n{'x' * 101}\n{row}") == ["x" * 101]
