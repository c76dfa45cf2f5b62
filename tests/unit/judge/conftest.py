"""A finished study on disk for the tests of verify."""

import shutil

import pytest

from tests.unit.disk_factory import write_study
from tests.unit.judge.spoiling import write_report_of


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Return a finished study's directory, which tests must leave as it is."""
    root = write_study(tmp_path_factory.mktemp("finished")).store.root
    write_report_of(root)
    return root


@pytest.fixture
def study(finished, tmp_path):
    """Return a copy to spoil."""
    return shutil.copytree(finished, tmp_path / "study")
