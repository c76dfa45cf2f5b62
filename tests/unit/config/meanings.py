"""For the tests of configs: what the text below each field says, and the comments of base.yaml."""

import ast
import inspect
import re
from pathlib import Path

from bench.config.fields import Section

KEY = re.compile(r"(?P<indent> *)(?P<key>\w+):(?P<value>.*?)(?: +# (?P<comment>.*))?$")
CONTINUED = re.compile(r" {20,}# (?P<comment>.*)$")  # below the comment that it goes on with


def one_line(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(text.split())


def meanings(section: type[Section]) -> dict[str, str]:
    """The text below each field of a section, by the field's name; "" where there is none."""
    texts = {}
    name = ""
    for statement in ast.parse(inspect.getsource(section)).body[0].body:
        if isinstance(statement, ast.AnnAssign):
            name = statement.target.id
            texts[name] = ""
        elif name and isinstance(statement, ast.Expr):
            texts[name] = one_line(statement.value.value)
    return texts


def comments(path: Path) -> dict[str, str]:
    """The comment beside each key of base.yaml, by dotted key; "" where there is none."""
    texts: dict[str, str] = {}
    section = ""
    dotted_key = ""
    for line in path.read_text().splitlines():
        continued = CONTINUED.match(line)
        key = KEY.match(line)
        if continued:
            texts[dotted_key] += f" {continued['comment']}"
        elif key:
            section = section if key["indent"] else key["key"]
            dotted_key = f"{section}.{key['key']}" if key["indent"] else section
            texts[dotted_key] = key["comment"] or ""
    return texts
