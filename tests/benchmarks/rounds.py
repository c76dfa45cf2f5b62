"""Times contenders in interleaved rounds and takes ratios within a round, so that a busy machine slows both sides alike."""

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

FLOAT32_ATOL = 1e-6  # of normalised pixels, which reach 2.7


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Makes `images` images in one pass, and says how many it made. `check` raises AssertionError for wrong ones."""

    images: int
    one_pass: Callable[[], int]
    check: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A ratio that is asked for: how many times faster `name` is than `against`; `required`: at least so many times."""

    name: str
    against: str
    required: float | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """Seconds of a contender's passes, one a round. None of them, but a reason, where it is not here or its gate is red."""

    images: int = 0
    seconds: list[float] = field(default_factory=list)
    absent: str | None = None
    fault: str | None = None

    @property
    def images_per_s(self) -> list[float]:
        """One number a round."""
        return [self.images / second for second in self.seconds]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Median of the rounds' ratios, with the lowest and the highest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Board:
    """What was measured together: results by name, the ratios asked for, and how many CPUs other processes kept busy."""

    title: str
    results: Mapping[str, Result]
    pairs: tuple[Pair, ...]
    others_cpus: float

    def ratio(self, pair: Pair) -> Ratio | None:
        """None where one side was not measured."""
        ours, theirs = (self.results[name].images_per_s for name in (pair.name, pair.against))
        if not ours or not theirs:
            return None
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        return Ratio(median=statistics.median(ratios), low=min(ratios), high=max(ratios))

    def ratios(self, name: str) -> dict[str, dict[str, float]]:
        """A contender's ratios by what they are against, for `extra_info`."""
        found = {pair.against: self.ratio(pair) for pair in self.pairs if pair.name == name}
        return {against: {"ratio": r.median, "low": r.low, "high": r.high} for against, r in found.items() if r}

    def lines(self) -> list[str]:
        """The table: images/s, then the ratios."""
        width = max(map(len, self.results))
        table = [f"{self.title}; medians [lowest, highest] of rounds; other processes kept {self.others_cpus:.1f} CPUs busy"]
        for name, result in self.results.items():
            table.append(f"  {name:{width}}  {_speed(result)}")
        for pair in self.pairs:
            ratio = self.ratio(pair)
            text = f"{ratio.median:8.3g}x [{ratio.low:.3g}, {ratio.high:.3g}]" if ratio else "not measured"
            table.append(f"  {pair.name:{width}}  / {pair.against:{width}} {text}{_verdict(pair, ratio)}")
        return table


def measure(title: str, makers: Mapping[str, Callable[[], Contender]], pairs: Iterable[Pair], *, rounds: int) -> Board:
    """Make and check every contender, then time one pass of each, round after round. Nothing red or absent is timed."""
    contenders: dict[str, Contender] = {}
    refused: dict[str, Result] = {}
    for name, make in makers.items():
        try:
            contender = make()
            contender.check()
            contenders[name] = contender
        except pytest.skip.Exception as absent:
            refused[name] = Result(absent=str(absent))
        except AssertionError as fault:
            refused[name] = Result(fault=str(fault) or "its check failed")
    results = {name: refused.get(name) or Result(images=contenders[name].images) for name in makers}
    busy = _CpusOfOthers()
    for _ in range(rounds):
        for name, contender in contenders.items():
            results[name].seconds.append(_timed(contender))
    return Board(title=title, results=results, pairs=tuple(pairs), others_cpus=busy.since_then())


def record(board: Board, name: str, request: pytest.FixtureRequest) -> None:
    """Hand a contender's times and ratios to pytest-benchmark. Fails when its gate is red, skips when it is absent."""
    result = board.results[name]
    if result.absent:
        pytest.skip(result.absent)
    if result.fault:
        pytest.fail(f"{name}: no figures, for its gate is red: {result.fault}", pytrace=False)
    ticks = itertools.chain.from_iterable((0.0, second) for second in result.seconds)

    def interleaved_rounds() -> float:
        return next(ticks)

    # pytest-benchmark runs a test's rounds in a row. Ours are over, so its clock is told what they took.
    request.node.add_marker(pytest.mark.benchmark(timer=interleaved_rounds), append=False)
    benchmark = request.getfixturevalue("benchmark")
    benchmark.extra_info.update(
        images=result.images, images_per_s=statistics.median(result.images_per_s), ratios=board.ratios(name),
        others_cpus=board.others_cpus, threads=torch.get_num_threads(),
    )  # fmt: skip
    benchmark.pedantic(lambda: None, rounds=len(result.seconds))


def check_close(images: torch.Tensor, reference: torch.Tensor) -> None:
    """float32 within FLOAT32_ATOL of a float64 reference, half types within one unit in the last place."""
    assert images.shape == reference.shape, f"shape {tuple(images.shape)}, not {tuple(reference.shape)}"
    allowed: torch.Tensor | float = FLOAT32_ATOL
    if images.dtype != torch.float32:
        least = torch.finfo(images.dtype).tiny
        allowed = torch.finfo(images.dtype).eps * reference.abs().clamp(min=least).log2().floor().exp2()
    error = (images.double() - reference).abs()
    wrong = int((error > allowed).sum())
    assert not wrong, f"{wrong} of {error.numel()} elements differ from the reference, by up to {error.max():.3g}"


def _timed(contender: Contender) -> float:
    start_s = time.perf_counter()
    made = contender.one_pass()
    seconds = time.perf_counter() - start_s
    assert made == contender.images, f"a pass made {made} images, not {contender.images}"
    return seconds


def _speed(result: Result) -> str:
    if not result.seconds:
        return result.absent or f"GATE RED: {result.fault}"
    speeds = result.images_per_s
    return f"{statistics.median(speeds):12,.0f} images/s [{min(speeds):,.0f}, {max(speeds):,.0f}]"


def _verdict(pair: Pair, ratio: Ratio | None) -> str:
    if pair.required is None or ratio is None:
        return ""
    return f"  required {pair.required:g}x: {'met' if ratio.median >= pair.required else 'MISSED'}"


class _CpusOfOthers:
    """How many CPUs processes that are not ours keep busy, by the kernel's count of ticks."""

    def __init__(self) -> None:
        self._wall_s, self._all_s, self._own_s = self._read()

    def since_then(self) -> float:
        wall_s, all_s, own_s = (
            now - then for now, then in zip(self._read(), (self._wall_s, self._all_s, self._own_s), strict=True)
        )
        return max(0.0, (all_s - own_s) / wall_s) if wall_s else 0.0

    @staticmethod
    def _read() -> tuple[float, float, float]:
        user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
        return time.monotonic(), (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])
