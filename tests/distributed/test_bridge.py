"""The bridge in someone's own script: the documented example, and two ranks killed in the middle of
an epoch and resumed.
"""

import pytest

from bench.data.order import Order
from tests.commands import ROOT, environment, launch

WORKER = str(ROOT / "tests" / "distributed" / "bridge_worker.py")


def test_the_example_runs_on_two_ranks(tmp_path):
    _, code = (ROOT / "docs" / "own_script.md").read_text().split("```python\n")
    (tmp_path / "own_script.py").write_text(code.removesuffix("```\n"))
    done = launch(str(tmp_path / "own_script.py"), env=environment(tmp_path), processes=2)
    assert done.returncode == 0, done.stderr
    assert [line.partition(", last loss")[0] for line in done.stdout.splitlines()] == [
        "epoch 0: 4 batches",
        "epoch 1: 4 batches",
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The lines that two ranks write down when nothing happens to them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = launch(WORKER, "resident", str(folder), env=environment(folder), processes=2)
    assert done.returncode == 0, done.stderr
    return [(folder / f"rank{rank}.txt").read_text().splitlines() for rank in range(2)]


@pytest.mark.parametrize("name", ["dali", "torch"])
def test_killed_in_an_epoch_and_resumed_the_batches_that_follow_are_the_same(
    tmp_path, undisturbed, name
):
    env = environment(tmp_path)
    assert launch(WORKER, name, str(tmp_path), "die", env=env, processes=2).returncode != 0
    done = launch(WORKER, name, str(tmp_path), "resume", env=env, processes=2)
    assert done.returncode == 0, done.stderr
    for rank, lines in enumerate(undisturbed):
        assert [int(line.split()[0]) for line in lines] == list(range(1, 22))
        order = Order(
            samples=45, global_batch_size=6, rank=rank, world_size=2, seed=3, last_batch="drop"
        )
        assert lines[8].endswith(str(order.rows(8).samples.tolist()))
        written = (tmp_path / f"rank{rank}.txt").read_text().splitlines()
        # The state was saved at step 14.
        resumed = max(place for place, line in enumerate(written) if line.startswith("15 "))
        assert 15 <= resumed <= 17
        assert written[:resumed] == lines[:resumed]
        assert written[resumed:] == lines[14:]
