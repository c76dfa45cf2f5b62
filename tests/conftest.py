"""Tests hear nothing of the environment that they are run in."""

import os

import pytest

from tests.clean_environment import clear


def pytest_sessionstart(session: pytest.Session) -> None:
    """Clear the environment of the process that runs tests, before it imports any of them.

    Where several processes run them, theirs: what starts these hands its own on as it is.
    """
    processes = session.config.getoption("numprocesses", default=None)
    is_starter = processes and "PYTEST_XDIST_WORKER" not in os.environ
    if not is_starter:
        clear(os.environ)
