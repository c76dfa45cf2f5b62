"""A config from its files and overrides, checked: what the rest of the house asks of this package.

layers.py puts the values together, validation.py gives them types, study_checks.py and
run_checks.py look at keys that only make sense together.
"""

import dataclasses
import hashlib
import importlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue, TypeAdapter

from bench.config.layers import read_tree, set_key
from bench.config.run_checks import check_run
from bench.config.schema import PLACES, RUN_ROOTS, ExperimentConfig
from bench.config.study_checks import check_study
from bench.config.validation import validate
from bench.config.yaml_files import BASE, Tree, dump, one_line, read_yaml

__all__ = [
    "BASE",
    "arm_config",
    "as_dict",
    "check_run",
    "dump",
    "from_stored",
    "load",
    "run_digest",
    "stored_table",
]

Table = TypeVar("Table")
# Sections that configs of earlier versions lack.
BEFORE_THEY_CAME: Mapping[str, JsonValue] = {"checkpoint": {"keep": 1, "keep_at_end": True}}


def load(path: str | Path, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Read an experiment's YAML, over configs/base.yaml and `--layer=`s, under `--dotted.key=`s.

    `path` and a layer are files, or the bare names of such in configs/experiments and
    configs/hardware. Imports the modules that the config names in `imports`.
    Raises ValueError, naming the key, the value and what is allowed, for anything that is wrong.
    """
    config = validate(read_tree(path, list(overrides)), str(path))
    import_plug_ins(config)
    check_study(config)
    for arm in config.arms:
        check_run(arm_config(config, arm), f"arm {arm}: ")
    return config


def import_plug_ins(config: ExperimentConfig) -> None:
    """Import third parties' modules, which register what the config may name."""
    for module in config.imports:
        try:
            importlib.import_module(module)
        except Exception as error:  # anything may go wrong in their code
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise ValueError(f"imports: cannot import {module!r}: {reason}") from error


def arm_config(config: ExperimentConfig, arm: str) -> ExperimentConfig:
    """Return the config of one arm: the shared one with the arm's overrides, each value checked."""
    tree = as_dict(config)
    for key, value in config.arms[arm].items():
        set_key(tree, key.split("."), value)
    return validate(tree, f"arm {arm}")


def from_stored(tree: Mapping[str, JsonValue]) -> ExperimentConfig:
    """Type a config as a plan or a ledger has stored it. Raises ValueError for another shape.

    Keys that came later have the values that were in force before.
    """
    return validate({**BEFORE_THEY_CAME, **tree}, "stored config")


def as_dict(config: ExperimentConfig) -> Tree:
    """Return a config as plain lists and dicts, as JSON and YAML know them."""
    tree: Tree = json.loads(json.dumps(dataclasses.asdict(config)))
    return tree


def stored_table(name: str, table_type: type[Table]) -> Table:
    """Read a table of facts in configs/, e.g. counts.yaml, as rows of the types that are asked for.

    Raises ValueError where a row is of another shape.
    """
    adapter = TypeAdapter(table_type)
    return adapter.validate_python(read_yaml(BASE.with_name(f"{name}.yaml")))


def run_digest(config: ExperimentConfig, *extra: str) -> str:
    """Hash what decides a run's numbers (not where its files lie), and `extra`: 8 hex digits."""
    tree = dataclasses.asdict(config)
    for key in PLACES:
        root, leaf = key.split(".")
        del tree[root][leaf]
    decisive = {root: tree[root] for root in RUN_ROOTS}
    text = json.dumps([decisive, *extra], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
