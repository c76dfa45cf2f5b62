"""What documents name exists: files, verbs, experiments, functions; and lines that can be read."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.architecture.reading import ROOT

# A report is written by headstart, as it comes.
GENERATED = ("docs/sample/report.md", "docs/results/*/report.md")
MAX_COLUMNS = 100
MAX_README_LINES = 120

LINK = re.compile(r"\]\(([^)\s]+)\)")
MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")
EXPERIMENT = re.compile(r"\bEXP=([\w./-]+)")
VERB = re.compile(r"python -m bench ([a-z]+)(?: ([a-z][\w./]*))?")
CODE = re.compile(r"`([^`\n]+)`")
# `judge/verdict.py`, `judge/verdict.py: decide` or `test_verdict.py`.
SOURCE = re.compile(r"((?:\w+/)*\w+\.py)(?:: (\w[\w.]*))?")


def documents() -> list[str]:
    """Every document that people write, by its path below the root."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("kernels/**/*.md")]
    names = [path.relative_to(ROOT) for path in paths]
    written = [path for path in names if not any(path.match(pattern) for pattern in GENERATED)]
    return sorted(str(path) for path in written)


def missing_links(document: str, text: str) -> list[str]:
    """Links to files that do not exist."""
    folder = ROOT / Path(document).parent
    files = [link.partition("#")[0] for link in LINK.findall(text)]
    local = [file for file in files if file and "://" not in file]
    return [file for file in local if not (folder / file).exists()]


def missing_commands(text: str) -> list[str]:
    """Verbs of make or of bench, and experiments, that do not exist."""
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.findall(r"^## make ([a-z-]+)", makefile, re.MULTILINE)) | {"venv"}
    missing = [f"make {verb}" for verb in MAKE.findall(commands_in(text)) if verb not in verbs]
    missing += [name for name in EXPERIMENT.findall(text) if not is_experiment(name)]
    parser = (ROOT / "bench" / "cli.py").read_text()
    for verb, experiment in VERB.findall(text):
        if f'"{verb}"' not in parser:
            missing.append(f"bench {verb}")
        if experiment and verb in ("run", "plan", "tune") and not is_experiment(experiment):
            missing.append(experiment)
    return missing


def commands_in(text: str) -> str:
    """What stands in code, inline or in blocks: elsewhere `make` is a word like others."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *CODE.findall(text)])


def is_experiment(name: str) -> bool:
    """Whether an experiment is there, or is a reader's own: `my.yaml`, `my_study`."""
    if name.startswith("my") or name == "name":
        return True
    return (ROOT / "configs" / "experiments" / f"{name}.yaml").is_file() or (ROOT / name).is_file()


def missing_sources(text: str) -> list[str]:
    """Python files, and functions in them, that are named in code and do not exist."""
    missing = []
    for code in CODE.findall(text):
        match = SOURCE.fullmatch(code)
        if match is not None and not is_source(match[1], match[2]):
            missing.append(code)
    return missing


def is_source(file: str, name: str | None) -> bool:
    """Whether one of the checkout's files of that name defines what is named."""
    own_rooms = ("bench", "kernels", "launch", "tests")
    paths = [path for room in own_rooms for path in (ROOT / room).rglob(Path(file).name)]
    for path in paths:
        if not str(path).endswith(f"/{file}"):
            continue
        if name is None or re.search(rf"\b{re.escape(name.split('.')[-1])}\b", path.read_text()):
            return True
    return False


def long_lines(text: str) -> list[str]:
    """Lines that are too long, but for rows of tables and lines that are one link."""
    lines = [line for line in text.splitlines() if len(line) > MAX_COLUMNS]
    return [line for line in lines if not line.startswith(("|", "![", "  and", "http"))]


@pytest.mark.parametrize("document", documents())
def test_what_it_names_exists(document):
    text = (ROOT / document).read_text()
    assert missing_links(document, text) == []
    assert missing_commands(text) == []


def test_method_names_code_and_tests_that_exist():
    text = (ROOT / "docs" / "METHOD.md").read_text()
    assert missing_sources(text) == []
    assert len(SOURCE.findall(text)) > 30  # so that there is something to look for


@pytest.mark.parametrize("document", documents())
def test_lines_can_be_read(document):
    assert long_lines((ROOT / document).read_text()) == []


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < MAX_README_LINES


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]


def test_every_experiment_is_listed():
    listed = (ROOT / "docs" / "experiments.md").read_text()
    for path in (ROOT / "configs" / "experiments").glob("*.yaml"):
        assert f"`{path.stem}`" in listed, path.stem


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`make bnch`", ["make bnch"]),
        ("```\nmake bench EXP=embeded\n```", ["embeded"]),
        ("python -m bench rnu embedded", ["bench rnu"]),
        ("python -m bench plan embeded --build", ["embeded"]),
        ("you make mistakes; `make bench EXP=embedded`", []),
    ],
)
def test_what_is_not_there_is_reported(text, missing):
    assert missing_commands(text) == missing


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`judge/verdicts.py`", ["judge/verdicts.py"]),
        ("`judge/verdict.py: dceide`", ["judge/verdict.py: dceide"]),
        ("`judge/verdict.py: decide` and `test_verdict.py`", []),
    ],
)
def test_code_that_is_not_there_is_reported(text, missing):
    assert missing_sources(text) == missing


def test_a_link_to_nowhere_is_reported():
    assert missing_links("docs/METHOD.md", "[a](DECISION.md) [b](DECISIONS.md#1)") == [
        "DECISION.md"
    ]
