"""What a network starts from: random weights, or a safetensors file with its head left out. Never one for the other."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.models.networks import build, head_prefixes
from bench.runtime.streams import Stream, derive_seed

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Start:
    """Pretrained tensors to load over random ones (none for random weights), and the record of where they come from."""

    tensors: State
    record: dict[str, Any]


def random_start() -> Start:
    """Nothing but the network's own initialisation."""
    return Start(tensors={}, record={"source": "random", "tag": None, "sha256": None, "loaded": 0, "skipped": []})


def find_file(name: str) -> Path:
    """A weights file by path, or by name in HEADSTART_WEIGHTS_DIR. Raises ValueError naming both ways when it is in neither."""
    folder = os.environ.get("HEADSTART_WEIGHTS_DIR")
    candidates = [Path(name).expanduser(), *([Path(folder).expanduser() / name] if folder else [])]
    for path in candidates:
        if path.is_file():
            return path
    where = f"HEADSTART_WEIGHTS_DIR ({folder})" if folder else "HEADSTART_WEIGHTS_DIR (not set)"
    raise ValueError(
        f"weights.file: no file {name!r}, neither as a path nor in {where}; random weights are never put in its place"
    )


def file_start(path: Path, network: nn.Module, *, source: str, tag: str | None) -> Start:
    """Read a safetensors file for a network: every tensor must fit except the head, which is left random.

    Raises ValueError for a file that is not safetensors, or whose keys or shapes are not the network's.
    """
    try:
        given = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights.file: {str(path)!r} cannot be read as safetensors: {error}") from None
    own = network.state_dict()
    heads = head_prefixes(network)
    skipped = [key for key in given if key.startswith(heads)]
    tensors = {key: value for key, value in given.items() if key not in skipped}
    wanted = {key for key in own if not key.startswith(heads) and not key.endswith("num_batches_tracked")}
    _check_keys(path, wanted, tensors, own)
    record = {"source": source, "tag": tag, "sha256": sha256_of(path), "loaded": len(tensors), "skipped": skipped}
    return Start(tensors=tensors, record=record)


def initial_state(name: str, classes: int, seed: int, start: Start) -> State:
    """The full state of a run at its start: random from (seed, init stream), then the pretrained tensors over it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, Stream.INIT))
        network = build(name, classes)
    return network.state_dict() | start.tensors


def save_weights(path: Path, state: State, card: dict[str, Any]) -> None:
    """Write weights and, beside them, their card (JSON with the file's sha256); each appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file({key: value.detach().cpu().contiguous() for key, value in state.items()}, part)
    card = {**card, "sha256": sha256_of(part)}
    card_part = part.with_suffix(".card.part")
    card_part.write_text(json.dumps(card, indent=1) + "\n")
    os.replace(card_part, path.with_suffix(".json"))
    os.replace(part, path)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_keys(path: Path, wanted: set[str], given: State, own: State) -> None:
    missing, extra = sorted(wanted - given.keys()), sorted(given.keys() - own.keys())
    if missing or extra:
        raise ValueError(
            f"weights.file: {str(path)!r} does not fit the network: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(extra)} unknown {extra[:3]}"
        )
    for key, value in given.items():
        if value.shape != own[key].shape:
            raise ValueError(f"weights.file: {str(path)!r}: {key} is {tuple(value.shape)}, the network's {tuple(own[key].shape)}")
