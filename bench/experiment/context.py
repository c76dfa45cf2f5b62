"""What the runs of one process share."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.ledger.records import PrecisionFacts
from bench.ledger.store import RunStore
from bench.runtime.distributed import World
from bench.trackers import Guarded


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Where runs are made and stored, and facts that stand in each of their ledgers.

    `once_s` are the process's seconds by segment until its first run; `process_runs` is how many
    runs it makes: only a process of one run has a wall clock. `code_sha256` is of the code that
    computes.
    """

    world: World
    store: RunStore
    trackers: Guarded
    precision: PrecisionFacts
    self_check: str | None
    code_sha256: str
    plan_sha256: str | None
    process_runs: int
    once_s: Mapping[str, float]
