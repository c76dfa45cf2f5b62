"""The process group and this rank's device: the one door to accelerate."""

import ctypes
import os
import signal
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DynamoBackend,
    broadcast_object_list,
    parse_flag_from_env,
)
from torch import Tensor
from torch.distributed import ReduceOp

from bench.runtime.environment import process_age_s

PR_SET_PDEATHSIG = 1  # of prctl(2)
Value = TypeVar("Value")


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
        launched = int(os.environ.get("WORLD_SIZE", "1"))
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
        if asked_size is not None and asked_size != self.size:
            raise ValueError(self._wrong_size(asked_size))
        torch.set_num_threads(cpu_threads or _threads_of_a_rank())
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True
        self.startup_s = process_age_s()

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


def _end_with_launcher() -> None:
    """Have the kernel end this process with accelerate's launcher, which passes no signal on."""
    if "ACCELERATE_MIXED_PRECISION" in os.environ:  # set by the launcher alone
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _threads_of_a_rank() -> int:
    """Share this machine's CPUs among the ranks on it."""
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(os.sched_getaffinity(0)) // ranks_here)
