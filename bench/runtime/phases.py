"""A run's time, cut into named segments."""

import time
from collections.abc import Callable, Mapping


class PhaseTimer:
    """Cuts monotonic time into named segments, every nanosecond in exactly one.

    The device is synchronised at each cut and nowhere else.
    """

    def __init__(self, segment: str, synchronize: Callable[[], None]) -> None:
        self._synchronize = synchronize
        self._total_ns: dict[str, int] = {}
        self._segment = segment
        self._since_ns = time.monotonic_ns()

    def switch(self, segment: str) -> None:
        """End the running segment here and begin another."""
        self._synchronize()
        now_ns = time.monotonic_ns()
        before_ns = self._total_ns.get(self._segment, 0)
        self._total_ns[self._segment] = before_ns + now_ns - self._since_ns
        self._segment = segment
        self._since_ns = now_ns

    def add(self, earlier_ns: Mapping[str, int]) -> None:
        """Add nanoseconds by segment that were spent before.

        As by the process, or by an attempt that was interrupted.
        """
        for segment, spent_ns in earlier_ns.items():
            self._total_ns[segment] = self._total_ns.get(segment, 0) + spent_ns

    def read_ns(self) -> dict[str, int]:
        """Return nanoseconds by segment so far, the running one included; on this rank."""
        self.switch(self._segment)
        return dict(self._total_ns)
