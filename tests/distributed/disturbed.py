"""`python -m bench` with one fault: DISTURB=<fault>:<rank>:<place>.

die: killed at its so many-th step, evaluation or file operation. drift: one parameter is moved by
the least bit after that step. full: the disk is full from that file of a checkpoint on.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from bench.cli import main


def count_calls(owner: object, name: str, die_at: int, calls: list[str]) -> None:
    """Let this process be killed in the middle of its so many-th call of anything counted."""
    original: Callable[..., object] = getattr(owner, name)

    def counted(*arguments: object, **named: object) -> object:
        calls.append(name)
        if len(calls) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(owner, name, counted)


def die(place: int) -> None:
    """Count steps, evaluations and all that is written."""
    from bench.ledger.events import EventLog
    from bench.training import checkpoint_files
    from bench.training.program import Program

    calls: list[str] = []
    count_calls(Program, "step", place, calls)
    count_calls(Program, "evaluate", place, calls)
    count_calls(EventLog, "flush", place, calls)
    count_calls(checkpoint_files, "write_file", place, calls)
    count_calls(os, "replace", place, calls)
    count_calls(os, "fsync", place, calls)
    count_calls(Path, "unlink", place, calls)


def drift(place: int) -> None:
    """Move a parameter by one unit in the last place, once."""
    from bench.training.program import Program

    original = Program.step

    def step(self: Program, batch: object, step: int) -> Tensor:
        loss = original(self, batch, step)
        if step == place:
            parameter = next(iter(self.raw.parameters())).detach()
            first = (0,) * parameter.ndim
            parameter[first] = torch.nextafter(parameter[first], torch.tensor(9.0))
        return loss

    Program.step = step


def full(place: int) -> None:
    """Let no file of a checkpoint be written from the so many-th on."""
    from bench.training import checkpoint_files

    original = checkpoint_files.write_file
    written: list[Path] = []

    def write_file(path: Path, write: Callable[[Path], None]) -> object:
        written.append(path)
        if len(written) >= place:
            path.write_bytes(b"half a file")
            raise OSError(28, "No space left on device", str(path))
        return original(path, write)

    checkpoint_files.write_file = write_file


FAULTS = {"die": die, "drift": drift, "full": full}

if __name__ == "__main__":
    if os.environ.get("DISTURB"):
        fault, rank, fault_place = os.environ["DISTURB"].split(":")
        if os.environ.get("RANK", "0") == rank:
            FAULTS[fault](int(fault_place))
    sys.exit(main(sys.argv[1:]))
