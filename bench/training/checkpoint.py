"""A run's own state to resume from: safetensors and JSON, no pickle, published by one rename.

The newest whole one is loaded.
"""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.files import sha256_of, sync, write_json
from bench.ledger.json_records import Record, parse, to_json
from bench.training.program import Program

TENSORS_FILE = "state.safetensors"
STATE_FILE = "state.json"


@dataclass(frozen=True, kw_only=True)
class SavedState(Record):
    """What a checkpoint holds beside its tensors; `sha256` is of their file."""

    run_id: str
    step: int
    losses: Sequence[float | None]  # of evaluations on val; None where not finite
    data_wait_s: float
    segments_s: Mapping[str, float]
    average_updates: int
    scaler: Mapping[str, int | float] | None  # of fp16; torch takes no float for a count
    sha256: str

    @property
    def val_losses(self) -> list[float]:
        """The losses as the recipe reacts to them: infinite where not finite."""
        return [_infinite_if_none(loss) for loss in self.losses]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A whole checkpoint, read from the disk."""

    state: SavedState
    tensors: Mapping[str, Tensor]


def save(
    directory: Path,
    program: Program,
    *,
    run_id: str,
    step: int,
    val_losses: Sequence[float],
    data_wait_s: float,
    segments_s: Mapping[str, float],
) -> Path:
    """Write `<directory>/step-<n>/` whole or not at all, then delete the older ones."""
    final = directory / f"step-{step:08d}"
    partial = directory / f".tmp-{step}-{os.getpid()}"
    # A killed process may have had this id: in containers they repeat.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(_tensors(program), partial / TENSORS_FILE)
    sync(partial / TENSORS_FILE)
    scaler = program.scaler.state_dict() if program.scaler else None
    state = SavedState(
        run_id=run_id,
        step=step,
        losses=[_none_if_infinite(loss) for loss in val_losses],
        data_wait_s=data_wait_s,
        segments_s=segments_s,
        average_updates=program.average.updates,
        scaler=scaler,
        sha256=sha256_of(partial / TENSORS_FILE),
    )
    write_json(partial / STATE_FILE, to_json(state))
    shutil.rmtree(final, ignore_errors=True)  # damaged, else the run would have gone on from it
    os.replace(partial, final)
    sync(directory)
    for older in directory.iterdir():
        if older != final:
            shutil.rmtree(older, ignore_errors=True)
    return final


def load_newest(directory: Path, run_id: str) -> Checkpoint | None:
    """Load the newest whole checkpoint of this very run; None when there is none.

    Raises ValueError for a checkpoint of another run (its id holds the configuration's digest).
    """
    for path in sorted(directory.glob("step-*"), reverse=True):
        state = _read_state(path)
        if state is None:
            print(f"checkpoint {path} is damaged and passed over", flush=True)
            continue
        if state.run_id != run_id:
            raise ValueError(f"checkpoint {path} is of run {state.run_id}, not of {run_id}")
        return Checkpoint(state=state, tensors=load_file(path / TENSORS_FILE))
    return None


@torch.no_grad()
def restore(program: Program, checkpoint: Checkpoint) -> None:
    """Put a freshly reset program where the checkpoint was taken, in place."""
    tensors = checkpoint.tensors
    program.raw.load_state_dict(_below("network", tensors))
    _restore_optimizer(program.optimizer, _below("optimizer", tensors))
    program.average.restore(
        averages=_in_order(_below("average", tensors)),
        kept=_in_order(_below("kept", tensors)),
        updates=checkpoint.state.average_updates,
    )
    if program.scaler is not None and checkpoint.state.scaler is not None:
        program.scaler.load_state_dict(dict(checkpoint.state.scaler))


def _infinite_if_none(loss: float | None) -> float:
    return math.inf if loss is None else loss


def _none_if_infinite(loss: float) -> float | None:
    """JSON knows no infinity."""
    return loss if math.isfinite(loss) else None


def _read_state(path: Path) -> SavedState | None:
    """Read a checkpoint's state; None unless it and its tensors are whole."""
    try:
        state = parse(SavedState, (path / STATE_FILE).read_bytes())
        is_whole = sha256_of(path / TENSORS_FILE) == state.sha256
    except (OSError, ValueError):
        return None
    return state if is_whole else None


def _tensors(program: Program) -> dict[str, Tensor]:
    """Return all tensors of a program by name, on the host, as safetensors takes them."""
    named: dict[str, Tensor] = {}
    for name, tensor in program.raw.state_dict().items():
        named[f"network.{name}"] = tensor
    for place, tensor in enumerate(program.average.tensors):
        named[f"average.{place}"] = tensor
    for place, tensor in enumerate(program.average.kept):
        named[f"kept.{place}"] = tensor
    for index, entry in program.optimizer.state_dict()["state"].items():
        for name, tensor in entry.items():
            named[f"optimizer.{index}.{name}"] = tensor
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in named.items()}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix and a dot, without these."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def _in_order(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """Return tensors whose names are their places."""
    return [tensors[str(place)] for place in range(len(tensors))]


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load an optimizer's state from tensors named `<parameter's index>.<name>`."""
    tree = optimizer.state_dict()
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        tree["state"].setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(tree)
    # Safetensors holds rows in order; a fused step walks memory, so state must lie as its
    # (channels-last) parameter does.
    for parameter, entry in optimizer.state.items():
        for name, tensor in entry.items():
            if tensor.shape == parameter.shape:
                entry[name] = torch.empty_like(parameter).copy_(tensor)
