"""README.md and docs/ promise nothing that is not there, and README.md stays short."""

import tomllib
from pathlib import Path

import pytest
import yaml

from tests.architecture.documents import broken_links, command_faults, experiments_named
from tests.architecture.reading import ROOT

README = ROOT / "README.md"
README_LINES = 119
COLUMNS = 100
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
EXTENDING = ROOT / "docs" / "extending.md"  # tests/integration/test_extending.py runs its commands
WITH_COMMANDS = [document for document in DOCUMENTS if document != EXTENDING]


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def test_there_are_documents():
    assert len(DOCUMENTS) > 10


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_somewhere(document: Path):
    assert broken_links(document) == []


@pytest.mark.parametrize("document", WITH_COMMANDS, ids=name)
def test_every_command_exists(document: Path):
    assert command_faults(document.read_text()) == []


def test_the_readme_is_short():
    lines = README.read_text().splitlines()
    assert len(lines) <= README_LINES
    assert [line for line in lines if len(line) > COLUMNS] == []


def test_the_readme_calls_the_harness_in_one_way():
    """Plain `python` is not in .venv, and does not find what the harness needs."""
    text = README.read_text()
    assert text.count("python -m bench") > 0
    assert text.count("python -m bench") == text.count(".venv/bin/python -m bench")


def test_the_list_of_experiments_is_whole():
    text = (ROOT / "docs" / "experiments.md").read_text()
    experiments = [path.stem for path in ROOT.glob("configs/experiments/*.yaml")]
    assert len(experiments) > 10
    assert [experiment for experiment in experiments if f"| `{experiment}` |" not in text] == []


def test_every_result_is_listed():
    folder = ROOT / "docs" / "results"
    text = (folder / "README.md").read_text()
    pages = [path.name for path in folder.glob("*.md") if path.name != "README.md"]
    assert len(pages) > 5
    assert [page for page in pages if f"]({page})" not in text] == []


def test_the_citation_has_the_version_of_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["title"] == project["name"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("`make bnech`", "make bnech: no such verb"),
        ("`make PYTHON=python3.12 bnech`", "make bnech: no such verb"),
        ("```\nmake bench EXP=embeded\n```", "embeded: no such experiment"),
        ("`make bench EXP=configs/experiments/no.yaml`", "no.yaml: no such experiment"),
        ("    make bench EXP=embeded", "embeded: no such experiment"),
        ('`make bench ARGS="--optim.rate=0.01"`', "optim.rate"),
        ("`bench pln embedded`", "bench pln: no such verb"),
        ("`.venv/bin/python -m bench pln embedded`", "bench pln: no such verb"),
        ("```\npython -m bench plan \\\n    embeded\n```", "embeded: no such experiment"),
        ("`bench run embedded --blockz=2`", "blockz"),
        ("`bench verify runs/x --deep`", "bench verify --deep: no such option"),
        ("`EXP=embeded docker compose run bench`", "embeded: no such experiment"),
        ("`make bench EXP=my.yaml`", "my.yaml: no such experiment"),
    ],
)
def test_a_command_that_does_not_exist_is_reported(text: str, fault: str):
    faults = command_faults(text)
    assert len(faults) == 1
    assert fault in faults[0]


@pytest.mark.parametrize(
    "text",
    [
        "make bnech, and bench pln, in prose",
        "`make`",
        "`make PYTHON=python3.12 bench`",
        "`bench tune EXP`",
        "`python -m bench --help`",
        "`make bench EXP=tests/experiments/tiny.yaml ARGS=--until-decided`",
        "```\ncp configs/experiments/embedded.yaml my.yaml\nmake bench EXP=my.yaml\n```",
    ],
)
def test_a_command_that_exists_is_let_be(text: str):
    assert command_faults(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "`cp configs/experiments/embedded.yaml my.yaml`",
        "`sed 's/a/b/' configs/experiments/embedded.yaml > my.yaml  # then edit it`",
    ],
)
def test_a_copied_experiment_is_the_one_that_it_was_copied_from(text: str):
    assert experiments_named(text)["my.yaml"].name == "embedded.yaml"


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](there.md) and [b](gone.md)", ["gone.md"]),
        ("![a](gone.png)", ["gone.png"]),
        ("[a](there.md#part), [b](https://example.org/gone), `[c](gone.md)`", []),
    ],
)
def test_a_link_that_leads_nowhere_is_reported(tmp_path: Path, text: str, broken: list[str]):
    (tmp_path / "there.md").write_text(text)
    assert broken_links(tmp_path / "there.md") == broken
