"""A function's results, computed in a thread a few items before they are asked for."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    ahead: int,
) -> Generator[Result, None, None]:
    """Yield the function's result for each item, in order; a thread computes `ahead` more.

    The items themselves are taken in the caller's thread. What the function raises is raised here,
    in its item's place. The thread starts at the first result that is asked for. It has ended when
    the last one was given out, and when the iterator was closed or dropped.
    """
    pending = deque[Future[Result]]()
    executor = ThreadPoolExecutor(1, thread_name_prefix="mapped_ahead")
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)
