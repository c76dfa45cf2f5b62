"""Tests of bench.report: pure, on hand-made events and results."""
