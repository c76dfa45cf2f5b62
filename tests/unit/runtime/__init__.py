"""Tests of bench.runtime, without a GPU and in one process."""
