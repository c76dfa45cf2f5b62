"""Every key says what it means, below its field and, in the same words, beside its default."""

import dataclasses
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from bench.config.schema import ExperimentConfig
from tests.unit.config.meanings import CONTINUED, KEY, comments, meanings, one_line
from tests.unit.config.studies import SECTIONS

BASE = Path("configs/base.yaml")
ALL_SECTIONS = [ExperimentConfig, *SECTIONS.values()]


def dotted_meanings() -> dict[str, str]:
    """What each key means, by dotted key; a section's is its class's first words."""
    texts = meanings(ExperimentConfig)
    for name, section in SECTIONS.items():
        texts[name] = one_line(section.__doc__)
        for key, text in meanings(section).items():
            texts[f"{name}.{key}"] = text
    return texts


def literal_words(annotation) -> list[str]:
    """The words that a field's type allows, where it names them, however deep in its type."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    words = []
    for part in get_args(annotation):
        words += literal_words(part)
    return words


@pytest.mark.parametrize("section", ALL_SECTIONS, ids=lambda section: section.__name__)
def test_every_field_has_a_meaning(section):
    texts = meanings(section)
    assert list(texts) == [field.name for field in dataclasses.fields(section)]
    for name, text in texts.items():
        if section is ExperimentConfig and name in SECTIONS:
            text = one_line(SECTIONS[name].__doc__)
        assert text.endswith("."), f"{section.__name__}.{name}: {text!r}"


@pytest.mark.parametrize("section", ALL_SECTIONS, ids=lambda section: section.__name__)
def test_a_meaning_has_every_word_that_its_field_allows(section):
    texts = meanings(section)
    for field in dataclasses.fields(section):
        missing = [word for word in literal_words(field.type) if word not in texts[field.name]]
        assert not missing, f"{section.__name__}.{field.name}"


def test_base_repeats_the_meaning_of_every_key():
    texts = dotted_meanings()
    base_comments = comments(BASE)
    assert set(SECTIONS) <= set(base_comments)
    for key, comment in base_comments.items():
        assert comment == texts[key], f"{key} in {BASE}; expected: {texts[key]}"


def test_base_has_no_comment_but_meanings():
    lines = BASE.read_text().splitlines()
    body = lines[lines.index("") :]
    others = [line for line in body if not KEY.match(line) and not CONTINUED.match(line)]
    assert len(others) < len(body)
    assert [line for line in others if "#" in line] == []


def test_comments_are_read_over_several_lines(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text(
        "# Head.\n\n"
        "kind: x   # One.\n"
        "data:     # Two\n"
        "                    # lines.\n"
        "  urls:   # Three.\n"
        "    - https://host/file\n"
        "  none: 1\n"
    )
    assert comments(path) == {
        "kind": "One.",
        "data": "Two lines.",
        "data.urls": "Three.",
        "data.none": "",
    }
