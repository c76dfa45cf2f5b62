"""Tests of bench.results: pure, on hand-made events and results."""
