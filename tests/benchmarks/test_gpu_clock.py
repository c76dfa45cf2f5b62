"""The GPU's clock without a GPU: what is timed and how often, bytes and ratios, and that nothing
red is.
"""

import pytest
import torch

from tests.benchmarks import gpu_clock
from tests.benchmarks.gpu_clock import REPLAYED, DeviceCall, copy_call, measure_on_gpu, moved_bytes
from tests.benchmarks.rounds import Pair

PAIRS = (Pair(name="op" + REPLAYED, against="copy" + REPLAYED),)


@pytest.fixture
def timed(monkeypatch):
    """The calls that were timed, each by one of Triton's two clocks, in milliseconds."""
    calls = []

    def bench(way: str, milliseconds: float):
        def run(call, *, rep, return_mode) -> float:
            assert return_mode == "median"
            calls.append((way, call()))
            return milliseconds

        return run

    monkeypatch.setattr(gpu_clock.testing, "do_bench", bench("launched", 0.004))
    monkeypatch.setattr(gpu_clock.testing, "do_bench_cudagraph", bench("replayed", 0.002))
    return calls


def device_call(name: str, *, fault: str = "", replayable: bool = True) -> DeviceCall:
    def check() -> None:
        assert not fault, fault

    return DeviceCall(
        images=512, moved_bytes=8000, call=lambda: name, check=check, replayable=replayable
    )


def test_calls_are_timed_both_ways_round_after_round(timed):
    calls = {"op": device_call("op"), "eager": device_call("eager", replayable=False)}
    board = measure_on_gpu("board", calls, (), rounds=2)
    one_round = [("launched", "op"), ("replayed", "op"), ("launched", "eager")]
    assert timed == one_round * 2
    assert list(board.results) == ["op", "op" + REPLAYED, "eager"]
    assert board.results["op"].seconds == [4e-6, 4e-6]
    assert board.results["op"].gb_per_s == pytest.approx(2)
    assert board.results["op" + REPLAYED].gb_per_s == pytest.approx(4)
    assert board.results["op" + REPLAYED].images_per_s == pytest.approx([512 / 2e-6] * 2)


def test_nothing_red_is_timed(timed):
    calls = {"op": device_call("op", fault="a wrong pixel"), "copy": device_call("copy")}
    board = measure_on_gpu("board", calls, PAIRS, rounds=1)
    assert timed == [("launched", "copy"), ("replayed", "copy")]
    assert board.results["op"].fault == board.results["op" + REPLAYED].fault == "a wrong pixel"
    assert board.results["op"].gb_per_s is None
    assert board.ratio(PAIRS[0]) is None


def test_the_roof_moves_the_batch_s_bytes_once():
    images = torch.arange(4 * 2 * 2 * 3, dtype=torch.uint8).reshape(4, 2, 2, 3)
    roof = copy_call(images, 3, torch.float16)
    roof.check()
    assert torch.equal(roof.call(), images[:3].half())
    assert roof.moved_bytes == moved_bytes(images[:3], torch.float16) == 3 * 2 * 2 * 3 * (1 + 2)
