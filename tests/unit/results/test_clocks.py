"""Clocks are sets of segments, and one that holds another never reads less."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results.clocks import CLOCKS, SEGMENTS, read_clock

SECONDS = st.floats(min_value=0, max_value=1e6, allow_nan=False)
SEGMENTS_S = st.dictionaries(st.sampled_from(SEGMENTS), SECONDS)


def test_worked_example():
    segments_s = {name: 2.0**power for power, name in enumerate(SEGMENTS)}
    order = {name: power for power, name in enumerate(SEGMENTS)}
    for clock, segments in CLOCKS.items():
        assert read_clock(clock, segments_s) == sum(2.0 ** order[name] for name in segments)
    assert read_clock("train", segments_s) == segments_s["train"]
    assert read_clock("airbench", segments_s) == segments_s["init"] + segments_s["train"] + segments_s["evaluate_final"]


def test_clocks_are_made_of_known_segments_each_once():
    for segments in CLOCKS.values():
        assert set(segments) <= set(SEGMENTS)
        assert len(set(segments)) == len(segments)


def test_an_absent_segment_took_no_time():
    assert read_clock("mlperf", {"train": 3.0}) == 3.0
    assert read_clock("train", {}) == 0.0


def test_an_unknown_clock_is_an_error():
    with pytest.raises(KeyError):
        read_clock("wrist", {"train": 1.0})


@given(SEGMENTS_S)
def test_train_airbench_mlperf_rise_in_this_order(segments_s):
    train, airbench, mlperf = (read_clock(clock, segments_s) for clock in ("train", "airbench", "mlperf"))
    assert train <= airbench <= mlperf
    assert mlperf <= sum(segments_s.values()) * (1 + 1e-12)


@given(SEGMENTS_S)
def test_algoperf_holds_train_and_compile(segments_s):
    assert read_clock("algoperf", segments_s) >= max(segments_s.get("train", 0.0), segments_s.get("compile", 0.0))
