"""YAML layers and dotted overrides to a checked ExperimentConfig; the one door to yaml and pydantic."""

import dataclasses
import functools
import hashlib
import importlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from bench import registry
from bench.config.schema import ExperimentConfig

BASE = Path(__file__).parents[2] / "configs" / "base.yaml"
LAYER = "--layer="
FACTOR_ROOTS = ("data", "model", "weights", "finetune", "optim", "schedule", "train", "seed")
# What decides a run's numbers. Everything else names, judges or stores them.
RUN_ROOTS = ("kind", "data", "model", "weights", "finetune", "optim", "schedule", "train", "evaluation", "precision", "compile")
PLACES = ("data.dir", "data.download", "data.urls", "weights.accept_license")  # where files come from, not what they hold
_ADAPTER = TypeAdapter(ExperimentConfig)


def load(path: str | Path, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Read configs/base.yaml, `--layer=`s, the experiment's YAML and `--dotted.key=value` overrides into one checked config.

    `path` and a layer are files, or the bare names of such in configs/experiments and configs/hardware. Imports the modules
    that the config names in `imports`.
    Raises ValueError, naming the key, the value and what is allowed, for anything that is not right.
    """
    path, given = _find(Path(path), "experiments"), list(overrides)
    layers = [_find(Path(text.removeprefix(LAYER)), "hardware") for text in given if text.startswith(LAYER)]
    read = [_read(file) for file in (BASE, *layers, path)]
    tree = functools.reduce(_merge, read)
    keys = [_override(tree, text) for text in given if not text.startswith(LAYER)]
    for file, layer in zip(layers, read[1:-1], strict=True):
        keys += [key for key in layer if key == "arms"]
        if unknown := next((arm for arm in layer.get("arms", ()) if arm not in read[-1].get("arms", ())), None):
            raise ValueError(f"{file}: {path} has no arm {unknown!r}; {registry.nearest(unknown, read[-1].get('arms', ()))}")
    if any(_decides(key) for key in keys) and not any(key.startswith("reference") for key in keys):
        tree["reference"] = {}  # stored of the experiment as its file has it
    config = _validate(tree, str(path))
    for module in config.imports:
        try:
            importlib.import_module(module)
        except Exception as error:
            told = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise ValueError(f"imports: cannot import {module!r}: {told}") from error
    _check_names(config)
    _check_factors(config)
    _check_budgets(config)
    for arm in config.arms:
        _check_run(arm_config(config, arm), arm)
    return config


def arm_config(config: ExperimentConfig, arm: str) -> ExperimentConfig:
    """The config of one arm: the shared one with the arm's dotted overrides, through the same checks."""
    tree = as_dict(config)
    for key, value in config.arms[arm].items():
        _set(tree, key, value)
    return _validate(tree, f"arm {arm}")


def as_dict(config: ExperimentConfig) -> dict[str, Any]:
    """Plain lists and dicts, as JSON and YAML know them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def to_yaml(config: ExperimentConfig) -> str:
    """The resolved config as YAML, keys in the schema's order."""
    return dump(as_dict(config))


def dump(tree: Mapping[str, Any]) -> str:
    """Plain data as YAML, keys in their order."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


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
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        for place, (key, _) in enumerate(pairs):
            if any(key.value == earlier.value for earlier, _ in pairs[:place]):
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
        return super().construct_mapping(node, deep)


def _find(path: Path, folder: str) -> Path:
    if path.is_file() or path.suffix or len(path.parts) != 1:
        return path
    return Path(os.path.relpath(BASE.parent / folder / f"{path}.yaml"))


def _parse(text: str | bytes, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise ValueError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        near = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ValueError(f"no config file {str(path)!r}; {registry.nearest(str(path), near)}")
    tree = _parse(path.read_bytes(), str(path))
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected keys and values, got {type(tree).__name__}")
    return tree


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _decides(key: str) -> bool:
    """Whether a key decides how soon a run reaches the primary threshold."""
    root = key.partition(".")[0]
    return key not in PLACES and (key == "primary.threshold" or root in (*RUN_ROOTS, "arms", "confirm_looks"))


def _override(tree: dict[str, Any], text: str) -> str:
    """Set a key to a value, and return the key; `--arms.<arm>.<dotted key>=` sets an override of that arm."""
    key, equals, value = text.removeprefix("--").partition("=")
    if not text.startswith("--") or not equals or not key:
        raise ValueError(f"override {text!r}: expected --dotted.key=value")
    parsed = _parse(value, f"override {text!r}")
    root, arm, dotted = [*key.split(".", 2), "", ""][:3]
    if root != "arms" or not dotted:
        _set(tree, key, parsed)
    elif arm in tree["arms"]:
        tree["arms"][arm][dotted] = parsed
    else:
        raise ValueError(f"{key}: no arm {arm!r}; {registry.nearest(arm, tree['arms'])}")
    return key


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for depth, parent in enumerate(parents):
        child = tree.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ValueError(f"{key}: {'.'.join(parents[: depth + 1])} has no keys below it")
        tree = child
    tree[leaf] = value


def _validate(tree: dict[str, Any], where: str) -> ExperimentConfig:
    try:
        return _ADAPTER.validate_python(tree)
    except ValidationError as error:
        # An unknown key explains a missing one beside it, so it is told first.
        first = min(error.errors(include_url=False), key=lambda e: e["type"] != "unexpected_keyword_argument")
        raise ValueError(f"{where}: {_sentence(first)}") from None


def _sentence(error: Any) -> str:
    path = [str(part) for part in error["loc"] if part != "[key]"]
    key = ".".join(path)
    if error["type"] == "unexpected_keyword_argument":
        return f"unknown key {key!r}; {registry.nearest(path[-1], known_keys(*path[:-1]))}"
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    if error["type"] == "literal_error":
        allowed = [word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        return f"{key}: {error['input']!r} is not allowed; {registry.nearest(str(error['input']), allowed)}"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{key}: {error['input']!r}: {message}"


def _check_names(config: ExperimentConfig) -> None:
    for tracker in config.trackers:
        registry.check("tracker", tracker, "trackers")
    for key, arm in (("baseline", config.baseline), ("primary.arm", config.primary.arm)):
        if arm not in config.arms:
            raise ValueError(f"{key}: no arm {arm!r}; {registry.nearest(arm, config.arms)}")
    others = [arm for arm in config.arms if arm not in (config.baseline, config.primary.arm)]
    if others and config.primary.arm == config.baseline:
        raise ValueError(f"primary.arm: {config.baseline!r} is the baseline; allowed: {', '.join(others)}")
    if list(config.thresholds) != sorted(set(config.thresholds)):
        raise ValueError(f"thresholds: {list(config.thresholds)} must rise, each once")
    for key, named, allowed in (("controls", config.controls, others), ("reference", config.reference, [*config.arms])):
        if wrong := next((arm for arm in named if arm not in allowed), None):
            raise ValueError(f"{key}: no arm {wrong!r} that could be one; {registry.nearest(wrong, allowed)}")
    if config.primary.threshold not in config.thresholds:
        raise ValueError(f"primary.threshold: {config.primary.threshold} is none of {list(config.thresholds)}")


def _check_factors(config: ExperimentConfig) -> None:
    shared = as_dict(config)
    leaves = [f"{root}.{leaf}" for root in FACTOR_ROOTS if isinstance(shared[root], dict) for leaf in shared[root]]
    known = [*FACTOR_ROOTS, *leaves]
    for factor in config.factors:
        if factor not in known:
            raise ValueError(f"factors: {factor!r} cannot be one; {registry.nearest(factor, known)}")
    for arm, overrides in config.arms.items():
        for key in overrides:
            if not any(key == factor or key.startswith(factor + ".") for factor in config.factors):
                declared = registry.nearest(key, config.factors)
                raise ValueError(f"arm {arm}: {key!r} is not a declared factor, so the comparison would be unfair; {declared}")


def _check_budgets(config: ExperimentConfig) -> None:
    budgets, every = list(config.budgets), config.evaluation.every_samples
    if budgets and config.kind != "annealed":
        raise ValueError(f"budgets: {budgets} are for kind annealed; {config.kind} runs are judged at every look of one budget")
    if budgets and (budgets != sorted(set(budgets)) or budgets[-1] != config.train.samples or any(b % every for b in budgets)):
        raise ValueError(
            f"budgets: {budgets} must be multiples of evaluation.every_samples {every} that rise to train.samples "
            f"{config.train.samples}"
        )


def _check_run(config: ExperimentConfig, arm: str) -> None:
    where = f"arm {arm}: "
    registry.check("source", config.data.source, where + "data.source")
    registry.check("loader", config.data.loader, where + "data.loader")
    registry.check("optimizer", config.optim.name, where + "optim.name")
    registry.check("schedule", config.schedule.name, where + "schedule.name")
    batch, every, samples = config.train.global_batch_size, config.evaluation.every_samples, config.train.samples
    _check_multiple(f"{where}evaluation.every_samples", every, "train.global_batch_size", batch)
    _check_multiple(f"{where}train.samples", samples, "evaluation.every_samples", every)
    rising = config.schedule.lr_warmup_steps
    if rising >= samples // batch:
        raise ValueError(f"{where}schedule.lr_warmup_steps: {rising} leaves none of {samples // batch} steps")
    _check_finetuning(config, where)
    needed = {"file": "file", "self": "recipe"}.get(config.weights.source)
    if needed and not getattr(config.weights, needed):
        raise ValueError(f"{where}weights.source: {config.weights.source!r} needs weights.{needed}, which is null")


def _check_finetuning(config: ExperimentConfig, where: str) -> None:
    """What of a recipe's keys contradicts another."""
    finetune, train, steps = config.finetune, config.train, config.train.samples // config.train.global_batch_size
    if finetune.head_first_steps and (finetune.layers == "head" or finetune.head_first_steps >= steps):
        left = "no step for the other layers" if finetune.layers == "all" else "nothing for finetune.layers head"
        raise ValueError(f"{where}finetune.head_first_steps: {finetune.head_first_steps} of {steps} steps leave {left}")
    if train.stop_patience and config.kind == "annealed":
        raise ValueError(f"{where}train.stop_patience: {train.stop_patience} would end an annealed run before its schedule does")
    _check_multiple(f"{where}train.global_batch_size", train.global_batch_size, "train.accumulate_steps", train.accumulate_steps)
    if train.accumulate_steps > 1 and config.data.last_batch == "partial":
        raise ValueError(
            f"{where}data.last_batch: partial batches cannot be cut into {train.accumulate_steps} equal parts; take drop"
        )


def _check_multiple(key: str, value: int, of: str, unit: int) -> None:
    if value % unit:
        nearest = max(unit, round(value / unit) * unit)
        raise ValueError(f"{key}: {value} is no multiple of {of} {unit}; nearest: {nearest}")
