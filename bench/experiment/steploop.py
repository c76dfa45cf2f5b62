"""Times a loop of training steps; the device is synchronised at its ends alone.

The host's part is counted apart.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import torch

from bench.data.batches import Batch
from bench.experiment.throughput_records import LoopTiming
from bench.runtime.distributed import World

SETTLING_STEPS = 3  # before a loop is timed, and again to guess how many steps fill its seconds
LEAST_STEPS = 3
MOST_STEPS = 5000
# The host's time to issue a step is taken in bursts: behind a full launch queue it would wait for
# the GPU.
BURSTS = 10
BURST_STEPS = 2
CALLS = 50  # between two events
TrainingStep = Callable[[Batch, int], object]


class StepLoop:
    """Steps over batches, one after the other; counts the seconds that the host waits for them."""

    def __init__(self, batches: Iterator[Batch], step: TrainingStep) -> None:
        self._batches = batches
        self._step = step
        self._number = 0
        self.data_wait_s = 0.0

    def run(self, steps: int) -> None:
        """Make so many steps; nothing is synchronised."""
        for _ in range(steps):
            start_s = time.perf_counter()
            batch = next(self._batches)
            self.data_wait_s += time.perf_counter() - start_s
            self._step(batch, self._number)
            self._number += 1


def time_loop(loop: StepLoop, *, images: int, world: World, seconds: float) -> LoopTiming:
    """Time about so many seconds of a loop whose steps take `images` images each."""
    loop.run(SETTLING_STEPS)
    world.synchronize()
    step_s = _synchronised_s(loop, SETTLING_STEPS, world) / SETTLING_STEPS
    steps = min(MOST_STEPS, max(LEAST_STEPS, int(seconds / step_s)))
    issue_ms = _issue_ms(loop, world)
    wait_before_s = loop.data_wait_s
    loop_s = _synchronised_s(loop, steps, world)
    return LoopTiming(
        steps=steps,
        images_per_s=steps * images / loop_s,
        step_ms=1e3 * loop_s / steps,
        data_wait_ms=1e3 * (loop.data_wait_s - wait_before_s) / steps,
        issue_ms=issue_ms,
    )


def _synchronised_s(loop: StepLoop, steps: int, world: World) -> float:
    """Return the seconds of so many steps; the device must be idle at the start."""
    start_s = time.perf_counter()
    loop.run(steps)
    world.synchronize()
    return time.perf_counter() - start_s


def _issue_ms(loop: StepLoop, world: World) -> float | None:
    """Return the median of a few bursts, without the wait for batches.

    The device is idle before and after each.
    """
    if world.device.type == "cpu":
        return None
    bursts_ms = []
    for _ in range(BURSTS):
        wait_before_s = loop.data_wait_s
        start_s = time.perf_counter()
        loop.run(BURST_STEPS)
        host_s = time.perf_counter() - start_s - (loop.data_wait_s - wait_before_s)
        bursts_ms.append(1e3 * host_s / BURST_STEPS)
        world.synchronize()
    return statistics.median(bursts_ms)


def device_ms(call: Callable[[], object], world: World) -> float:
    """Return the milliseconds of a call.

    On a GPU they lie between two CUDA events around many calls; on a CPU the host's clock counts.
    """
    call()
    if world.device.type == "cpu":
        start_s = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start_s)
    start = torch.cuda.Event(enable_timing=True)
    end = torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(CALLS):
        call()
    end.record()
    world.synchronize()
    return start.elapsed_time(end) / CALLS
