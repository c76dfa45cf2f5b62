"""What tests of the command line share."""

import pytest

from bench.cli import main
from tests.commands import ROOT


@pytest.fixture
def verb(monkeypatch, capsys):
    """Runs a verb in this process: (exit code, stdout, stderr).

    For verbs whose start-up is not looked at.
    """
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run
