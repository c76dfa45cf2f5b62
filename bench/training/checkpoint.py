"""A run's own state to resume from: safetensors and JSON, no pickle.

Rank 0 saves what all ranks hold alike, every rank what it alone holds: BatchNorm's statistics and
their averages, its random numbers, its seconds. How the files lie on the disk is in
checkpoint_files.py.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from safetensors.torch import load, save_file
from torch import Tensor

from bench.ledger.json_records import Record, parse, to_json_bytes
from bench.ledger.records import RunBasis
from bench.runtime.distributed import World
from bench.training import checkpoint_files as files
from bench.training.checkpoint_files import FileEntry, Manifest, StoredCheckpoint
from bench.training.program import Program

# Shared tensors lie in files of about so many bytes: one is hashed while the next is written.
PART_BYTES = 2**25
# What a tensor's name ends with that is saved as it lies in memory: [N, H, W, C].
CHANNELS_LAST = "@channels_last"
TO_ROWS = (0, 2, 3, 1)
FROM_ROWS = (0, 3, 1, 2)
SHARED_STATE = "shared.json"
SHARED_TENSORS = "shared-"
CPU_RANDOM = "random.cpu"
CUDA_RANDOM = "random.cuda"


@dataclass(frozen=True, kw_only=True)
class SharedState(Record):
    """What all ranks hold alike beside tensors."""

    val_losses: Sequence[float]
    average_updates: int
    skipped_steps: int
    scaler: Mapping[str, int | float] | None  # of fp16; torch takes no float for a count


@dataclass(frozen=True, kw_only=True)
class RankState(Record):
    """What a rank alone holds beside tensors: its time."""

    segments_ns: Mapping[str, int]
    data_wait_s: float


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """Where a run stands when it is saved; the seconds are this rank's."""

    step: int
    val_losses: Sequence[float]
    rank: RankState


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a rank has read of a checkpoint."""

    step: int
    shared: SharedState
    shared_tensors: Mapping[str, Tensor]
    rank: RankState
    rank_tensors: Mapping[str, Tensor]


def save_checkpoint(
    directory: Path,
    program: Program,
    progress: RunProgress,
    *,
    basis: RunBasis,
    world: World,
    keep: int,
) -> Path:
    """Write a checkpoint, whole or not at all, then remove the oldest beyond `keep`.

    Every rank calls it. Raises OSError, or OtherRankError, where a rank cannot write.
    """
    unpublished = world.on_main(partial(files.make_unpublished, directory, progress.step))
    try:
        entries_by_rank = world.on_every_rank(
            partial(_write_files, unpublished, program, progress, world=world)
        )
        entries = tuple(chain.from_iterable(entries_by_rank))
        manifest = Manifest(basis=basis, step=progress.step, files=entries)
        return world.on_main(partial(files.publish, unpublished, manifest, keep))
    except BaseException:
        shutil.rmtree(unpublished, ignore_errors=True)
        raise


def read_checkpoint(folder: Path, rank: int) -> Checkpoint:
    """Read what a rank needs of a checkpoint. Raises DamagedError where it is not as it was."""
    stored = files.open_checkpoint(folder)
    shared_tensors: dict[str, Tensor] = {}
    for name in stored.names(SHARED_TENSORS):
        shared_tensors |= _read_tensors(stored, name)
    return Checkpoint(
        step=stored.manifest.step,
        shared=parse(SharedState, stored.read(SHARED_STATE)),
        shared_tensors=shared_tensors,
        rank=parse(RankState, stored.read(_rank_state_name(rank))),
        rank_tensors=_read_tensors(stored, _rank_tensors_name(rank)),
    )


@torch.no_grad()
def restore(program: Program, checkpoint: Checkpoint) -> None:
    """Put a freshly reset program where the checkpoint was taken, in place; random numbers too."""
    shared = checkpoint.shared_tensors
    alone = checkpoint.rank_tensors
    program.raw.load_state_dict({**_below("network", shared), **_below("network", alone)})
    _restore_optimizer(program.optimizer, _below("optimizer", shared))
    program.average.restore(
        averages=_in_order({**_below("average", shared), **_below("average", alone)}),
        kept=_in_order({**_below("kept", shared), **_below("kept", alone)}),
        updates=checkpoint.shared.average_updates,
    )
    program.set_skipped_steps(checkpoint.shared.skipped_steps)
    if program.scaler is not None and checkpoint.shared.scaler is not None:
        program.scaler.load_state_dict(dict(checkpoint.shared.scaler))
    torch.set_rng_state(alone[CPU_RANDOM])
    if CUDA_RANDOM in alone:
        torch.cuda.set_rng_state(alone[CUDA_RANDOM])


def _write_files(
    folder: Path, program: Program, progress: RunProgress, *, world: World
) -> tuple[FileEntry, ...]:
    """Write this rank's files, and on rank 0 those that all ranks share."""
    writers = {
        _rank_state_name(world.rank): _record_writer(progress.rank),
        _rank_tensors_name(world.rank): _tensor_writer(_rank_tensors(program)),
    }
    if world.is_main:
        writers |= {SHARED_STATE: _record_writer(_shared_state(program, progress))}
        for number, part in enumerate(_parts(_shared_tensors(program))):
            writers |= {f"{SHARED_TENSORS}{number}.safetensors": _tensor_writer(part)}
    return files.write_files(folder, writers)


