"""Tests, run from the repository root."""
