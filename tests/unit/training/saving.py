"""Saves checkpoints of one rank and reads them, as a run does."""

from pathlib import Path

from bench.ledger.records import RunBasis
from bench.runtime.distributed import World
from bench.training.checkpoint import (
    Checkpoint,
    RankState,
    RunProgress,
    read_checkpoint,
    save_checkpoint,
)
from bench.training.checkpoint_files import checkpoints_in
from bench.training.program import Program

SEGMENTS_NS = {"train": 2_250_000_001, "evaluate": 500_000_000}
BASIS = RunBasis(
    run_id="only-s0-1a2b3c4d",
    code_sha256="c" * 64,
    world_size=1,
    images_sha256="i" * 64,
    weights_sha256=None,
    precision="fp32",
    torch="2.14.1",
    hardware="a CPU 1",
)


class LoneWorld(World):
    """One rank, without a process group."""

    def __init__(self) -> None:
        self.size = 1
        self.rank = 0
        self.is_main = True


def save(
    directory: Path,
    program: Program,
    step: int = 3,
    *,
    keep: int = 2,
    val_losses: tuple[float, ...] = (1.5,),
    data_wait_s: float = 0.5,
) -> Path:
    """Save a checkpoint; return its folder."""
    rank_state = RankState(segments_ns=SEGMENTS_NS, data_wait_s=data_wait_s)
    progress = RunProgress(step=step, val_losses=val_losses, rank=rank_state)
    return save_checkpoint(directory, program, progress, basis=BASIS, world=LoneWorld(), keep=keep)


def load(directory: Path) -> Checkpoint:
    """Read the newest checkpoint that is whole."""
    newest = newest_step_folder(directory)
    assert newest is not None
    return read_checkpoint(newest, 0)


def newest_step_folder(directory: Path) -> Path | None:
    """Find the newest checkpoint that is whole."""
    checkpoints, _ = checkpoints_in(directory)
    return checkpoints[0].folder if checkpoints else None
