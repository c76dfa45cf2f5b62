"""Results in order from a thread that is a few ahead, and that ends with whoever asks for them."""

import gc
import threading
import time

import pytest

from bench.data.ahead import mapped_ahead

WAIT_S = 30


def live_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "mapped_ahead" in thread.name]


def double(number: int) -> int:
    return 2 * number


class Recorder:
    """Doubles numbers and notes, by thread, which it was asked for."""

    def __init__(self, wait_for: int) -> None:
        self.numbers: list[int] = []
        self.threads: set[int] = set()
        self.reached = threading.Event()
        self._wait_for = wait_for

    def __call__(self, number: int) -> int:
        self.numbers.append(number)
        self.threads.add(threading.get_ident())
        if len(self.numbers) == self._wait_for:
            self.reached.set()
        return 2 * number


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 50])
@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_all_results_come_in_order_and_the_thread_ends(count, ahead):
    assert list(mapped_ahead(double, range(count), ahead=ahead)) == [2 * n for n in range(count)]
    assert live_threads() == []


def test_slow_results_are_not_overtaken():
    def slow_at_first(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0)
        return number

    assert list(mapped_ahead(slow_at_first, range(9), ahead=3)) == list(range(9))


def test_another_thread_computes_just_so_many_ahead():
    recorder = Recorder(wait_for=4)
    results = mapped_ahead(recorder, range(100), ahead=3)
    assert recorder.numbers == []  # nothing before it is asked for
    assert next(results) == 0
    assert recorder.reached.wait(WAIT_S)
    time.sleep(0.05)  # time enough for more, were it allowed
    assert recorder.numbers == [0, 1, 2, 3]
    assert recorder.threads.isdisjoint({threading.get_ident()})
    results.close()


def test_items_are_taken_in_the_callers_thread():
    threads = set()

    def items():
        for number in range(9):
            threads.add(threading.get_ident())
            yield number

    assert list(mapped_ahead(double, items(), ahead=3)) == [2 * n for n in range(9)]
    assert threads == {threading.get_ident()}


def test_an_error_is_raised_in_its_items_place():
    results = mapped_ahead(lambda number: 1 / (2 - number), range(9), ahead=3)
    assert next(results) == 0.5
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert live_threads() == []
    assert list(results) == []


def test_an_error_in_the_items_ends_the_thread():
    def items():
        yield 1
        raise KeyError("items")

    results = mapped_ahead(double, items(), ahead=0)
    assert next(results) == 2
    with pytest.raises(KeyError, match="items"):
        next(results)
    assert live_threads() == []


def test_a_closed_iterator_ends_its_thread_and_computes_no_more():
    recorder = Recorder(wait_for=4)
    results = mapped_ahead(recorder, range(100), ahead=3)
    next(results)
    assert len(live_threads()) == 1
    results.close()
    assert live_threads() == []
    assert len(recorder.numbers) <= 4


def test_a_dropped_iterator_ends_its_thread():
    results = mapped_ahead(double, range(100), ahead=3)
    next(results)
    assert len(live_threads()) == 1
    del results
    gc.collect()
    assert live_threads() == []


def test_closing_waits_for_the_item_at_work_and_gives_up_the_rest():
    began = threading.Event()
    finished = []

    def slow(number: int) -> int:
        if number > 0:
            began.set()
            time.sleep(0.1)
        finished.append(number)
        return number

    results = mapped_ahead(slow, range(100), ahead=3)
    next(results)
    assert began.wait(WAIT_S)
    results.close()
    assert finished == [0, 1]
