"""Tests of bench.config."""
