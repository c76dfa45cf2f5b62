"""What turns times into figures: ratios within a round, gates, repeated passes, and that a plain
test run measures nothing.
"""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from tests.benchmarks import rounds
from tests.benchmarks.rounds import Board, Contender, Pair, Ratio, Result, check_close, measure

FAST_SLOW = Pair(name="fast", against="slow", required=2)
CALM = 0.0
BUSY = 1.0


def result(images: int, seconds: list[float], others_cpus: list[float] | None = None) -> Result:
    return Result(images=images, seconds=seconds, others_cpus=others_cpus or [CALM] * len(seconds))


def make_board(**results: Result) -> Board:
    return Board(title="board", results=results, pairs=(FAST_SLOW,))


def contender(passes: list[str], name: str, fault: str = "") -> Contender:
    def check() -> None:
        assert not fault, fault

    def one_pass() -> int:
        passes.append(name)
        return 4

    return Contender(images=4, one_pass=one_pass, check=check)


@pytest.fixture(autouse=True)
def short_passes(monkeypatch):
    monkeypatch.setattr(rounds, "PASS_S", 1e-9)
    monkeypatch.setattr(rounds, "PROBE_S", 0)


@pytest.fixture
def others(monkeypatch):
    """CPUs that others use during each pass or probe; calm when the list is at its end."""
    usage: list[float] = []

    def fake(work) -> float:
        work()
        return usage.pop(0) if usage else CALM

    monkeypatch.setattr(rounds, "cpus_of_others", fake)
    return usage


def test_a_ratio_is_taken_within_rounds():
    board = make_board(fast=result(100, [1, 2, 10]), slow=result(50, [2, 2, 5]))
    assert board.ratio(FAST_SLOW) == Ratio(median=2, low=1, high=4)
    assert board.ratios("fast") == {"slow": {"ratio": 2, "low": 1, "high": 4, "disturbed": False}}
    assert board.ratios("slow") == {}


def test_disturbed_rounds_do_not_count_where_enough_are_quiet():
    fast = result(100, [1, 1, 1, 50], [CALM, CALM, CALM, BUSY])
    board = make_board(fast=fast, slow=result(100, [2, 2, 4, 2]))
    assert board.ratio(FAST_SLOW) == Ratio(median=2, low=2, high=4)


def test_with_too_few_quiet_rounds_a_ratio_says_so_and_judges_nothing():
    fast = result(100, [1, 1, 1, 50], [CALM, CALM, BUSY, BUSY])
    board = make_board(fast=fast, slow=result(100, [2, 2, 4, 2]))
    assert board.ratio(FAST_SLOW) == Ratio(median=2, low=0.04, high=4, disturbed=True)
    assert board.lines()[-1].endswith("says little: others were busy")


@pytest.mark.parametrize("refused", [Result(fault="wrong pixel"), Result(absent="not installed")])
def test_no_ratio_to_what_was_not_measured(refused):
    measured = result(100, [1.0])
    for board in (make_board(fast=refused, slow=measured), make_board(fast=measured, slow=refused)):
        assert board.ratio(FAST_SLOW) is None
        assert board.ratios("fast") == {}
        text = "\n".join(board.lines())
        assert "not measured" in text
        assert (refused.fault or refused.absent) in text
        assert "met" not in text
        assert "MISSED" not in text


def test_the_table():
    board = make_board(fast=result(3000, [1, 1]), slow=result(1000, [1, 0.5]))
    assert [" ".join(line.split()) for line in board.lines()] == [
        "board; medians [lowest, highest] of rounds; others disturbed 0 of 4 passes",
        "fast 3,000 images/s [3,000, 3,000]",
        "slow 1,500 images/s [1,000, 2,000]",
        "fast / slow 2.25x [1.5, 3] required 2x: met",
    ]


def test_rounds_interleave_and_a_red_gate_is_never_timed(others):
    passes: list[str] = []

    def absent() -> Contender:
        pytest.skip("not installed")

    makers = {
        "fast": partial(contender, passes, "fast"),
        "slow": partial(contender, passes, "slow", fault="wrong pixel"),
        "other": partial(contender, passes, "other"),
        "absent": absent,
    }
    board = measure("board", makers, [FAST_SLOW], rounds=3, patience_s=1)
    before_any_round = ["fast", "other"]
    three_rounds = ["fast", "other"] * 3
    assert passes == before_any_round + three_rounds
    assert [len(result.seconds) for result in board.results.values()] == [3, 0, 3, 0]
    assert (board.results["slow"].fault, board.results["absent"].absent) == (
        "wrong pixel",
        "not installed",
    )


