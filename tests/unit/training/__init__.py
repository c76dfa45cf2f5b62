"""Tests of bench.training, in one process on a CPU, with networks of a moment."""
