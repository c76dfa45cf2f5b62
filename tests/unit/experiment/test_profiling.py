"""What a trace says of the device: gaps, its busy part, and the kernels that took longest."""

import json

import pytest

from bench.experiment.profiling import (
    Span,
    device_spans,
    gaps_between,
    profile_text,
    summarize_profile,
)
from bench.experiment.throughput_records import TimeOf

HOST = [TimeOf("aten::mm", 0.5, 2.0)]


def event(name: str, start_us: float, length_us: float, category: str = "kernel"):
    return {"ph": "X", "cat": category, "name": name, "ts": start_us, "dur": length_us}


def test_kernels_and_copies_are_the_device_s_work():
    trace = {
        "traceEvents": [
            event("late", 30, 5),
            event("copy", 10, 2, "gpu_memcpy"),
            event("step", 0, 100, "gpu_user_annotation"),
            event("aten::mm", 0, 100, "cpu_op"),
            {"ph": "M", "name": "process_name"},
        ],
        "schemaVersion": 1,
    }
    assert device_spans(json.dumps(trace)) == [Span("copy", 10, 12), Span("late", 30, 35)]


def test_a_gap_is_where_no_stream_has_work():
    spans = [
        Span("a", 0, 10),
        Span("b", 2, 4),
        Span("c", 9, 12),
        Span("d", 20, 25),
        Span("e", 26, 27),
    ]
    assert gaps_between(spans) == [8, 1]


def test_a_profile_is_of_one_step():
    spans = [Span("mm", 0, 1000), Span("relu", 1500, 1600), Span("mm", 1600, 2000)]
    profile = summarize_profile(spans, HOST, 2)
    assert profile.busy_fraction == pytest.approx(0.75)
    assert (profile.gap_ms, profile.long_gaps) == (0.25, 0.5)
    assert profile.kernels == [TimeOf("mm", 0.7, 1.0), TimeOf("relu", 0.05, 0.5)]
    text = profile_text(profile)
    assert "device busy 75.0%; gaps 0.250 ms, 0.5 of them above 5 us" in text
    assert "0.5000 ms      2.0 calls  aten::mm" in text


def test_without_a_device_its_fields_are_null():
    profile = summarize_profile([], HOST, 2)
    assert profile.busy_fraction is profile.gap_ms is profile.long_gaps is None
    assert "no GPU: no work on a device was seen" in profile_text(profile)