def _record_writer(record: Record) -> Callable[[Path], object]:
    content = to_json_bytes(record)

    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def _tensor_writer(tensors: Mapping[str, Tensor]) -> Callable[[Path], object]:
    """Return what writes tensors, on the host and as they lie in memory."""
    on_host: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if _is_channels_last(tensor):
            on_host[f"{name}{CHANNELS_LAST}"] = tensor.detach().cpu().permute(TO_ROWS)
        else:
            on_host[name] = tensor.detach().cpu().contiguous()

    def write(path: Path) -> None:
        save_file(on_host, path)

    return write


def _is_channels_last(tensor: Tensor) -> bool:
    """Say whether an image-like tensor [N, C, H, W] lies as [N, H, W, C], and not as rows."""
    if tensor.ndim != 4 or tensor.is_contiguous():
        return False
    return tensor.is_contiguous(memory_format=torch.channels_last)


def _read_tensors(stored: StoredCheckpoint, name: str) -> dict[str, Tensor]:
    """Return a file's tensors, channels-last ones with their axes in order again."""
    tensors: dict[str, Tensor] = {}
    for key, tensor in load(stored.read(name)).items():
        if key.endswith(CHANNELS_LAST):
            tensors[key.removesuffix(CHANNELS_LAST)] = tensor.permute(FROM_ROWS)
        else:
            tensors[key] = tensor
    return tensors


def _rank_state_name(rank: int) -> str:
    return f"rank-{rank}.json"


def _rank_tensors_name(rank: int) -> str:
    return f"rank-{rank}.safetensors"


def _shared_state(program: Program, progress: RunProgress) -> SharedState:
    scaler = program.scaler.state_dict() if program.scaler else None
    return SharedState(
        val_losses=progress.val_losses,
        average_updates=program.average.updates,
        skipped_steps=program.skipped_steps(),
        scaler=scaler,
    )


def _shared_tensors(program: Program) -> dict[str, Tensor]:
    """Return by name the tensors that every rank holds alike: all that gradients move."""
    parameters = range(program.average.parameter_count)
    return {
        **_parameters(program),
        **_averages(program, parameters),
        **_optimizer_state(program),
    }


def _parts(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Split tensors, in their order, into parts of about PART_BYTES."""
    parts: list[dict[str, Tensor]] = [{}]
    for name, tensor in tensors.items():
        if sum(part.nbytes for part in parts[-1].values()) >= PART_BYTES:
            parts.append({})
        parts[-1][name] = tensor
    return parts


def _parameters(program: Program) -> dict[str, Tensor]:
    return {f"network.{name}": parameter for name, parameter in program.raw.named_parameters()}


def _optimizer_state(program: Program) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for index, entry in program.optimizer.state_dict()["state"].items():
        for name, tensor in entry.items():
            named[f"optimizer.{index}.{name}"] = tensor
    return named


def _rank_tensors(program: Program) -> dict[str, Tensor]:
    """Return by name the tensors that a rank alone holds: statistics of its own images."""
    average = program.average
    parameter_names = {name for name, _ in program.raw.named_parameters()}
    statistics = range(average.parameter_count, len(average.live))
    named = _averages(program, statistics)
    for name, tensor in program.raw.state_dict().items():
        if name not in parameter_names:
            named[f"network.{name}"] = tensor
    named[CPU_RANDOM] = torch.get_rng_state()
    if program.device.type == "cuda":
        named[CUDA_RANDOM] = torch.cuda.get_rng_state()
    return named


def _averages(program: Program, places: range) -> dict[str, Tensor]:
    """Return the averages of some tensors and what was kept of them, as far as there are such."""
    average = program.average
    named: dict[str, Tensor] = {}
    for place in places:
        if average.tensors:
            named[f"average.{place}"] = average.tensors[place]
        if average.kept:
            named[f"kept.{place}"] = average.kept[place]
    return named


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
