"""Tests of bench.judge: pure, on hand-made events and results."""
