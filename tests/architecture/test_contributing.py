"""What CONTRIBUTING.md says of floors, doors, verbs and limits is what the tests and make hold."""

import re

import pytest

from tests.architecture import shape_rules, style, test_ceilings
from tests.architecture.reading import ROOT
from tests.architecture.test_doors import DOORS
from tests.architecture.test_floors import FLOORS

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
ROOM_LINE = re.compile(r"^(?P<floor>\d| )  (?P<room>[a-z_.]+) {2,}\S", re.MULTILINE)
ROW = re.compile(r"^\| (?P<first>.+?) \| (?P<second>.+?) \|$", re.MULTILINE)
ANCHOR = re.compile(r"\]\(#(?P<anchor>[^)]+)\)")
HEADING = re.compile(r"^##+ (?P<title>[A-Za-z ]+)$", re.MULTILINE)


def rows_below(title: str) -> dict[str, str]:
    """The second cell by the first, of the table below a line that begins with this."""
    table = PAGE[PAGE.index(f"\n| {title} |") :].strip().split("\n\n")[0]
    cells = {match["first"]: match["second"] for match in ROW.finditer(table)}
    return {first: second for first, second in cells.items() if first not in (title, "-")}


def words_of(cell: str) -> list[str]:
    """The names in a cell, without what is said of one in brackets."""
    return re.sub(r" \([^)]*\)", "", cell).split(", ")


def test_floors():
    floors = {}
    floor = ""
    for match in ROOM_LINE.finditer(PAGE):
        if match["floor"] != " ":
            floor = match["floor"]
        floors[match["room"]] = int(floor)
    assert floors == FLOORS


def test_doors():
    doors = {}
    for libraries, rooms in rows_below("library").items():
        for library in words_of(libraries):
            doors[library] = set(words_of(rooms))
    assert doors == DOORS


def test_verbs():
    makefile = (ROOT / "Makefile").read_text()
    verbs = re.findall(r"^## (make [a-z-]+)", makefile, re.MULTILINE)
    assert list(rows_below("verb")) == [f"`{verb}`" for verb in verbs]


def test_limits():
    style_section = " ".join(PAGE[PAGE.index("\n## Style") :].split())
    for sentence in (
        f"A line has at most {shape_rules.MAX_COLUMNS} columns",
        f"at most {shape_rules.MAX_FUNCTION_LINES} lines "
        f"(in `kernels` {shape_rules.MAX_KERNEL_LINES})",
        f"and {shape_rules.MAX_POSITIONAL} positional parameters",
        f"half of all functions have at most {shape_rules.MAX_MEDIAN_LINES} lines",
        f"at most {style.MAX_FILE_LINES} lines, a test file {style.MAX_TEST_FILE_LINES}",
        f"at most {test_ceilings.MAX_VERBS} verbs",
        f"{test_ceilings.MAX_DEPENDENCIES} direct dependencies",
        f"docstring of 1 to {shape_rules.MAX_DOCSTRING_LINES} lines",
        "Never " + ", ".join(f"`{name}`" for name in shape_rules.NO_NAMES),
    ):
        assert sentence in style_section


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/extending.md", "docs/schema/README.md"])
def test_lines_are_short(name):
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if len(line) > shape_rules.MAX_COLUMNS] == []


def test_recipes_are_listed_by_their_headings():
    text = (ROOT / "docs" / "extending.md").read_text()
    titles = [match["title"].lower().replace(" ", "-") for match in HEADING.finditer(text)]
    anchors = [match["anchor"] for match in ANCHOR.finditer(text)]
    assert sorted(anchors) == sorted(titles)
