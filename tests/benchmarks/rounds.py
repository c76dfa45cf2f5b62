"""Times contenders in interleaved rounds and takes ratios within a round; a pass that others
disturbed is made again.
"""

import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

FLOAT32_ATOL = 1e-6  # of normalised pixels, which reach 2.7
# A pass is disturbed when other processes use more of the machine meanwhile than this many CPUs. On
# a machine of few cores, the
# threads of one operation then wait for each other's turn, and a pass takes ten times as long.
QUIET_CPUS = 0.3
PROBE_S = 0.5
QUIET_ROUNDS = 3  # at least, for a ratio of quiet rounds alone
PASS_S = 0.4  # at least, for CPU time is counted in ticks of 10 ms


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Makes `images` images in one pass, and says how many it made. `check` raises
    AssertionError for wrong ones.
    """

    images: int
    one_pass: Callable[[], int]
    check: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A ratio that is asked for: how many times faster `name` is than `against`; `required`: at
    least so many times.
    """

    name: str
    against: str
    required: float | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """Seconds of a contender's passes, one a round, and the CPUs that others used during each.

    None of them, but a reason, where it is not here or its gate is red.
    """

    images: int = 0
    moved_bytes: int | None = None  # of a pass, where they are known
    seconds: list[float] = field(default_factory=list)
    others_cpus: list[float] = field(default_factory=list)
    absent: str | None = None
    fault: str | None = None

    @property
    def quiet(self) -> list[bool]:
        """Whether others let a pass alone, one a round."""
        return [cpus <= QUIET_CPUS for cpus in self.others_cpus]

    @property
    def images_per_s(self) -> list[float]:
        """One number a round."""
        return [self.images / second for second in self.seconds]

    def passes(self) -> list["Pass"]:
        """The passes, one a round."""
        passes = []
        for speed, quiet in zip(self.images_per_s, self.quiet, strict=True):
            passes.append(Pass(images_per_s=speed, quiet=quiet))
        return passes

    @property
    def gb_per_s(self) -> float | None:
        """Median of the rounds; None where the bytes are not known or nothing was timed."""
        if self.moved_bytes is None or not self.seconds:
            return None
        return self.moved_bytes / statistics.median(self.seconds) / 1e9


@dataclass(frozen=True, kw_only=True)
class Pass:
    """The speed of one pass, and whether others let it alone."""

    images_per_s: float
    quiet: bool


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Median of the rounds' ratios, with the lowest and the highest; of all rounds, `disturbed`,
    where too few were quiet.
    """

    median: float
    low: float
    high: float
    disturbed: bool = False


@dataclass(frozen=True, kw_only=True)
class Board:
    """What was measured together: results by name, and the ratios asked for."""

    title: str
    results: Mapping[str, Result]
    pairs: tuple[Pair, ...]

    def ratio(self, pair: Pair) -> Ratio | None:
        """Of quiet rounds, where there are enough. None where one side was not measured."""
        ours = self.results[pair.name]
        theirs = self.results[pair.against]
        if not ours.seconds or not theirs.seconds:
            return None
        all_ratios = []
        quiet_ratios = []
        for our_pass, their_pass in zip(ours.passes(), theirs.passes(), strict=True):
            ratio = our_pass.images_per_s / their_pass.images_per_s
            all_ratios.append(ratio)
            if our_pass.quiet and their_pass.quiet:
                quiet_ratios.append(ratio)
        disturbed = len(quiet_ratios) < min(QUIET_ROUNDS, len(all_ratios))
        ratios = all_ratios if disturbed else quiet_ratios
        return Ratio(
            median=statistics.median(ratios), low=min(ratios), high=max(ratios), disturbed=disturbed
        )

    def ratios(self, name: str) -> dict[str, dict[str, float | bool]]:
        """A contender's ratios by what they are against, for `extra_info`."""
        ratios = {}
        for pair in self.pairs:
            ratio = self.ratio(pair)
            if pair.name != name or ratio is None:
                continue
            ratios[pair.against] = {
                "ratio": ratio.median,
                "low": ratio.low,
                "high": ratio.high,
                "disturbed": ratio.disturbed,
            }
        return ratios

    def lines(self) -> list[str]:
        """The table: images/s, then the ratios."""
        width = max(map(len, self.results))
        passes = sum(len(result.seconds) for result in self.results.values())
        disturbed = sum(result.quiet.count(False) for result in self.results.values())
        table = [
            f"{self.title}; medians [lowest, highest] of rounds; "
            f"others disturbed {disturbed} of {passes} passes"
        ]
        for name, result in self.results.items():
            table.append(f"  {name:{width}}  {_speed(result)}")
        for pair in self.pairs:
            ratio = self.ratio(pair)
            text = "not measured"
            if ratio is not None:
                text = f"{ratio.median:8.3g}x [{ratio.low:.3g}, {ratio.high:.3g}]"
            table.append(
                f"  {pair.name:{width}}  / {pair.against:{width}} {text}{_verdict(pair, ratio)}"
            )
        return table


