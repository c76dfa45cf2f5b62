"""YAML layers and dotted overrides to a checked ExperimentConfig; the one door to yaml and pydantic."""

import dataclasses
import functools
import hashlib
import importlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import JsonValue, TypeAdapter, ValidationError

from bench import registry
from bench.config.schema import ExperimentConfig

BASE = Path(__file__).parents[2] / "configs" / "base.yaml"
LAYER = "--layer="
FACTOR_ROOTS = ("data", "model", "weights", "finetune", "optim", "schedule", "train", "seed")
# What decides a run's numbers. Everything else names, judges or stores them.
RUN_ROOTS = (
    "kind",
    "data",
    "model",
    "weights",
    "finetune",
    "optim",
    "schedule",
    "train",
    "evaluation",
    "precision",
    "compile",
)
PLACES = (
    "data.dir",
    "data.download",
    "data.urls",
    "weights.accept_license",
)  # where files come from, not what they hold
_ADAPTER = TypeAdapter(ExperimentConfig)


def load(path: str | Path, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Read configs/base.yaml, `--layer=`s, the experiment's YAML and `--dotted.key=value` overrides into one checked config.

    `path` and a layer are files, or the bare names of such in configs/experiments and configs/hardware. Imports the modules
    that the config names in `imports`.
    Raises ValueError, naming the key, the value and what is allowed, for anything that is not right.
    """
    given = list(overrides)
    names = [text.removeprefix(LAYER) for text in given if text.startswith(LAYER)]
    layers, own = [_read(name, "hardware") for name in names], _read(path, "experiments")
    tree = functools.reduce(_merge, [_read(BASE), *layers, own])
    keys = [_override(tree, text) for text in given if not text.startswith(LAYER)]
    if hidden := [
        name
        for name, layer in zip(names, layers, strict=True)
        if "arms" in keys and "arms" in layer
    ]:
        raise ValueError(f"--arms: would hide the arms of layer {hidden[0]}; give one of the two")
    for name, layer in zip(names, layers, strict=True):
        keys += [key for key in layer if key == "arms"]
        for arm in layer.get("arms") or ():
            registry.require(arm, own.get("arms", {}), f"{name}: {path} has no arm {arm!r}")
    if any(_decides(key) for key in keys) and not any(key.startswith("reference") for key in keys):
        tree["reference"] = {}  # stored of the experiment as its file has it
    config = _validate(tree, str(path))
    for module in config.imports:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise ValueError(
                f"imports: cannot import {module!r}: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
    _check_study(config)
    _check_factors(config)
    for arm in config.arms:
        check_run(arm_config(config, arm), f"arm {arm}: ")
    return config


def arm_config(config: ExperimentConfig, arm: str) -> ExperimentConfig:
    """The config of one arm: the shared one with the arm's dotted overrides, through the same checks."""
    tree = as_dict(config)
    for key, value in config.arms[arm].items():
        _set(tree, key.split("."), value)
    return _validate(tree, f"arm {arm}")


def from_stored(tree: Mapping[str, JsonValue]) -> ExperimentConfig:
    """Type a config as a plan or a ledger has stored it. Raises ValueError for one of another shape."""
    return _validate(dict(tree), "stored config")


def as_dict(config: ExperimentConfig) -> dict[str, Any]:
    """Plain lists and dicts, as JSON and YAML know them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def dump(tree: dict[str, Any]) -> str:
    """Plain data as YAML, keys in their order."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def stored(name: str) -> dict[str, Any]:
    """Keys and values of a YAML file in configs/."""
    return _read(BASE.with_name(f"{name}.yaml"))


def run_digest(config: ExperimentConfig, *extra: str) -> str:
    """Eight hex digits over all that decides a run's numbers (not where its files lie), and `extra`."""
    tree = as_dict(config)
    for root, leaf in (key.split(".") for key in PLACES):
        del tree[root][leaf]
    text = json.dumps([{root: tree[root] for root in RUN_ROOTS}, *extra], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def known_keys(*above: str) -> list[str]:
    """Keys of an experiment, or of the section that `above` names."""
    schema: Any = ExperimentConfig
    for name in above:
        schema = {field.name: field.type for field in dataclasses.fields(schema)}[name]
    return [field.name for field in dataclasses.fields(schema)]


class _Loader(yaml.SafeLoader):
    """Plain values only, without what YAML lets pass unseen: a key given twice (the last would win), and aliases (a bomb)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, "aliases are not allowed", self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        for place, (key, _) in enumerate(pairs):
            if any(key.value == earlier.value for earlier, _ in pairs[:place]):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


def _parse(text: str | bytes, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise ValueError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


def _read(file: str | Path, folder: str = "") -> dict[str, Any]:
    """A file's keys and values; a bare name is that of a file in this folder of configs."""
    path = Path(file)
    if not path.is_file() and not path.suffix and len(path.parts) == 1:
        path = Path(os.path.relpath(BASE.parent / folder / f"{path}.yaml"))
    if not path.is_file():
        raise ValueError(
            f"no config file {str(path)!r}; {registry.nearest(str(path), map(str, path.parent.glob('*.yaml')))}"
        )
    tree = _parse(path.read_bytes(), str(path))
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected keys and values, got {type(tree).__name__}")
    return tree


def _merge(under: Any, over: Any) -> Any:
    """Two sections key by key; of anything else the upper one."""
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    return under | {key: _merge(under.get(key), value) for key, value in over.items()}


def _decides(key: str) -> bool:
    """Whether a key decides how soon a run reaches the primary threshold."""
    root = key.partition(".")[0]
    return key not in PLACES and (
        key == "primary.threshold" or root in (*RUN_ROOTS, "arms", "confirm_looks")
    )


def _override(tree: dict[str, Any], text: str) -> str:
    """Set a key to a value, and return the key; `--arms.<arm>.<dotted key>=` sets an override of that arm."""
    key, equals, value = text.removeprefix("--").partition("=")
    if not text.startswith("--") or not equals or not key:
        raise ValueError(f"override {text!r}: expected --dotted.key=value")
    path = key.split(".", 2 if key.startswith("arms.") else -1)
    if path[0] == "arms" and len(path) > 2:
        registry.require(path[1], tree["arms"], f"{key}: no arm {path[1]!r}")
    _set(tree, path, _parse(value, f"override {text!r}"))
    return key


def _set(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for depth, name in enumerate(path[:-1], start=1):
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ValueError(f"{'.'.join(path)}: {'.'.join(path[:depth])} has no keys below it")
    tree[path[-1]] = value


def _validate(tree: dict[str, Any], where: str) -> ExperimentConfig:
    try:
        return _ADAPTER.validate_python(tree)
    except ValidationError as error:
        # An unknown key explains a missing one beside it, so it is told first.
        first = min(
            error.errors(include_url=False),
            key=lambda e: e["type"] != "unexpected_keyword_argument",
        )
        raise ValueError(f"{where}: {_sentence(first)}") from None


def _sentence(error: Any) -> str:
    path = [str(part) for part in error["loc"] if part != "[key]"]
    key = ".".join(path)
    if error["type"] == "unexpected_keyword_argument":
        return f"unknown key {key!r}; {registry.nearest(path[-1], known_keys(*path[:-1]))}"
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    if error["type"] == "literal_error":
        allowed = [
            word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")
        ]
        return f"{key}: {error['input']!r} is not allowed; {registry.nearest(str(error['input']), allowed)}"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{key}: {error['input']!r}: {message}"


def _check_study(config: ExperimentConfig) -> None:
    for tracker in config.trackers:
        registry.check("tracker", tracker, "trackers")
    named = [config.baseline, config.primary.arm]
    others = [arm for arm in config.arms if arm not in named]
    for key, arm in zip(("baseline", "primary.arm"), named, strict=True):
        registry.require(arm, config.arms, f"{key}: no arm {arm!r}")
    if others and config.primary.arm == config.baseline:
        raise ValueError(
            f"primary.arm: {config.baseline!r} is the baseline; allowed: {', '.join(others)}"
        )
    for key, arms, allowed in (
        ("controls", config.controls, others),
        ("reference", config.reference, config.arms),
    ):
        for arm in arms:
            registry.require(arm, allowed, f"{key}: no arm {arm!r} that could be one")
    thresholds, budgets = list(config.thresholds), list(config.budgets)
    if thresholds != sorted(set(thresholds)):
        raise ValueError(f"thresholds: {thresholds} must rise, each once")
    if config.primary.threshold not in thresholds:
        raise ValueError(f"primary.threshold: {config.primary.threshold} is none of {thresholds}")
    if budgets and config.kind != "annealed":
        raise ValueError(
            f"budgets: {budgets} are for kind annealed; {config.kind} runs are judged at every look of one budget"
        )
    every, samples = config.evaluation.every_samples, config.train.samples
    if budgets and (
        budgets != sorted(set(budgets)) or budgets[-1] != samples or any(b % every for b in budgets)
    ):
        grid = f"multiples of evaluation.every_samples {every} that rise to train.samples {samples}"
        raise ValueError(f"budgets: {budgets} must be {grid}")


def _check_factors(config: ExperimentConfig) -> None:
    shared = as_dict(config)
    leaves = [
        f"{root}.{leaf}"
        for root in FACTOR_ROOTS
        if isinstance(shared[root], dict)
        for leaf in shared[root]
    ]
    for factor in config.factors:
        registry.require(factor, (*FACTOR_ROOTS, *leaves), f"factors: {factor!r} cannot be one")
    for arm, overrides in config.arms.items():
        for key in overrides:
            if not any(f"{key}.".startswith(f"{factor}.") for factor in config.factors):
                declared = registry.nearest(key, config.factors)
                raise ValueError(
                    f"arm {arm}: {key!r} is not a declared factor, so the comparison would be unfair; {declared}"
                )


def check_run(config: ExperimentConfig, where: str) -> None:
    """Raise ValueError, in a sentence that begins with `where`, for keys of one run that contradict each other."""
    registry.check("source", config.data.source, where + "data.source")
    registry.check("loader", config.data.loader, where + "data.loader")
    registry.check("optimizer", config.optim.name, where + "optim.name")
    registry.check("schedule", config.schedule.name, where + "schedule.name")
    train, finetune = config.train, config.finetune
    batch, every, samples, parts = (
        train.global_batch_size,
        config.evaluation.every_samples,
        train.samples,
        train.accumulate_steps,
    )
    steps, rising = samples // batch, config.schedule.lr_warmup_steps
    _check_multiple(f"{where}evaluation.every_samples", every, "train.global_batch_size", batch)
    _check_multiple(f"{where}train.samples", samples, "evaluation.every_samples", every)
    if rising >= steps:
        raise ValueError(f"{where}schedule.lr_warmup_steps: {rising} leaves none of {steps} steps")
    if finetune.head_first_steps and (
        finetune.layers == "head" or finetune.head_first_steps >= steps
    ):
        left = (
            "no step for the other layers"
            if finetune.layers == "all"
            else "nothing for finetune.layers head"
        )
        raise ValueError(
            f"{where}finetune.head_first_steps: {finetune.head_first_steps} of {steps} steps leave {left}"
        )
    if config.weights.stem and config.model.stem == "stock":
        raise ValueError(
            f"{where}weights.stem: {config.weights.stem!r} makes a 3x3 stem, model.stem is 'stock'; allowed: null"
        )
    if train.stop_patience and config.kind == "annealed":
        raise ValueError(
            f"{where}train.stop_patience: {train.stop_patience} would end an annealed run before its schedule does"
        )
    _check_multiple(f"{where}train.global_batch_size", batch, "train.accumulate_steps", parts)
    if parts > 1 and config.data.last_batch == "partial":
        raise ValueError(
            f"{where}data.last_batch: partial batches cannot be cut into {parts} equal parts; take drop"
        )
    needed = {"file": "file", "self": "recipe"}.get(config.weights.source)
    if needed and not getattr(config.weights, needed):
        raise ValueError(
            f"{where}weights.source: {config.weights.source!r} needs weights.{needed}, which is null"
        )


def _check_multiple(key: str, value: int, of: str, unit: int) -> None:
    if value % unit:
        nearest = max(unit, round(value / unit) * unit)
        raise ValueError(f"{key}: {value} is no multiple of {of} {unit}; nearest: {nearest}")
