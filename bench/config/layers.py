"""What a config is put together from: base.yaml, layers, the experiment's file, and overrides.

The result is a tree of plain values; bench.config.load checks it and gives it types.
"""

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from bench import registry
from bench.config.schema import PLACES, RUN_ROOTS
from bench.config.yaml_files import BASE, Tree, parse_yaml, read_yaml

LAYER = "--layer="


@dataclass(frozen=True)
class Layer:
    """A YAML file between base.yaml and the experiment's: its name as the user wrote it."""

    name: str
    tree: Tree

    @property
    def arms(self) -> list[str]:
        """The arms that the layer has overrides of."""
        return arm_names(self.tree)


@dataclass(frozen=True)
class Override:
    """`--dotted.key=value`; `--arms.<arm>.<dotted key>=value` is an override of that arm."""

    key: str
    value: JsonValue

    @property
    def path(self) -> list[str]:
        """Names of the sections from the top down, and of the key in the last one."""
        if self.key.startswith("arms."):
            return self.key.split(".", 2)  # arms, the arm, and its dotted key, which stays one
        return self.key.split(".")


def read_tree(path: str | Path, texts: Sequence[str]) -> Tree:
    """Merge base.yaml, each `--layer=`, the experiment's file and each override, later ones above.

    Raises ValueError for a file or an override that cannot be read, or that has no place to go to.
    """
    layers = [read_layer(text) for text in texts if text.startswith(LAYER)]
    experiment = read_yaml(path, "experiments")
    overrides = [parse_override(text) for text in texts if not text.startswith(LAYER)]
    tree = copy.deepcopy(base_tree())  # overrides are set in it
    for layer in layers:
        tree = merge(tree, layer.tree)
    tree = merge(tree, experiment)
    for override in overrides:
        apply(override, tree)
    check_arms_are_seen(layers, overrides)
    for layer in layers:
        check_arms(layer, arm_names(experiment), path)
    if changes_what_was_stored(layers, overrides):
        tree["reference"] = {}  # it was stored of the experiment as its file has it
    return tree


@functools.cache
def base_tree() -> Tree:
    """Read configs/base.yaml, once a process: a recipe lies over the same base."""
    return read_yaml(BASE)


def read_layer(text: str) -> Layer:
    """Read the file that `--layer=` names; a bare name is that of a file in configs/hardware."""
    name = text.removeprefix(LAYER)
    return Layer(name, read_yaml(name, "hardware"))


def parse_override(text: str) -> Override:
    """Read `--dotted.key=value`, whose value is YAML. Raises ValueError for another shape."""
    key, equals, value = text.removeprefix("--").partition("=")
    if not text.startswith("--") or not equals or not key:
        raise ValueError(f"override {text!r}: expected --dotted.key=value")
    return Override(key, parse_yaml(value, f"override {text!r}"))


def merge(lower: Mapping[str, JsonValue], upper: Mapping[str, JsonValue]) -> Tree:
    """Merge two sections key by key, and sections below them too; else the upper value holds."""
    merged = dict(lower)
    for key, value in upper.items():
        lower_value = lower.get(key)
        if isinstance(lower_value, dict) and isinstance(value, dict):
            merged[key] = merge(lower_value, value)
        else:
            merged[key] = value
    return merged


def apply(override: Override, tree: Tree) -> None:
    """Set an override's key in the tree. Raises ValueError for an arm that is not there."""
    path = override.path
    if path[0] == "arms" and len(path) > 2:
        registry.require(path[1], arm_names(tree), f"{override.key}: no arm {path[1]!r}")
    set_key(tree, path, override.value)


def set_key(tree: Tree, path: Sequence[str], value: JsonValue) -> None:
    """Set a key below its sections, which are made where they are missing.

    Raises ValueError where a value stands in the place of a section.
    """
    section = tree
    for depth, name in enumerate(path[:-1], start=1):
        below = section.setdefault(name, {})
        if not isinstance(below, dict):
            raise ValueError(f"{'.'.join(path)}: {'.'.join(path[:depth])} has no keys below it")
        section = below
    section[path[-1]] = value


def arm_names(tree: Tree) -> list[str]:
    """Return the names of a tree's arms; none where `arms` is missing or no section."""
    arms = tree.get("arms")
    return list(arms) if isinstance(arms, dict) else []


def check_arms(layer: Layer, arms: Sequence[str], path: str | Path) -> None:
    """Raise ValueError where a layer has overrides of an arm that the experiment lacks."""
    for arm in layer.arms:
        registry.require(arm, arms, f"{layer.name}: {path} has no arm {arm!r}")


def check_arms_are_seen(layers: Sequence[Layer], overrides: Sequence[Override]) -> None:
    """Raise ValueError where `--arms=` would take the place of a layer's arms unseen."""
    if not any(override.key == "arms" for override in overrides):
        return
    for layer in layers:
        if "arms" in layer.tree:
            message = f"--arms: would hide the arms of layer {layer.name}; give one of the two"
            raise ValueError(message)


def changes_what_was_stored(layers: Sequence[Layer], overrides: Sequence[Override]) -> bool:
    """Say whether the runs are others than those that the experiment's `reference` is of.

    Not where an override gives the reference itself.
    """
    if any(override.key.startswith("reference") for override in overrides):
        return False
    if any("arms" in layer.tree for layer in layers):
        return True
    return any(decides_a_crossing(override.key) for override in overrides)


def decides_a_crossing(key: str) -> bool:
    """Say whether a dotted key decides how soon a run reaches the primary threshold."""
    if key in PLACES:
        return False
    if key == "primary.threshold":
        return True
    root = key.partition(".")[0]
    return root in (*RUN_ROOTS, "arms", "confirm_looks")
