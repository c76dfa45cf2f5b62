"""Collects what was measured, and prints it as a table when all is over."""

from collections.abc import Callable

import pytest

from tests.benchmarks.rounds import Board

BOARDS = pytest.StashKey[list[Board]]()


@pytest.fixture(scope="session")
def publish(request: pytest.FixtureRequest) -> Callable[[Board], Board]:
    """Puts a board into the final table."""

    def keep(board: Board) -> Board:
        request.config.stash.setdefault(BOARDS, []).append(board)
        return board

    return keep


def pytest_terminal_summary(terminalreporter, config):
    for board in config.stash.get(BOARDS, []):
        terminalreporter.write_line("")
        for line in board.lines():
            terminalreporter.write_line(line)
