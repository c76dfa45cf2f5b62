"""The bridge to other people's scripts: epochs, resume in the middle of one, and nothing left
behind.
"""

import itertools
import multiprocessing
import time

import pytest
import torch

from bench.data import bridge
from bench.data.bridge import EpochLoader
from tests.unit.data.test_loaders import Watched, make_order, make_spec, make_split, same

NAMES = ["dali", "resident", "torch"]


def make_loader(name: str = "dali", cutout: int = 3, **changes) -> EpochLoader:
    settings = {"batch_size": 6, "rank": 0, "world_size": 1, "seed": 3, **changes}
    return EpochLoader(make_split(), make_spec(cutout=cutout), loader=name, **settings)


@pytest.mark.parametrize("name", NAMES)
def test_each_for_is_an_epoch(name):
    with make_loader(name) as loader:
        assert len(loader) == 7
        samples = []
        for _ in range(3):
            epoch = [batch.samples.tolist() for batch in loader]
            assert len(epoch) == 7
            samples += epoch
    assert samples == [make_order().rows(step).samples.tolist() for step in range(21)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stop", [1, 6, 7, 10])
def test_resumed_anywhere_the_batches_that_follow_are_the_same(name, stop):
    with make_loader(name) as loader:
        both_epochs = [*loader, *loader]
    with make_loader(name) as first:
        taken = list(itertools.islice(itertools.chain(first, first), stop))
        state = first.state_dict()
    assert state == {"step": stop}
    with make_loader(name) as second:
        second.load_state_dict(state)
        rest = [*second, *(second if stop < 7 else ())]
    assert len(taken + rest) == 14
    for batch, before in zip(taken + rest, both_epochs, strict=True):
        same(batch, before)


def test_after_a_break_the_epoch_goes_on_and_a_state_can_be_loaded_at_any_time():
    with make_loader() as loader:
        for _ in loader:
            break
        assert len(list(loader)) == 6
        loader.load_state_dict({"step": 2})
        assert next(iter(loader)).samples.tolist() == make_order().rows(2).samples.tolist()


def test_dali_fetches_ahead_over_the_end_of_an_epoch(monkeypatch):
    watched = Watched()
    watched.steps_per_epoch = 7
    monkeypatch.setattr(bridge, "Order", lambda **settings: watched)
    with make_loader() as loader:
        list(loader)
        assert len(watched.asked) >= 9
    assert watched.asked == list(range(len(watched.asked)))


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
    worker = multiprocessing.active_children()[
        0
    ]  # one, so that no second signal strikes after the test
    worker.kill()
    worker.join()
    for _ in range(99):
        list(loader)


def test_a_worker_that_dies_is_an_error_within_seconds():
    started = time.monotonic()
    with make_loader("torch") as loader, pytest.raises(RuntimeError, match="DataLoader worker"):
        kill_workers_and_go_on(loader)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("dli", {}, "loader: no loader 'dli'; .*did you mean 'dali'"),
        ("dali", {"batch_size": 7, "world_size": 2}, "7 does not divide over 2 processes"),
        ("dali", {"cutout": 9}, "data.cutout: 9 is too much for images of 8x10"),
        ("dali", {"batch_size": 46}, "46 is more than the 45 training images"),
        (
            "torch",
            {"batch_size": 8, "world_size": 2, "last_batch": "partial"},
            "leaves 5 of 45 images",
        ),
    ],
)
def test_what_cannot_be_is_refused(name, changes, message):
    with pytest.raises(ValueError, match=message):
        make_loader(name, **changes)


def test_a_partial_last_batch():
    with make_loader("dali", last_batch="partial") as loader:
        assert [len(batch.labels) for batch in loader] == [6] * 7 + [3]
        assert torch.cat([batch.samples for batch in loader]).unique().numel() == 45
