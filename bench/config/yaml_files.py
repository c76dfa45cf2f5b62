"""The one place where YAML is read and written: strictly, into plain values."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import yaml
from pydantic import JsonValue

from bench import registry

BASE = Path(__file__).parents[2] / "configs" / "base.yaml"
# Keys and values of a config as a file has them. YAML also knows dates and keys that are no
# strings: the schema refuses them.
Tree: TypeAlias = dict[str, JsonValue]


def read_yaml(file: str | Path, folder: str = "") -> Tree:
    """Read a file's keys and values; a bare name is that of a file in this folder of configs.

    Raises ValueError, with the nearest names, for a file that is not there, and for what is no YAML
    of keys and values.
    """
    path = config_path(file, folder)
    if not path.is_file():
        neighbours = [str(neighbour) for neighbour in path.parent.glob("*.yaml")]
        hint = registry.nearest(str(path), neighbours)
        raise ValueError(f"no config file {str(path)!r}; {hint}")
    tree = parse_yaml(path.read_bytes(), str(path))
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected keys and values, got {type(tree).__name__}")
    return tree


def config_path(file: str | Path, folder: str) -> Path:
    """Return where a config lies: its path as written, or where a bare name stands in configs."""
    path = Path(file)
    is_bare_name = not path.suffix and len(path.parts) == 1
    if path.is_file() or not is_bare_name:
        return path
    return Path(os.path.relpath(BASE.parent / folder / f"{path}.yaml"))


def parse_yaml(text: str | bytes, where: str) -> JsonValue:
    """Read a value from YAML. Raises ValueError, in one line that begins with `where`."""
    try:
        value: JsonValue = yaml.load(text, StrictLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise ValueError(f"{where}: not valid YAML: {one_line(error)}") from None
    return value


def dump(tree: Mapping[str, JsonValue]) -> str:
    """Write plain values as YAML, keys in their order."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def one_line(error: BaseException) -> str:
    """Return an error's message without its line breaks."""
    return " ".join(str(error).split())


class StrictLoader(yaml.SafeLoader):
    """Reads plain values alone, and refuses two things that YAML lets pass unseen.

    They are a key that is given twice, whose last value would win, and aliases, by which a small
    file can stand for a huge one.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Read the next node; an alias is refused."""
        if self.check_event(yaml.AliasEvent):
            place = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", place)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """Make a node into keys and values; a key that was there before is refused."""
        if isinstance(node, yaml.MappingNode):  # `!!map [1]` comes here too, and is refused below
            self._refuse_repeated_keys(node)
        return super().construct_mapping(node, deep)

    def _refuse_repeated_keys(self, node: yaml.MappingNode) -> None:
        earlier_keys = []
        for key, _ in node.value:
            if key.value in earlier_keys:  # a list: a key may be a list too, which has no hash
                message = f"key {key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, message, key.start_mark)
            earlier_keys.append(key.value)
