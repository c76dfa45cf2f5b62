"""What a network starts from: random weights, or a safetensors file, given or from the hub, without its head."""

import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.config.load import stored_table
from bench.config.schema import ModelConfig, WeightsConfig
from bench.models.hub import fetch, hub_weights
from bench.models.networks import build, count, head_prefixes
from bench.models.stem import KEY, convert_stem
from bench.files import sha256_of, write_json
from bench.runtime.streams import Stream, derive_seed

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Start:
    """Pretrained tensors to load over random ones (none for random weights), and the record of where they come from and of
    what is done to their values in each run (`transform`)."""

    tensors: State
    record: dict[str, Any]


def random_start() -> Start:
    """Nothing but the network's own initialisation."""
    nothing = dict.fromkeys(("tag", "license", "sha256", "stem", "transform", "pretraining"))
    return Start(tensors={}, record={"source": "random", **nothing, "loaded": 0, "skipped": []})


def start(config: ModelConfig, weights: WeightsConfig, network: nn.Module) -> Start:
    """What a config's network starts from, for the sources random, hub and file.

    Raises ValueError where the weights are missing, refused or do not fit; nothing is ever put in their place.
    """
    if weights.source == "random":
        for key in ("transform", "stem"):
            if getattr(weights, key):
                raise ValueError(
                    f"weights.{key}: {getattr(weights, key)!r} needs pretrained values; weights.source is 'random'"
                )
        return random_start()
    found = hub_weights(config.name, weights) if weights.source == "hub" else None
    path = fetch(found) if found else find_file(weights.file or "")
    tag, terms = (found.tag, found.license) if found else (weights.tag, None)
    return file_start(
        path, network, weights, tag=tag, terms=terms, pretraining=estimated_price(config, tag)
    )


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What training took that made known weights: an entry of configs/pretraining.yaml."""

    epochs: int
    images: int
    size: int  # pixels a side
    classes: int
    source: str


def pretrainings() -> dict[str, Pretraining]:
    """Read configs/pretraining.yaml: by `<network>.<tag>`."""
    return stored_table("pretraining", dict[str, Pretraining])


def estimated_price(config: ModelConfig, tag: str | None) -> dict[str, Any] | None:
    """What making a network's weights of a tag took, from configs/pretraining.yaml; None where that is not known."""
    name = config.name.partition(".")[0]
    row = pretrainings().get(f"{name}.{tag}")
    if row is None:
        return None
    network = replace(config, name=name, stem="stock")
    forward = count(network, row.classes, row.size).flops_per_image
    return {
        "source": f"{row.epochs} epochs of {row.images:,} images at {row.size} px; {row.source}",
        "flops": 3.0 * forward * row.epochs * row.images,
        "estimate": True,
    }


def find_file(name: str) -> Path:
    """A weights file by path, or by name in HEADSTART_WEIGHTS_DIR. Raises ValueError naming both ways when it is in neither."""
    folder = os.environ.get("HEADSTART_WEIGHTS_DIR")
    for path in (Path(name).expanduser(), Path(folder or "").expanduser() / name):
        if path.is_file():
            return path
    where = f"HEADSTART_WEIGHTS_DIR ({folder})" if folder else "HEADSTART_WEIGHTS_DIR (not set)"
    raise ValueError(
        f"weights.file: no file {name!r}, neither as a path nor in {where}; random weights are never put in its place"
    )


def file_start(
    path: Path, network: nn.Module, weights: WeightsConfig, *, tag: str | None, terms: str | None = None,
    pretraining: dict[str, Any] | None = None,
) -> Start:  # fmt: skip
    """Read a safetensors file for a network: every tensor must fit except the head, which is left random.

    `terms`, the licence, and `pretraining`, what making the weights took, are for the record. Raises ValueError for a file that
    is not safetensors, whose keys or shapes are not the network's, or whose digest is not the config's.
    """
    file, sha256 = f"weights.source {weights.source}: {str(path)!r}", weights.sha256
    try:
        digest = sha256_of(path)
        if digest != (sha256 or digest):
            raise ValueError(
                f"{file} has the sha256 {digest}, not weights.sha256 {sha256}: take that file, or set it to null"
            )
        given = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} cannot be read as safetensors: {error}") from None
    own, heads = network.state_dict(), head_prefixes(network)
    skipped = [key for key in given if key.startswith(heads)]
    tensors = {key: value for key, value in given.items() if key not in skipped}
    wanted = {
        key for key in own if not key.startswith(heads) and not key.endswith("num_batches_tracked")
    }
    tensors = convert_stem(tensors, own, weights.stem)
    missing = sorted(wanted - tensors.keys() - ({KEY} if weights.stem == "random" else set()))
    extra = sorted(tensors.keys() - own.keys())
    if missing or extra:
        raise ValueError(
            f"{file} does not fit the network: {len(missing)} tensors missing {missing[:3]}, {len(extra)} unknown {extra[:3]}"
        )
    for key, value in tensors.items():
        if value.shape != own[key].shape:
            raise ValueError(
                f"{file}: {key} is {tuple(value.shape)}, the network's {tuple(own[key].shape)}"
            )
    record = {
        "source": weights.source, "tag": tag, "license": terms, "sha256": digest, "stem": weights.stem,
        "transform": weights.transform, "pretraining": pretraining, "loaded": len(tensors), "skipped": skipped,
    }  # fmt: skip
    return Start(tensors=tensors, record=record)


def initial_state(model: ModelConfig, classes: int, seed: int, start: Start) -> State:
    """The full state of a run at its start: random from (seed, init stream), then the pretrained tensors over it.

    Their values are first transformed, if the start says so, by a draw that depends on the seed and each tensor's name alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, Stream.INIT))
        network = build(model.name, classes, model.stem)
    how = start.record["transform"]
    return network.state_dict() | {
        key: _transformed(key, value, seed, how) for key, value in start.tensors.items()
    }


def _transformed(key: str, value: Tensor, seed: int, how: str | None) -> Tensor:
    """Integers stay; a variance, which no normal draw may make negative, is shuffled in either case."""
    if how is None or not value.is_floating_point():
        return value
    generator = torch.Generator().manual_seed(
        derive_seed(seed, Stream.INIT, zlib.crc32(key.encode()), epoch=1)
    )
    if how == "shuffled" or key.endswith("running_var"):
        return value.flatten()[torch.randperm(value.numel(), generator=generator)].view(value.shape)
    drawn, given = (
        torch.randn(value.shape, generator=generator, dtype=torch.float64),
        value.double(),
    )
    drawn = (drawn - drawn.mean()) / drawn.std(correction=0).clamp_min(1e-300)  # of one number: 0
    return (given.mean() + given.std(correction=0) * drawn).to(value.dtype)


def save_weights(path: Path, state: State, card: dict[str, Any]) -> None:
    """Write weights and, beside them, their card (JSON with the file's sha256); each appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file({key: value.detach().cpu().contiguous() for key, value in state.items()}, part)
    write_json(path.with_suffix(".json"), {**card, "sha256": sha256_of(part)})
    os.replace(part, path)
