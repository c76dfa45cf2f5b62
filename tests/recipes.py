"""The recipes of docs/extending.md, read as a newcomer reads them: files, lines, commands."""

import ast
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.commands import ROOT

BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
TABLE = re.compile(r'under `"(?P<kind>\w+)"`:\s*$')  # the end of the sentence above a block
FILE = re.compile(r"`(?P<path>[\w/]+\.(?:py|yaml))`:\s*$")


@dataclass(frozen=True, kw_only=True)
class RecipeFile:
    """A file that a recipe has one write, by its path below the repository."""

    path: str
    text: str


@dataclass(frozen=True, kw_only=True)
class RegistryLine:
    """A line for the table in bench/registry.py."""

    kind: str
    name: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """All that the page has one write and run."""

    files: list[RecipeFile]
    lines: list[RegistryLine]
    commands: list[list[str]]  # words of `python -m ...`

    def write(self, folder: Path) -> None:
        """Write every file below a folder."""
        for file in self.files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text)

    def of_bench(self, *verbs: str) -> list[list[str]]:
        """Give what follows the verb in each call of headstart with one of these verbs."""
        start = ["python", "-m", "bench"]
        return [words[4:] for words in self.commands if words[:3] == start and words[3] in verbs]


def read_recipes() -> Recipes:
    """Read the page."""
    page = (ROOT / "docs" / "extending.md").read_text()
    files = []
    lines = []
    commands = []
    end = 0
    for block in BLOCK.finditer(page):
        sentence = page[end : block.start()]
        end = block.end()
        if block["language"] == "sh":
            commands += commands_of(block["code"])
            continue
        table = TABLE.search(sentence)
        if table is not None:
            lines += registry_lines(table["kind"], block["code"])
            continue
        place = FILE.search(sentence)
        assert place is not None, f"no file is named above {block['code'][:80]!r}"
        files.append(RecipeFile(path=place["path"], text=block["code"]))
    return Recipes(files=files, lines=lines, commands=commands)


def registry_lines(kind: str, code: str) -> list[RegistryLine]:
    """Read lines of the table as Python does."""
    entries = ast.literal_eval(f"{{{code}}}")
    return [RegistryLine(kind=kind, name=name, target=entries[name]) for name in entries]


def commands_of(code: str) -> list[list[str]]:
    """Split a block of commands into words; a line that ends with a backslash goes on."""
    joined = code.replace("\\\n", " ")
    return [shlex.split(line) for line in joined.splitlines()]
