"""The bridge to other people's scripts.

Epochs, resume in the middle of one, and nothing left behind.
"""

import itertools
import multiprocessing
import signal

import pytest
import torch

from bench.data import bridge
from bench.data.bridge import EpochLoader
from tests.unit.data.test_loaders import Watched, make_order, make_spec, make_split, same

NAMES = ["dali", "resident", "torch"]


def make_loader(name: str = "dali", cutout: int = 3, **changes) -> EpochLoader:
    settings = {"batch_size": 6, "rank": 0, "world_size": 1, "seed": 3, **changes}
    return EpochLoader(make_split(), make_spec(cutout=cutout), loader=name, **settings)


def samples_of(step: int) -> list[int]:
    return make_order().rows(step).samples.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_each_for_is_an_epoch(name):
    with make_loader(name) as loader:
        assert len(loader) == 7
        for epoch in range(3):
            steps = range(7 * epoch, 7 * epoch + 7)
            for step, batch in zip(steps, loader, strict=True):
                assert batch.samples.tolist() == samples_of(step)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stop", [1, 6, 7, 10])
def test_resumed_anywhere_the_batches_that_follow_are_the_same(name, stop):
    with make_loader(name) as loader:
        uninterrupted = [*loader, *loader]
    with make_loader(name) as first:
        taken = list(itertools.islice(itertools.chain(first, first), stop))
        state = first.state_dict()
    assert state == {"step": stop}
    with make_loader(name) as second:
        second.load_state_dict(state)
        rest = list(second)  # of the epoch
        if stop < 7:
            rest += second
    assert len(uninterrupted) == 14
    for batch, expected in zip(taken + rest, uninterrupted, strict=True):
        same(batch, expected)


def test_after_a_break_the_epoch_goes_on_and_a_state_can_be_loaded_at_any_time():
    with make_loader() as loader:
        for _ in loader:
            break
        assert len(list(loader)) == 6
        loader.load_state_dict({"step": 2})
        assert next(iter(loader)).samples.tolist() == samples_of(2)


def test_dali_fetches_ahead_over_the_end_of_an_epoch(monkeypatch):
    watched = Watched()
    watched.steps_per_epoch = 7
    monkeypatch.setattr(bridge, "Order", lambda **fields: watched)
    with make_loader() as loader:
        list(loader)
        assert len(watched.steps) >= 9
    assert watched.steps == list(range(len(watched.steps)))


def test_closing_ends_the_worker_processes():
    before = set(multiprocessing.active_children())
    loader = make_loader("torch")
    batches = iter(loader)  # held on to, as after a break
    next(batches)
    assert set(multiprocessing.active_children()) > before
    loader.close()
    assert set(multiprocessing.active_children()) == before


def kill_workers_and_go_on(loader: EpochLoader) -> None:
    """torch raises in its signal's handler, wherever that strikes, or when it misses the worker."""
    next(iter(loader))
    # One, so that no second signal strikes after the test.
    worker = multiprocessing.active_children()[0]
    worker.kill()
    worker.join()
    for _ in range(99):
        list(loader)


@pytest.fixture
def deadline():
    """A test that hangs fails after a minute."""

    def fail(signal_number, frame):
        raise TimeoutError("hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("deadline")
def test_a_worker_that_dies_is_an_error_and_nothing_hangs():
    with make_loader("torch") as loader, pytest.raises(RuntimeError, match="DataLoader worker"):
        kill_workers_and_go_on(loader)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"name": "dli"}, "loader: no loader 'dli'; .*did you mean 'dali'", id="loader's name"
        ),
        pytest.param(
            {"batch_size": 7, "world_size": 2}, "7 does not divide over 2 processes", id="ranks"
        ),
        pytest.param(
            {"cutout": 9}, "data.cutout: 9 is too much for images of 8x10", id="cutout too large"
        ),
        pytest.param(
            {"batch_size": 46}, "46 is more than the 45 training images", id="batch too large"
        ),
        pytest.param(
            {"name": "torch", "batch_size": 8, "world_size": 2, "last_batch": "partial"},
            "leaves 5 of 45 images",
            id="last batch over ranks",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_loader(**changes)


def test_a_partial_last_batch():
    with make_loader("dali", last_batch="partial") as loader:
        assert [len(batch.labels) for batch in loader] == [6] * 7 + [3]
        assert torch.cat([batch.samples for batch in loader]).unique().numel() == 45