def measure(
    title: str,
    makers: Mapping[str, Callable[[], Contender]],
    pairs: Iterable[Pair],
    *,
    rounds: int,
    patience_s: float,
) -> Board:
    """Make and check every contender, then time one pass of each, round after round. Nothing red or
    absent is timed.

    Disturbed passes are made again, at a quiet moment, for `patience_s` in all.
    """
    contenders: dict[str, Contender] = {}
    results: dict[str, Result] = {}
    for name, make in makers.items():
        try:
            contender = make()
            contender.check()
            contenders[name] = _lengthened(contender)
            results[name] = Result(images=contenders[name].images)
        except pytest.skip.Exception as absent:
            results[name] = Result(absent=str(absent))
        except AssertionError as fault:
            results[name] = Result(fault=str(fault).partition("\n")[0] or "its check failed")
    for _ in range(rounds):
        for name, contender in contenders.items():
            start_s = time.monotonic()
            seconds, others_cpus = _timed(contender)
            while others_cpus > QUIET_CPUS and time.monotonic() - start_s < patience_s:
                if cpus_of_others(lambda: time.sleep(PROBE_S)) < QUIET_CPUS:
                    seconds, others_cpus = _timed(contender)
            patience_s -= (
                time.monotonic() - start_s - seconds
            )  # of which nothing is spent on what was quiet at once
            results[name].seconds.append(seconds)
            results[name].others_cpus.append(others_cpus)
    return Board(title=title, results=results, pairs=tuple(pairs))


def record(board: Board, name: str, request: pytest.FixtureRequest) -> None:
    """Hand a contender's times and ratios to pytest-benchmark. Fails when its gate is red, skips
    when it is absent.
    """
    result = board.results[name]
    if result.absent:
        pytest.skip(result.absent)
    if result.fault:
        pytest.fail(f"{name}: no figures, for its gate is red: {result.fault}", pytrace=False)
    ticks = itertools.chain.from_iterable((0.0, second) for second in result.seconds)

    def interleaved_rounds() -> float:
        return next(ticks)

    # pytest-benchmark runs a test's rounds in a row. Ours are over, so its clock is told what they
    # took.
    request.node.add_marker(pytest.mark.benchmark(timer=interleaved_rounds), append=False)
    benchmark = request.getfixturevalue("benchmark")
    benchmark.extra_info.update(
        images=result.images,
        images_per_s=statistics.median(result.images_per_s),
        ratios=board.ratios(name),
        others_cpus=result.others_cpus,
        threads=torch.get_num_threads(),
        gb_per_s=result.gb_per_s,
    )
    benchmark.pedantic(lambda: None, rounds=len(result.seconds))


def check_close(images: torch.Tensor, reference: torch.Tensor) -> None:
    """float32 within FLOAT32_ATOL of a float64 reference, half types within one unit in the last
    place.
    """
    assert images.shape == reference.shape, (
        f"shape {tuple(images.shape)}, not {tuple(reference.shape)}"
    )
    allowed: torch.Tensor | float = FLOAT32_ATOL
    if images.dtype != torch.float32:
        least = torch.finfo(images.dtype).tiny
        allowed = (
            torch.finfo(images.dtype).eps * reference.abs().clamp(min=least).log2().floor().exp2()
        )
    error = (images.double() - reference).abs()
    wrong = int((error > allowed).sum())
    assert not wrong, (
        f"{wrong} of {error.numel()} elements differ from the reference, by up to {error.max():.3g}"
    )


def cpus_of_others(work: Callable[[], None]) -> float:
    """How many CPUs other processes, and other machines on the same host, keep busy during the
    work; by the kernel's ticks.
    """
    busy_before_s = _busy_s()
    start_s = time.monotonic()
    work()
    return max(0.0, (_busy_s() - busy_before_s) / (time.monotonic() - start_s))


def _busy_s() -> float:
    """CPU seconds of all processes but this one and the children that it has waited for."""
    fields = Path("/proc/stat").read_text().split()[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def _lengthened(contender: Contender) -> Contender:
    """As many passes as fill PASS_S, counted as one. The one made here is not measured."""
    seconds, _ = _timed(contender)
    repeats = math.ceil(PASS_S / seconds)

    def passes() -> int:
        return sum(contender.one_pass() for _ in range(repeats))

    return Contender(images=repeats * contender.images, one_pass=passes, check=contender.check)


def _timed(contender: Contender) -> tuple[float, float]:
    """Seconds of a pass, and the CPUs that others used meanwhile."""
    seconds = 0.0

    def timed() -> None:
        nonlocal seconds
        start_s = time.perf_counter()
        images = contender.one_pass()
        seconds = time.perf_counter() - start_s
        assert images == contender.images, f"a pass made {images} images, not {contender.images}"

    others_cpus = cpus_of_others(timed)
    return seconds, others_cpus


def _speed(result: Result) -> str:
    if not result.seconds:
        return result.absent or f"GATE RED: {result.fault}"
    speeds = result.images_per_s
    return f"{statistics.median(speeds):12,.0f} images/s [{min(speeds):,.0f}, {max(speeds):,.0f}]"


def _verdict(pair: Pair, ratio: Ratio | None) -> str:
    if ratio is None or (pair.required is None and not ratio.disturbed):
        return ""
    if ratio.disturbed:
        return "  says little: others were busy"
    return f"  required {pair.required:g}x: {'met' if ratio.median >= pair.required else 'MISSED'}"
