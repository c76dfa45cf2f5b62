"""The rules of style over product code, room by room, so that each room answers for itself."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.architecture.breach import Breach
from tests.architecture.exemptions import EXEMPTIONS, Exemption
from tests.architecture.reading import ROOMS, ROOT, files, room_of, sources
from tests.architecture.shape_rules import MAX_MEDIAN_LINES, median_length
from tests.architecture.style import (
    ALL_RULES,
    RULES,
    TEMPLATE_RULES,
    TEST_RULES,
    breaches_of,
    is_test,
    size_breaches,
)

TEST_FOLDERS = sorted(
    str(path.parent.relative_to(ROOT)) for path in ROOT.glob("tests/**/__init__.py")
)


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str, room: str):
    lines = breaches_of(rule, sources(room))
    assert not lines, f"{len(lines)} breaches:\n" + "\n".join(lines)


@pytest.mark.parametrize("folder", TEST_FOLDERS)
@pytest.mark.parametrize("rule", TEST_RULES)
def test_rule_of_tests(rule: str, folder: str):
    texts = {f"{folder}/{path.name}": path.read_text() for path in Path(ROOT, folder).glob("*.py")}
    assert texts
    lines = breaches_of(rule, texts)
    assert not lines, f"{len(lines)} breaches:\n" + "\n".join(lines)


def test_every_test_lies_in_a_folder_that_is_looked_at():
    paths = [file.relative_to(ROOT) for file in files(".py")]
    folders = {str(path.parent) for path in paths if is_test(path.as_posix())}
    assert folders == set(TEST_FOLDERS)


@pytest.mark.parametrize("rule", TEMPLATE_RULES)
def test_templates(rule: str):
    templates = sources("report", ".j2")
    assert templates
    lines = breaches_of(rule, templates)
    assert not lines, f"{len(lines)} breaches:\n" + "\n".join(lines)


@pytest.mark.parametrize("room", ROOMS)
def test_sizes_and_module_docstrings(room: str):
    texts = sources(room)
    assert texts
    lines = []
    for path, source in texts.items():
        lines += size_breaches(path, source)
    assert lines == []


def test_half_of_the_functions_are_short():
    medians = {}
    product = []
    for room in ROOMS:
        texts = list(sources(room).values())
        medians[room] = median_length(texts)
        product += texts
    assert median_length(product) <= MAX_MEDIAN_LINES, medians


def test_sizes_and_docstrings_of_tests():
    lines = []
    for file in files(".py"):
        path = file.relative_to(ROOT).as_posix()
        if is_test(path):
            lines += size_breaches(path, file.read_text())
    assert lines == []


def test_every_file_of_the_product_lies_in_a_room():
    paths = [file.relative_to(ROOT).as_posix() for file in files(".py", ".j2")]
    product = [path for path in paths if path.startswith(("bench/", "kernels/", "launch/"))]
    assert product
    assert [path for path in product if room_of(path) is None] == []


@pytest.mark.parametrize("exemption", EXEMPTIONS, ids=str)
def test_an_exemption_is_needed(exemption: Exemption):
    assert _covered(exemption), f"{exemption} covers nothing any more: take it out"


def _covered(exemption: Exemption) -> list[Breach]:
    """Every breach that an exemption covers."""
    breaches = []
    for file in files(".py"):
        path = file.relative_to(ROOT).as_posix()
        if fnmatchcase(path, exemption.path):
            breaches += _covered_in(path, file.read_text(), exemption)
    return breaches


def _covered_in(path: str, source: str, exemption: Exemption) -> list[Breach]:
    breaches = ALL_RULES[exemption.rule](source)
    return [breach for breach in breaches if exemption.covers(exemption.rule, path, breach)]


def test_an_exemption_covers_its_own_place_alone():
    source = 'counters["stats"]\nrecord["stats"]\n'
    path = "bench/runtime/compute.py"
    assert breaches_of("string_keys", {path: source}) == [
        f"{path}:2: a field of a record instead of a key: record['stats']"
    ]
    assert len(breaches_of("string_keys", {"bench/judge/verdict.py": source})) == 2
