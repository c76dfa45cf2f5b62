"""Tests of the sources, their splits and their cache."""
