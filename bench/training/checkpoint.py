"""A run's own resume state: safetensors and JSON, no pickle, published by one rename. The newest whole one is loaded."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.files import sha256_of, sync, write_json
from bench.training.program import Program

_TENSORS, _META = "state.safetensors", "state.json"


def save(directory: Path, program: Program, *, step: int, progress: Mapping[str, Any]) -> Path:
    """Write `<directory>/step-<n>/` whole or not at all, then delete the older ones. `progress` is JSON."""
    final = directory / f"step-{step:08d}"
    part = directory / f".tmp-{step}-{os.getpid()}"
    shutil.rmtree(
        part, ignore_errors=True
    )  # a killed process had this id: in containers they repeat
    part.mkdir(parents=True)
    save_file(_tensors(program), part / _TENSORS)
    sync(part / _TENSORS)
    meta = {
        "step": step,
        "sha256": sha256_of(part / _TENSORS),
        "average_updates": program.average.updates,
        "scaler": program.scaler.state_dict() if program.scaler else None,
        **progress,
    }
    write_json(part / _META, meta)
    shutil.rmtree(final, ignore_errors=True)  # damaged, else the run would have gone on from it
    os.replace(part, final)
    sync(directory)
    for older in directory.iterdir():
        if older != final:
            shutil.rmtree(older, ignore_errors=True)
    return final


def load_newest(directory: Path, run_id: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and meta of the newest whole checkpoint of this very run; None when there is none.

    Raises ValueError for a checkpoint of another run (its id holds the configuration's digest).
    """
    for path in sorted(directory.glob("step-*"), reverse=True):
        try:
            meta = json.loads((path / _META).read_text())
            whole = sha256_of(path / _TENSORS) == meta["sha256"]
        except (OSError, ValueError, KeyError):
            whole = False
        if not whole:
            print(f"checkpoint {path} is damaged and passed over", flush=True)
            continue
        if meta["run_id"] != run_id:
            raise ValueError(f"checkpoint {path} is of run {meta['run_id']}, not of {run_id}")
        return load_file(path / _TENSORS), meta
    return None


@torch.no_grad()
def restore(program: Program, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Put a freshly reset program where the checkpoint was taken, in place."""
    program.raw.load_state_dict(
        {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    )
    state = program.optimizer.state_dict()
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state["state"].setdefault(int(index), {})[name] = value
    program.optimizer.load_state_dict(state)
    # Safetensors holds rows in order; a fused step walks memory, so state must lie as its (channels-last) parameter does.
    for parameter, entry in program.optimizer.state.items():
        like = {
            name: torch.empty_like(parameter).copy_(value)
            for name, value in entry.items()
            if value.shape == parameter.shape
        }
        entry.update(like)
    for position, average in enumerate(program.average.tensors):
        average.copy_(tensors[f"average.{position}"])
    program.average.updates = meta["average_updates"]
    kept = [
        tensors[f"kept.{position}"]
        for position in range(sum(key.startswith("kept.") for key in tensors))
    ]
    program.average.kept = [
        torch.empty_like(live).copy_(value)
        for live, value in zip(program.average.live, kept, strict=False)
    ]
    if program.scaler is not None:
        program.scaler.load_state_dict(meta["scaler"])


def _tensors(program: Program) -> dict[str, Tensor]:
    network = {f"network.{key}": value for key, value in program.raw.state_dict().items()}
    average = {f"average.{i}": value for i, value in enumerate(program.average.tensors)}
    average |= {f"kept.{i}": value for i, value in enumerate(program.average.kept)}
    state = program.optimizer.state_dict()["state"]
    optimizer = {
        f"optimizer.{i}.{name}": value
        for i, entry in state.items()
        for name, value in entry.items()
    }
    return {
        key: value.detach().cpu().contiguous().clone()
        for key, value in (network | average | optimizer).items()
    }
