"""Clocks are sets of segments: one that holds another never reads less, and a ledger's reading can
be worked out by hand.
"""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.clocks import CLOCKS, read_clock
from bench.ledger.events import RunStopped
from bench.ledger.fold import fold
from bench.ledger.method import SEGMENTS
from bench.ledger.records import RunStop
from tests.unit.results_factory import make_event, make_run_start, with_start
from tests.unit.study_factory import RISING, timed

SECONDS = st.floats(min_value=0, max_value=1e6, allow_nan=False)
SEGMENTS_S = st.dictionaries(st.sampled_from(SEGMENTS), SECONDS)
POWERS = {name: 2.0**power for power, name in enumerate(SEGMENTS)}


def test_every_clock_by_hand():
    """Segments of 1, 2, 4, ... s, in their order: startup, data_setup, build, compile, init, train,
    evaluate, ...
    """
    readings = {
        "train": 32,
        "airbench": 16 + 32 + 128,
        "mlperf": 2 + 16 + 32 + 64 + 128 + 256 + 512,
        "algoperf": 8 + 16 + 32,
    }
    assert {clock: read_clock(clock, POWERS) for clock in CLOCKS} == {**readings, "wall": 2047}


def test_clocks_are_made_of_known_segments_each_once():
    for segments in CLOCKS.values():
        assert set(segments) <= set(SEGMENTS)
        assert len(set(segments)) == len(segments)


def test_an_absent_segment_took_no_time():
    assert read_clock("mlperf", {"train": 3.0}) == 3.0
    assert read_clock("train", {}) == 0.0


def test_an_unknown_clock_is_an_error():
    with pytest.raises(KeyError, match="wrist"):
        read_clock("wrist", {"train": 1.0})


@given(SEGMENTS_S)
def test_train_airbench_mlperf_wall_rise_in_this_order(segments_s):
    train, airbench, mlperf, wall = (
        read_clock(clock, segments_s) for clock in ("train", "airbench", "mlperf", "wall")
    )
    assert train <= airbench <= mlperf * (1 + 1e-12)
    assert mlperf <= wall * (1 + 1e-12)
    assert wall == pytest.approx(sum(segments_s.values()))


@given(SEGMENTS_S)
def test_algoperf_holds_train_and_compile(segments_s):
    reading = read_clock("algoperf", segments_s)
    assert (
        max(segments_s.get("train", 0.0), segments_s.get("compile", 0.0))
        <= reading
        <= read_clock("wall", segments_s) * (1 + 1e-12)
    )


def test_a_ledgers_run_reads_on_all_clocks():
    stop = RunStop(
        status="completed", error=None, segments_s=POWERS, stopped_step=None, best_step=None
    )
    start = make_run_start(process_runs=1, segments_s={"startup": 1.0})
    result = fold([start, make_event(RunStopped, stop)])
    assert {clock: read_clock(clock, result.segments_s) for clock in CLOCKS} == {
        "train": 32.0,
        "airbench": 176.0,
        "mlperf": 1010.0,
        "algoperf": 56.0,
        "wall": 2047.0,
    }
    assert result.wall_s == 2047.0


@pytest.mark.parametrize(
    ("changes", "process_runs", "wall_s"),
    [
        ({}, 1, 2047.0),
        ({"status": "diverged"}, 1, 2047.0),
        ({}, 2, None),
        ({"attempts": 2}, 1, None),
        ({"status": "failed"}, 1, None),
        ({"status": "interrupted"}, 1, None),
    ],
)
def test_only_a_run_in_a_process_of_its_own_has_a_wall_time(changes, process_runs, wall_s):
    run = dataclasses.replace(timed(RISING), segments_s=POWERS, **changes)
    assert with_start(run, process_runs=process_runs).wall_s == wall_s
