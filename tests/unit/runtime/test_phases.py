"""Segments add up to the wall time, and the device is waited for at the cuts and nowhere else."""

import time
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.runtime.phases import PhaseTimer

SEGMENTS = st.sampled_from(["build", "train", "evaluate", "log"])
GAPS_NS = st.integers(0, 10**12)


@dataclass
class FakeClock:
    """Time that passes when told; the device's queue takes `queued_ns` to run dry when it is
    waited for.
    """

    now_ns: int = 10**15
    queued_ns: int = 0
    waits: int = 0

    def read_ns(self) -> int:
        return self.now_ns

    def synchronize(self) -> None:
        self.waits += 1
        self.now_ns += self.queued_ns
        self.queued_ns = 0


@pytest.fixture
def clock(monkeypatch):
    fake = FakeClock()
    monkeypatch.setattr(time, "monotonic_ns", fake.read_ns)
    return fake


@settings(deadline=None)
@given(first=SEGMENTS, cuts=st.lists(st.tuples(SEGMENTS, GAPS_NS)), last_ns=GAPS_NS)
def test_segments_sum_to_the_wall_time(first, cuts, last_ns):
    with pytest.MonkeyPatch.context() as patch:
        fake = FakeClock()
        patch.setattr(time, "monotonic_ns", fake.read_ns)
        start_ns = fake.now_ns
        expected = {}
        timer = PhaseTimer(first, fake.synchronize)
        running = first
        for segment, gap_ns in [*cuts, (None, last_ns)]:
            fake.now_ns += gap_ns
            expected[running] = expected.get(running, 0) + gap_ns
            if segment is not None:
                timer.switch(segment)
                running = segment
        read = timer.read_ns()
    assert read == expected
    assert sum(read.values()) == fake.now_ns - start_ns


def test_reading_ends_nothing(clock):
    timer = PhaseTimer("train", clock.synchronize)
    clock.now_ns += 2 * 10**9
    assert timer.read_ns() == {"train": 2 * 10**9}
    clock.now_ns += 10**9
    assert timer.read_ns() == {"train": 3 * 10**9}


def test_earlier_time_is_continued_to_the_nanosecond(clock):
    timer = PhaseTimer("train", clock.synchronize)
    timer.add({"train": 1_250_000_000, "evaluate": 5})
    timer.add({"train": 1})
    clock.now_ns += 10**9
    timer.switch("log")
    clock.now_ns += 3
    assert timer.read_ns() == {"train": 2_250_000_001, "evaluate": 5, "log": 3}


def test_work_still_queued_belongs_to_the_segment_that_queued_it(clock):
    timer = PhaseTimer("train", clock.synchronize)
    clock.now_ns += 10**9
    clock.queued_ns = 3 * 10**9
    timer.switch("evaluate")
    assert timer.read_ns() == {"train": 4 * 10**9, "evaluate": 0}


def test_the_device_is_waited_for_at_each_cut_and_never_otherwise(clock):
    timer = PhaseTimer("build", clock.synchronize)
    timer.add({"train": 10**9})
    assert clock.waits == 0
    for cuts, segment in enumerate(["train", "train", "log"], start=1):
        timer.switch(segment)
        assert clock.waits == cuts
    timer.read_ns()
    assert clock.waits == 4
