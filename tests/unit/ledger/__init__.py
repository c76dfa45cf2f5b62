"""Tests of bench.ledger: pure, on hand-made events and results."""
