"""What a network starts from: random weights, or a safetensors file without its head.

The file is somebody's own or comes from the hub (hub.py).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.config.schema import ModelConfig, WeightsConfig
from bench.files import sha256_of, write_json
from bench.ledger.json_records import JsonObject
from bench.ledger.records import Pretraining, WeightsFacts
from bench.models.hub import fetch, hub_weights
from bench.models.networks import build, head_prefixes
from bench.models.pretraining import estimated_price
from bench.models.stem import KEY, convert_stem
from bench.models.transform import transformed
from bench.runtime.streams import Stream, derive_seed

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """Pretrained tensors that are loaded over random ones, none for random weights.

    The facts say where they come from, and how their values are transformed in each run.
    """

    tensors: State
    facts: WeightsFacts


def random_weights() -> InitialWeights:
    """Start from nothing but the network's own initialisation."""
    facts = WeightsFacts(
        source="random", tag=None, sha256=None, stem=None, transform=None, pretraining=None
    )
    return InitialWeights(tensors={}, facts=facts)


def initial_weights(
    config: ModelConfig, weights: WeightsConfig, network: nn.Module
) -> InitialWeights:
    """Find what a config's network starts from, for the sources random, hub and file.

    Raises ValueError where the weights are missing, refused or do not fit; nothing is ever put in
    their place.
    """
    if weights.source == "random":
        _check_random("transform", weights.transform)
        _check_random("stem", weights.stem)
        return random_weights()
    if weights.source == "hub":
        listed = hub_weights(config.name, weights)
        return file_weights(
            fetch(listed),
            network,
            weights,
            tag=listed.tag,
            terms=listed.license,
            pretraining=estimated_price(config, listed.tag),
        )
    return file_weights(
        find_file(weights.file or ""),
        network,
        weights,
        tag=weights.tag,
        pretraining=estimated_price(config, weights.tag),
    )


def find_file(name: str) -> Path:
    """Find a weights file by path, or by name in HEADSTART_WEIGHTS_DIR.

    Raises ValueError naming both ways when it is in neither.
    """
    folder = os.environ.get("HEADSTART_WEIGHTS_DIR")
    for path in (Path(name).expanduser(), Path(folder or "").expanduser() / name):
        if path.is_file():
            return path
    raise ValueError(
        f"weights.file: no file {name!r}, neither as a path nor in HEADSTART_WEIGHTS_DIR "
        f"({folder or 'not set'}); random weights are never put in its place"
    )


def file_weights(
    path: Path,
    network: nn.Module,
    weights: WeightsConfig,
    *,
    tag: str | None,
    terms: str | None = None,
    pretraining: Pretraining | None = None,
) -> InitialWeights:
    """Read a safetensors file for a network: every tensor must fit except the head's.

    The head is left random. `terms`, the licence, and `pretraining` are for the record. Raises
    ValueError for a file that is not safetensors, whose keys or shapes are not the network's, or
    whose digest is not the config's.
    """
    label = f"weights.source {weights.source}: {str(path)!r}"
    try:
        sha256 = sha256_of(path)
        _check_digest(label, sha256, weights.sha256)
        file_tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{label} cannot be read as safetensors: {error}") from None
    heads = head_prefixes(network)
    state = network.state_dict()
    body = {key: value for key, value in file_tensors.items() if not key.startswith(heads)}
    tensors = convert_stem(body, state, weights.stem)
    _check_keys(label, tensors, _expected_keys(state, heads, weights.stem), state)
    _check_shapes(label, tensors, state)
    facts = WeightsFacts(
        source=weights.source,
        tag=tag,
        license=terms,
        sha256=sha256,
        stem=weights.stem,
        transform=weights.transform,
        pretraining=pretraining,
        loaded=len(tensors),
        skipped=tuple(key for key in file_tensors if key.startswith(heads)),
    )
    return InitialWeights(tensors=tensors, facts=facts)


def initial_state(model: ModelConfig, classes: int, seed: int, weights: InitialWeights) -> State:
    """Make the full state of a run at its start: random, with the pretrained tensors over it.

    Random weights come from (seed, init stream). Pretrained values are first transformed, if the
    facts say so, by a draw that depends on the seed and each tensor's name alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, Stream.INIT))
        network = build(model.name, classes, model.stem)
    state: State = dict(network.state_dict())
    transform = weights.facts.transform
    for key, value in weights.tensors.items():
        state[key] = value if transform is None else transformed(key, value, seed, transform)
    return state


def save_weights(path: Path, state: State, card: JsonObject) -> None:
    """Write weights and, beside them, their card: JSON, to which the file's sha256 is added.

    Each appears complete or not at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    save_file(tensors, part)
    write_json(path.with_suffix(".json"), {**card, "sha256": sha256_of(part)})
    os.replace(part, path)


def _check_random(key: str, value: str | None) -> None:
    if value:
        raise ValueError(
            f"weights.{key}: {value!r} needs pretrained values; weights.source is 'random'"
        )


def _check_digest(label: str, sha256: str, expected_sha256: str | None) -> None:
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise ValueError(
            f"{label} has the sha256 {sha256}, not weights.sha256 {expected_sha256}: take that "
            "file, or set it to null"
        )


def _expected_keys(
    state: Mapping[str, Tensor], heads: tuple[str, ...], stem: str | None
) -> set[str]:
    """Return the keys that a file must have: all but the head's and BatchNorm's counters."""
    expected = set()
    for key in state:
        if not key.startswith(heads) and not key.endswith("num_batches_tracked"):
            expected.add(key)
    if stem == "random":
        expected.discard(KEY)
    return expected


def _check_keys(
    label: str, tensors: Mapping[str, Tensor], expected: set[str], state: Mapping[str, Tensor]
) -> None:
    missing = sorted(expected - tensors.keys())
    unknown = sorted(tensors.keys() - state.keys())
    if missing or unknown:
        raise ValueError(
            f"{label} does not fit the network: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}"
        )


def _check_shapes(label: str, tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    for key, value in tensors.items():
        shape = tuple(value.shape)
        expected_shape = tuple(state[key].shape)
        if shape != expected_shape:
            raise ValueError(f"{label}: {key} is {shape}, the network's {expected_shape}")
