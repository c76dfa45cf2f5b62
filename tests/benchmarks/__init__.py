"""Measurements, each behind a gate: what is wrong is not timed. `make benchmarks`; they assert
no speed.
"""
