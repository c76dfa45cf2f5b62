"""One word, one meaning: words that CONTRIBUTING.md replaces do not come back."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.reading import ROOMS, ROOT, files, room_of

# In identifiers and config keys, as a whole word between underscores or capitals.
CODE_WORDS = {
    "targets": "labels",
    "tta": "time_to_accuracy",
    "variant": "arm",
    "variants": "arms",
}
# As a whole identifier: it does not say of what.
BARE_NAMES = {"warmup": "lr_warmup or kernel_warmup"}
# In prose, where it is not `code` or "quoted".
TEXT_WORDS = {"tta": "time_to_accuracy", "variant": "arm", "variants": "arms"}
# Of the place where it was written, not of the project. In halves: this file does not hold them.
PLACE_WORDS = ("/wo" + "rk/", "sub" + "agent", "/tmp/" + "dev")
TEXT_FILES = (
    ".py",
    ".md",
    ".yaml",
    ".yml",
    ".toml",
    ".sh",
    ".lock",
    ".ipynb",
    ".j2",
    ".html",
    ".json",
    ".jsonl",
    ".txt",
)
OTHER_FILES = ("Makefile", "Dockerfile", ".dockerignore", ".gitignore", "run")


def code_breaches(source: str) -> Iterator[str]:
    """Replaced words among the names that a Python source defines or uses."""
    for node in ast.walk(ast.parse(source)):
        for name in _names(node):
            words = {word.lower() for word in re.split(r"_|(?<=[a-z0-9])(?=[A-Z])", name)}
            for word, better in {
                word: CODE_WORDS[word] for word in words & set(CODE_WORDS)
            }.items():
                yield f"line {node.lineno}: {name}: say {better}, not {word}"
            if name.lower() in BARE_NAMES:
                yield f"line {node.lineno}: {name}: say {BARE_NAMES[name.lower()]}"


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.arg | ast.keyword) and node.arg:
        yield node.arg


def text_breaches(text: str) -> Iterator[str]:
    """Replaced words in prose, outside code and quotation marks."""
    prose = re.sub(r"```.*?```|`[^`\n]*`|\"[^\"\n]*\"", "", text, flags=re.DOTALL)
    for word in re.findall(r"[A-Za-z]+", prose):
        if word.lower() in TEXT_WORDS:
            yield f"{word}: say {TEXT_WORDS[word.lower()]}"


def place_breaches(text: str) -> list[str]:
    """Words of a workplace."""
    return [word for word in PLACE_WORDS if word in text.lower()]


def read(*suffixes: str) -> dict[Path, str]:
    """Relative path to text, for the project's files with these endings."""
    return {path.relative_to(ROOT): path.read_text() for path in files(*suffixes)}


@pytest.mark.parametrize("room", [*ROOMS, None])
def test_names_in_code(room: str | None):
    """Outside the rooms (None) lie the tests."""
    lines = []
    for path, source in read(".py").items():
        if room_of(path.as_posix()) == room:
            lines += [f"{path}: {line}" for line in code_breaches(source)]
    assert lines == []


def test_words_in_text():
    assert [
        f"{path}: {line}"
        for path, text in read(".md", ".yaml").items()
        for line in text_breaches(text)
    ] == []


def test_no_words_of_a_workplace():
    assert [
        f"{path}: {word}"
        for path, text in read(*TEXT_FILES, *OTHER_FILES).items()
        for word in place_breaches(text)
    ] == []


@pytest.mark.parametrize(
    "source",
    [
        "def loss(logits, targets): ...",
        "variant = 1",
        "class ArmVariant: ...",
        "x.tta_s",
        "f(warmup=3)",
        "self.warmup",
    ],
)
def test_a_replaced_word_in_code_is_reported(source: str):
    assert list(code_breaches(source))


@pytest.mark.parametrize(
    "source",
    ["lr_warmup_steps = 20", "target = 'bench.x:y'", "labels = data", "'variant'", "invariant = 1"],
)
def test_good_names_are_let_be(source: str):
    assert list(code_breaches(source)) == []


@pytest.mark.parametrize("text", ["The TTA of this arm.", "variants:\n  fast: 1"])
def test_a_replaced_word_in_text_is_reported(text: str):
    assert list(text_breaches(text))


@pytest.mark.parametrize(
    "text", ['an arm, never "variant"', "`tta` is a flag of theirs", "invariant"]
)
def test_quoted_words_are_let_be(text: str):
    assert list(text_breaches(text)) == []


@pytest.mark.parametrize("word", PLACE_WORDS)
def test_a_word_of_a_workplace_is_reported(word: str):
    assert place_breaches(f"data lie in {word}") == [word]
