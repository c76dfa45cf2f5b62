"""The DALI loader beside its images: what it holds for a GPU, and that its thread ends with it."""

import gc
import threading
import weakref

import numpy as np
import pytest

from bench.data import dali, feed
from bench.data.dali import DaliLoader, Unread
from bench.data.order import Order
from tests.unit.data.test_loaders import make_order, make_spec, make_split


class FakeEvent:
    """An event of a stream that does what it is told; notes what was asked of it."""

    def __init__(self, *, is_done: bool = False) -> None:
        self.is_done = is_done
        self.calls: list[str] = []

    def query(self) -> bool:
        self.calls.append("query")
        return self.is_done

    def synchronize(self) -> None:
        self.calls.append("synchronize")
        self.is_done = True


class Outputs:
    """Stands for the tensors of a batch; can be watched."""


def hold_new(unread: Unread, event: FakeEvent) -> weakref.ref:
    """Hold outputs that nobody else holds."""
    outputs = Outputs()
    unread.hold(outputs, event)
    return weakref.ref(outputs)


def alive(references: list[weakref.ref]) -> list[int]:
    return [number for number, reference in enumerate(references) if reference() is not None]


def test_outputs_live_until_they_are_read_and_no_longer():
    unread = Unread(limit=5)
    events = [FakeEvent() for _ in range(4)]
    references = [hold_new(unread, event) for event in events[:3]]
    assert alive(references) == [0, 1, 2]
    events[0].is_done = True
    events[1].is_done = True
    references.append(hold_new(unread, events[3]))
    assert alive(references) == [2, 3]
    assert not any("synchronize" in event.calls for event in events)


def test_outputs_that_were_read_at_once_are_not_held():
    assert hold_new(Unread(limit=5), FakeEvent(is_done=True))() is None


def test_only_the_oldest_is_asked_about_while_it_is_not_done():
    unread = Unread(limit=5)
    oldest = FakeEvent()
    younger = FakeEvent(is_done=True)
    references = [hold_new(unread, oldest), hold_new(unread, younger)]
    assert alive(references) == [0, 1]  # a stream's events are done in its order
    assert younger.calls == []


@pytest.mark.parametrize("limit", [1, 3, 24])
def test_beyond_the_limit_the_oldest_alone_is_waited_for(limit):
    unread = Unread(limit)
    events = [FakeEvent() for _ in range(limit + 2)]
    references = [hold_new(unread, event) for event in events]
    assert alive(references) == list(range(2, limit + 2))
    waited = ["synchronize" in event.calls for event in events]
    assert waited == [True, True] + [False] * limit


def test_the_loader_waits_for_no_event_between_the_loops_own_waits():
    """By default the loop drains the stream every 20 steps; nothing may be waited for till then."""
    unread = Unread(dali.UNREAD_LIMIT)
    events = [FakeEvent() for _ in range(20)]
    references = [hold_new(unread, event) for event in events]
    assert alive(references) == list(range(20))
    assert not any("synchronize" in event.calls for event in events)


def feed_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "mapped_ahead" in thread.name]


def test_the_thread_ends_when_the_batches_do():
    batches = DaliLoader(make_split(), make_spec()).batches(make_order(), 0, 9)
    assert feed_threads() == []  # none before the first batch
    next(batches)
    assert len(feed_threads()) == 1
    assert len(list(batches)) == 8
    assert feed_threads() == []


def test_the_thread_ends_when_the_batches_are_closed():
    batches = DaliLoader(make_split(), make_spec()).batches(make_order(), 0, 1000)
    next(batches)
    batches.close()
    assert feed_threads() == []


def test_the_thread_ends_when_loader_and_batches_are_dropped():
    loader = DaliLoader(make_split(), make_spec())
    batches = loader.batches(make_order(), 0, 1000)
    next(batches)
    assert len(feed_threads()) == 1
    del loader, batches
    gc.collect()
    assert feed_threads() == []


def test_passes_at_the_same_time_do_not_meet():
    loader = DaliLoader(make_split(), make_spec())
    order = make_order()
    passes = [loader.batches(order, start, start + 5) for start in (0, 5, 9)]
    for step, batches in enumerate(zip(*passes, strict=True)):
        for start, batch in zip((0, 5, 9), batches, strict=True):
            assert np.array_equal(batch.samples, make_order().rows(start + step).samples)
    assert feed_threads() == []


def test_the_order_is_looked_up_in_the_consumers_thread(monkeypatch):
    """An order keeps the epochs it is in, and another loader may ask it at the same time."""
    threads = set()
    rows = Order.rows

    def watched_rows(order, step):
        threads.add(threading.get_ident())
        return rows(order, step)

    monkeypatch.setattr(Order, "rows", watched_rows)
    list(DaliLoader(make_split(), make_spec()).batches(make_order(), 0, 9))
    assert threads == {threading.get_ident()}


def test_an_error_in_the_thread_is_the_consumers(monkeypatch):
    """The epoch of the eighth step, which is made ahead, cannot be drawn."""
    draw_epoch = feed.draw_epoch

    def draw_first_epoch(seed, epoch, augmentation, **named):
        if epoch > 0:
            raise ArithmeticError(f"epoch {epoch}")
        return draw_epoch(seed, epoch, augmentation, **named)

    monkeypatch.setattr(feed, "draw_epoch", draw_first_epoch)
    batches = DaliLoader(make_split(), make_spec()).batches(make_order(), 0, 14)
    with pytest.raises(ArithmeticError, match="epoch 1"):
        list(batches)
    assert feed_threads() == []


def test_what_dali_may_still_read_is_in_memory(monkeypatch):
    """DALI makes no copy of what it is fed. Here every feed it could be at is still alive."""
    references = []

    class Watching(feed.FeedMaker):
        def make(self, rows):
            made_feed = super().make(rows)
            references.append(weakref.ref(made_feed.images))
            return made_feed

    monkeypatch.setattr(dali, "FeedMaker", Watching)
    batches = DaliLoader(make_split(), make_spec()).batches(make_order(), 0, 40)
    for step, _ in enumerate(batches):
        newest = len(references) - 1
        first_unread = min(step + 1, newest)
        assert set(range(first_unread, newest + 1)) <= set(alive(references[: newest + 1]))
        assert len(alive(references)) <= dali.QUEUE_DEPTH + dali.FEEDS_AHEAD + 4
    assert step == 39
