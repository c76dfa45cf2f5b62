"""Raw readings of a run's segments: every nanosecond between start and end belongs to exactly one."""

import time
from collections.abc import Callable, Mapping


class PhaseTimer:
    """Cuts monotonic time into named segments. The device is synchronised at each cut, never between."""

    def __init__(self, segment: str, synchronize: Callable[[], None], earlier_s: Mapping[str, float] | None = None) -> None:
        self._synchronize = synchronize
        self._total_ns = {name: round(seconds * 1e9) for name, seconds in (earlier_s or {}).items()}
        self._segment, self._since_ns = segment, time.monotonic_ns()

    def switch(self, segment: str) -> None:
        """End the running segment here and begin another."""
        self._synchronize()
        now_ns = time.monotonic_ns()
        self._total_ns[self._segment] = self._total_ns.get(self._segment, 0) + now_ns - self._since_ns
        self._segment, self._since_ns = segment, now_ns

    def read_s(self) -> dict[str, float]:
        """Seconds by segment so far, the running one included; on this rank."""
        self.switch(self._segment)
        return {name: total_ns / 1e9 for name, total_ns in self._total_ns.items()}
