"""Times calls on a GPU by its own clock: between CUDA events, and replayed as a CUDA graph.

The host's time to launch a call, and to wait for it, is in neither of the two.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from triton import testing

from tests.benchmarks.rounds import Board, Pair, Result

REPLAYED = ", replayed"
ROUND_MS = 20


@dataclass(frozen=True, kw_only=True)
class DeviceCall:
    """One call that makes `images` images and moves `moved_bytes`, read and written once.

    `check` raises AssertionError for wrong images. Only a call that copies nothing from the host
    can be replayed.
    """

    images: int
    moved_bytes: int
    call: Callable[[], object]
    check: Callable[[], None]
    replayable: bool


def launched_s(call: Callable[[], object]) -> float:
    """Median seconds of a call between two CUDA events, with a cold L2 cache before each."""
    return testing.do_bench(call, rep=ROUND_MS, return_mode="median") / 1e3


def replayed_s(call: Callable[[], object]) -> float:
    """Median seconds of a call in a CUDA graph of many, with a warm L2 cache."""
    return testing.do_bench_cudagraph(call, rep=ROUND_MS, return_mode="median") / 1e3


def measure_on_gpu(
    title: str, calls: Mapping[str, DeviceCall], pairs: tuple[Pair, ...], *, rounds: int
) -> Board:
    """Check every call, then time each round after round; nothing red is timed.

    A call that can be replayed has a second row, NAME + REPLAYED.
    """
    results: dict[str, Result] = {}
    clocks: dict[str, Callable[[], float]] = {}
    for name, device_call in calls.items():
        result = checked(device_call)
        results[name] = result
        clocks[name] = clock(launched_s, device_call)
        if device_call.replayable:
            results[name + REPLAYED] = replace(result, seconds=[], others_cpus=[])
            clocks[name + REPLAYED] = clock(replayed_s, device_call)
    for _ in range(rounds):
        for name, result in results.items():
            if result.fault is None:
                result.seconds.append(clocks[name]())
                result.others_cpus.append(0.0)  # the GPU's clock does not see them
    return Board(title=title, results=results, pairs=pairs)


def clock(seconds_of: Callable[..., float], device_call: DeviceCall) -> Callable[[], float]:
    """Bind a call to a way of timing it."""
    return lambda: seconds_of(device_call.call)


def checked(device_call: DeviceCall) -> Result:
    """An empty result, with the fault that the call's check finds."""
    result = Result(images=device_call.images, moved_bytes=device_call.moved_bytes)
    try:
        device_call.check()
    except AssertionError as fault:
        return replace(result, fault=str(fault).partition("\n")[0] or "its check failed")
    return result


def copy_call(images: torch.Tensor, batch: int, dtype: torch.dtype) -> DeviceCall:
    """The roof: the first images, converted into memory that is there already."""
    source = images[:batch]
    target = torch.empty(source.shape, dtype=dtype, device=images.device)

    def check() -> None:
        assert torch.equal(target.copy_(source), source.to(dtype)), "the copy differs"

    return DeviceCall(
        images=batch,
        moved_bytes=moved_bytes(source, dtype),
        call=lambda: target.copy_(source),
        check=check,
        replayable=True,
    )


def moved_bytes(images: torch.Tensor, dtype: torch.dtype) -> int:
    """Bytes of uint8 images read once and written once in another dtype."""
    return images.numel() * (1 + dtype.itemsize)
