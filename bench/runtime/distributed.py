"""The process group and this rank's device: the one door to accelerate."""

import ctypes
import os
import signal
from collections.abc import Iterable, Sequence
from typing import Any

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


class PendingSum:
    """A sum over ranks on its way to the host, which has not waited for it."""

    def __init__(self, total: Tensor) -> None:
        self._copy = total.to("cpu", non_blocking=True)  # from a GPU: into pinned memory
        self._arrival: torch.cuda.Event | None = None
        if total.is_cuda:
            self._arrival = torch.cuda.Event()
            self._arrival.record()

    def read(self) -> float:
        """The sum, waited for if it has not arrived."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._copy.item()


class World:
    """All ranks of this job. Opened once a process; raises ValueError when the ranks are not
    those that were asked for.
    """

    def __init__(self, asked_size: int | None = None, cpu_threads: int | None = None) -> None:
        if (
            "ACCELERATE_MIXED_PRECISION" in os.environ
        ):  # set by accelerate's launcher alone, which passes no signal on
            ctypes.CDLL(None).prctl(
                1, signal.SIGTERM
            )  # PR_SET_PDEATHSIG: the kernel ends this process with it
        cpu = parse_flag_from_env("ACCELERATE_USE_CPU")  # PartialState alone does not ask
        launched = int(os.environ.get("WORLD_SIZE", "1"))
        if (
            launched > 1 and not cpu and not torch.cuda.is_available()
        ):  # accelerate would have each train alone
            raise ValueError(
                f"{launched} processes were launched without a GPU: set ACCELERATE_USE_CPU=true to join them"
            )
        self._state = PartialState(cpu=cpu)
        self.size: int = self._state.num_processes
        self.rank: int = self._state.process_index
        self.is_main = self.rank == 0  # whether this rank writes and prints
        self.device: torch.device = self._state.device
        if launched != self.size:
            raise ValueError(f"{launched} processes were launched but each sees {self.size}")
        if asked_size is not None and asked_size != self.size:
            by_hand = "; on a CPU: ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N"
            hint = by_hand if self.device.type == "cpu" else ""
            raise ValueError(
                f"hardware.world_size: {asked_size} processes were asked for, {self.size} started{hint}"
            )
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(cpu_threads or max(1, len(os.sched_getaffinity(0)) // local))
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True
        self.accelerator: Accelerator  # accelerate's own object, for what it owns: autocast, DDP, gradient scaling
        self.startup_s = process_age_s()

    def set_precision(self, name: str) -> None:
        """Open accelerate's mixed precision (fp32, bf16, fp16), explicitly, whatever the
        launcher exported; once a process.
        """
        # float32 parameters throughout; compile has one owner (bench.runtime.compute), so dynamo is
        # off here.
        buckets, precision = (
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
            "no" if name == "fp32" else name,
        )
        self.accelerator = Accelerator(
            mixed_precision=precision, dynamo_backend=DynamoBackend.NO, kwargs_handlers=[buckets]
        )

    def synchronize(self) -> None:
        """Wait until the device has done what was asked of it, so that the host's clock may be
        read.
        """
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def sums(self, values: Sequence[float]) -> list[Any]:
        """Sums over ranks: of integers exact integers, of others in double precision."""
        return self._reduce(values, ReduceOp.SUM)

    def begin_sum(self, value: Tensor) -> PendingSum:
        """Begin to sum a scalar on the device over ranks; `value` is overwritten on the way."""
        if self.size > 1:
            torch.distributed.all_reduce(value)
        return PendingSum(value)

    def slowest(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over ranks: the slowest rank's seconds."""
        return self._reduce(values, ReduceOp.MAX)

    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over ranks, in place."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)
                tensor /= self.size

    def from_main(self, value: Any) -> Any:
        """Rank 0's value on every rank; small plain objects only."""
        return broadcast_object_list([value])[0] if self.size > 1 else value

    def barrier(self) -> None:
        """Wait for all ranks."""
        self._state.wait_for_everyone()

    def close(self) -> None:
        """Leave the process group."""
        self._state.destroy_process_group()

    def _reduce(self, values: Sequence[float], operation: Any) -> list[Any]:
        if self.size == 1:
            return list(values)
        tensor = torch.from_numpy(np.array(values)).to(self.device)  # int64 or float64
        torch.distributed.all_reduce(tensor, op=operation)
        return tensor.tolist()
