"""Tests hear nothing of the environment that they are run in."""

import os

import pytest

from tests.clean_environment import clear


def pytest_sessionstart(session: pytest.Session) -> None:
    """Clear the environment of the process that runs tests, before it imports any of them.

    Where several processes run them, theirs: what starts these hands its own on as it is.
    """
    starts_others = session.config.getoption("numprocesses", default=None)
    is_worker = hasattr(session.config, "workerinput")  # as pytest-xdist has it
    if is_worker or not starts_others:
        clear(os.environ)
