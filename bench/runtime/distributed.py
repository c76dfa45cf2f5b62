"""The process group and this rank's device: the one door to accelerate."""

import ctypes
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DynamoBackend,
    broadcast_object_list,
    gather_object,
    parse_flag_from_env,
)
from torch import Tensor
from torch.distributed import ReduceOp

from bench.ledger.errors import LedgerError
from bench.runtime.environment import process_age_s
from bench.runtime.launched import launched_processes
from bench.runtime.peers import lost_peers, this_peer

PR_SET_PDEATHSIG = 1  # of prctl(2)
Value = TypeVar("Value")


class OtherRankError(RuntimeError):
    """Another rank could not do what all must do; its sentence is told."""


@dataclass(frozen=True, kw_only=True)
class _Outcome(Generic[Value]):
    """What a rank's work came to: one value, or none and an error in a sentence."""

    rank: int
    values: tuple[Value, ...]
    error: str | None
    is_wrong_input: bool = False


class PendingSum:
    """A sum over ranks on its way to the host, which has not waited for it."""

    def __init__(self, total: Tensor) -> None:
        self._copy = total.to("cpu", non_blocking=True)  # from a GPU: into pinned memory
        self._arrival: torch.cuda.Event | None = None
        if total.is_cuda:
            self._arrival = torch.cuda.Event()
            self._arrival.record()

    def read(self) -> float:
        """Return the sum; waits for it if it has not arrived."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._copy.item()


class World:
    """All ranks of this job. Opened once a process.

    `asked_size` is how many ranks the config wants, `cpu_threads` how many threads each computes
    with. `accelerator` is accelerate's own object, for what it owns: autocast, DDP, gradient
    scaling; `set_precision` opens it.
    """

    accelerator: Accelerator

    def __init__(self, asked_size: int | None = None, cpu_threads: int | None = None) -> None:
        """Raise ValueError when the ranks are not those that were asked for."""
        _end_with_launcher()
        on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU")  # PartialState alone does not ask
        launched = launched_processes()
        if launched > 1 and not on_cpu and not torch.cuda.is_available():
            # accelerate would have each train alone
            raise ValueError(
                f"{launched} processes were launched without a GPU: "
                "set ACCELERATE_USE_CPU=true to join them"
            )
        self._state = PartialState(cpu=on_cpu)
        self.size: int = self._state.num_processes
        self.rank: int = self._state.process_index
        self.is_main = self.rank == 0  # whether this rank writes and prints
        self.device: torch.device = self._state.device
        if launched != self.size:
            raise ValueError(f"{launched} processes were launched but each sees {self.size}")
        self.configure(asked_size, cpu_threads)
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True
        self._peers = self.gather(this_peer(self.rank))
        self.startup_s = process_age_s()

    def configure(self, asked_size: int | None, cpu_threads: int | None) -> None:
        """Take so many CPU threads.

        Raises ValueError when the ranks are not as many as were asked for.
        """
        if asked_size is not None and asked_size != self.size:
            raise ValueError(self._wrong_size(asked_size))
        torch.set_num_threads(cpu_threads or _threads_of_a_rank())

    def set_precision(self, name: str) -> None:
        """Open accelerate's mixed precision (fp32, bf16, fp16); once a process.

        Explicitly, whatever the launcher exported. Parameters are float32 throughout.
        """
        self.accelerator = Accelerator(
            mixed_precision="no" if name == "fp32" else name,
            # Compiling has one owner, bench.runtime.compute.
            dynamo_backend=DynamoBackend.NO,
            kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
        )

    def synchronize(self) -> None:
        """Wait until the device has done what was asked of it, so that the clock may be read."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def sums(self, values: Sequence[int]) -> list[int]:
        """Return exact sums of integers over ranks."""
        if self.size == 1:
            return list(values)
        totals: list[int] = self._reduced(values, ReduceOp.SUM).tolist()
        return totals

    def sum_of(self, value: float) -> float:
        """Return the sum of a value over ranks, in double precision."""
        if self.size == 1:
            return value
        total: float = self._reduced([value], ReduceOp.SUM).item()
        return total

    def slowest(self, values: Sequence[float]) -> list[float]:
        """Return the largest of each value over ranks: the slowest rank's seconds."""
        if self.size == 1:
            return list(values)
        largest: list[float] = self._reduced(values, ReduceOp.MAX).tolist()
        return largest

    def begin_sum(self, value: Tensor) -> PendingSum:
        """Begin to sum a scalar on the device over ranks; `value` is overwritten on the way."""
        if self.size > 1:
            torch.distributed.all_reduce(value)
        return PendingSum(value)

    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over ranks, in place."""
        if self.size == 1:
            return
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)
            tensor /= self.size

    def from_main(self, value: Value) -> Value:
        """Return rank 0's value on every rank; small plain objects only."""
        if self.size == 1:
            return value
        shared: Value = broadcast_object_list([value])[0]
        return shared

    def gather(self, value: Value) -> list[Value]:
        """Return every rank's value on every rank, in order of rank; small plain objects only."""
        if self.size == 1:
            return [value]
        values: list[Value] = gather_object([value])
        return values

    def on_every_rank(self, work: Callable[[], Value]) -> list[Value]:
        """Do the work on every rank; return all that it came to, in order of rank.

        Where a rank's raises ValueError or OSError all raise: this rank its own error, the others
        one that names the rank. So no rank waits for one that has given up.
        """
        try:
            outcome = _Outcome(rank=self.rank, values=(work(),), error=None)
            error: ValueError | OSError | None = None
        except (ValueError, OSError) as failure:
            error = failure
            outcome = _Outcome(
                rank=self.rank,
                values=(),
                error=str(failure),
                is_wrong_input=is_wrong_input(failure),
            )
        outcomes = self.gather(outcome)
        if error is not None:
            raise error
        values: list[Value] = []
        for other in outcomes:
            _raise_where_failed(other)
            values += other.values
        return values

    def each(self, work: Callable[[], Value]) -> Value:
        """Do the work on every rank, as `on_every_rank`; return what it came to on this one.

        That may be anything: it is not sent.
        """
        values: list[Value] = []

        def keep_value() -> None:
            values.append(work())

        self.on_every_rank(keep_value)
        return values[0]

    def on_main(self, work: Callable[[], Value]) -> Value:
        """Do the work on rank 0 alone; every rank returns what it came to, or raises its error.

        Small plain objects only.
        """
        values: list[Value] = []

        def work_on_main() -> None:
            if self.is_main:
                values.append(work())

        self.on_every_rank(work_on_main)
        return self.gather(values)[0][0]

    def agree_on(self, number: int) -> bool:
        """Say whether all ranks have the same integer, of 64 bits."""
        if self.size == 1:
            return True
        # Of the inverted ones the greatest is the least one's; a minus would overflow for one.
        inverted, most = self._reduced([~number, number], ReduceOp.MAX).tolist()
        return bool(~inverted == most)

    def lost_ranks(self) -> list[str]:
        """Say of each other rank on this host that is gone how it ended; waits up to a second."""
        return lost_peers(self._peers, self.rank)

    def say(self, line: str) -> None:
        """Print a line on rank 0. A terminal that is gone is no reason to end a study."""
        if not self.is_main:
            return
        try:
            print(line, flush=True)
        except (OSError, ValueError):
            pass

    def barrier(self) -> None:
        """Wait for all ranks."""
        self._state.wait_for_everyone()

    def close(self) -> None:
        """Leave the process group."""
        self._state.destroy_process_group()

    def _wrong_size(self, asked_size: int) -> str:
        message = f"hardware.world_size: {asked_size} processes were asked for, {self.size} started"
        if self.device.type == "cpu":
            message += (
                "; on a CPU: ACCELERATE_USE_CPU=true "
                "accelerate launch --multi_gpu --num_processes N"
            )
        return message

    def _reduced(self, values: Sequence[float], operation: ReduceOp.RedOpType) -> Tensor:
        tensor = torch.from_numpy(np.array(values)).to(self.device)  # int64 or float64
        torch.distributed.all_reduce(tensor, op=operation)
        return tensor


@contextmanager
def opened_world() -> Iterator[World]:
    """Join this job's ranks, and leave them at the end."""
    with closing(World()) as world:
        yield world


def is_wrong_input(failure: ValueError | OSError) -> bool:
    """Say whether an error is of what was asked for, and not of what is stored or of the disk."""
    return isinstance(failure, ValueError) and not isinstance(failure, LedgerError)


def _raise_where_failed(outcome: _Outcome[Value]) -> None:
    if outcome.error is None:
        return
    message = f"rank {outcome.rank}: {outcome.error}"
    if outcome.is_wrong_input:
        raise ValueError(message)
    raise OtherRankError(message)


def _end_with_launcher() -> None:
    """Have the kernel end this process with accelerate's launcher, which passes no signal on."""
    if "ACCELERATE_MIXED_PRECISION" in os.environ:  # set by the launcher alone
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _threads_of_a_rank() -> int:
    """Share this machine's CPUs among the ranks on it."""
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(os.sched_getaffinity(0)) // ranks_here)