def test_a_pass_that_makes_too_few_images_is_a_red_gate():
    short = replace(contender([], "fast"), images=5)
    board = measure("board", {"fast": lambda: short}, [], rounds=1, patience_s=0)
    assert board.results["fast"].fault == "a pass made 4 images, not 5"


def test_a_disturbed_pass_is_made_again_when_it_is_quiet(others):
    passes: list[str] = []
    lengthening = CALM
    first = BUSY
    probes = [BUSY, CALM]
    again = CALM
    others += [lengthening, first, *probes, again]
    makers = {"fast": partial(contender, passes, "fast")}
    board = measure("board", makers, [], rounds=1, patience_s=60)
    assert len(passes) == 3
    assert board.results["fast"].quiet == [True]


def test_without_patience_a_disturbed_pass_stays_and_is_counted(others):
    others += [CALM, BUSY, CALM]
    board = measure("board", {"fast": lambda: contender([], "fast")}, [], rounds=2, patience_s=0)
    assert board.results["fast"].quiet == [False, True]
    assert "others disturbed 1 of 2 passes" in board.lines()[0]


def test_short_passes_are_lengthened(monkeypatch):
    monkeypatch.setattr(rounds, "PASS_S", 0.05)
    board = measure("board", {"fast": lambda: contender([], "fast")}, [], rounds=1, patience_s=0)
    assert board.results["fast"].images > 4


class FakeRequest:
    """As much of pytest-benchmark as `record` uses: the clock in the marker is read before and
    after each round.
    """

    def __init__(self) -> None:
        self.node = self
        self.extra_info = {}
        self.seconds = []

    def add_marker(self, marker, append) -> None:
        self._clock = marker.kwargs["timer"]

    def getfixturevalue(self, name: str) -> "FakeRequest":
        assert name == "benchmark"
        return self

    def pedantic(self, target, rounds: int) -> None:
        self.seconds = [-self._clock() + self._clock() for _ in range(rounds)]


def test_pytest_benchmark_gets_times_and_ratios():
    board = make_board(fast=result(6, [1.0, 3.0, 2.0]), slow=result(6, [2.0, 3.0, 8.0]))
    request = FakeRequest()
    rounds.record(board, "fast", request)
    assert request.seconds == [1.0, 3.0, 2.0]
    assert request.extra_info["images_per_s"] == 3
    assert request.extra_info["ratios"] == {
        "slow": {"ratio": 2, "low": 1, "high": 4, "disturbed": False}
    }


@pytest.mark.parametrize(
    ("refused", "outcome"),
    [
        (Result(fault="a pixel"), pytest.fail.Exception),
        (Result(absent="a library"), pytest.skip.Exception),
    ],
)
def test_pytest_benchmark_gets_nothing_of_what_was_refused(refused, outcome):
    request = FakeRequest()
    with pytest.raises(outcome, match=refused.fault or refused.absent):
        rounds.record(make_board(fast=refused, slow=refused), "fast", request)
    assert (request.seconds, request.extra_info) == ([], {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_gate_allows_one_rounding_and_no_more(dtype):
    meaning = torch.tensor([0.0, 1.0, -1.7, 2.5], dtype=torch.float64)
    rounded = meaning.to(dtype)
    check_close(rounded, meaning)
    check_close(
        torch.nextafter(rounded, torch.full_like(rounded, 9))
        if dtype != torch.float32
        else rounded + 4e-7,
        rounded.double(),
    )
    for wrong in (
        rounded + 3 * torch.finfo(dtype).eps if dtype != torch.float32 else rounded + 2e-6,
        rounded.roll(1),
    ):
        with pytest.raises(AssertionError, match="differ from the reference"):
            check_close(wrong, meaning)
    with pytest.raises(AssertionError, match="shape"):
        check_close(rounded[:2], meaning)


def test_cpu_time_of_ourselves_is_not_that_of_others():
    def spin() -> None:
        sum(range(20_000_000))

    rounds.cpus_of_others(spin)  # whatever others do here, it is a number
    assert rounds.cpus_of_others(spin) >= 0


def test_a_plain_run_measures_nothing():
    pytest_command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    listed = subprocess.run(
        [*pytest_command, "--collect-only", "-q", "tests/benchmarks"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "test_rounds.py" in listed.stdout
    assert "test_loaders.py" not in listed.stdout
    assert "test_kernels.py" not in listed.stdout
