"""Runs the tests of configs in the repository's root."""

import pytest

from tests.unit.config.studies import ROOT


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    """Configs name each other from the repository's root."""
    monkeypatch.chdir(ROOT)
