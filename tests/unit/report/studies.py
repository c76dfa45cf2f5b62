"""A small study with whole blocks and broken runs, and a name that is markup."""

from bench.ledger.result import RunResult
from tests.unit.results_factory import make_result

EVIL = '<script>alert("x")</script> | `a` *b* [c](http://evil.example) & $d$\n# e'
ARMS = {"pretrained": {"weights.source": "file", "optim.lr": 3e-4}, "random": {}}
THREE_ARMS = {**ARMS, "again": {}}
THRESHOLDS = (0.8, 0.9, 0.99)  # the last one is out of reach
RISE = (0.4, 0.7, 0.85, 0.92, 0.93, 0.94)
SLOW_RISE = (0.3, 0.5, 0.7, 0.81, 0.91, 0.92, 0.93)


def make_runs() -> list[RunResult]:
    """Make two whole blocks, and one with a diverged and an interrupted run."""
    runs = [make_result(RISE, "pretrained", seed=block, block=block) for block in (0, 1)]
    runs += [make_result(SLOW_RISE, "random", seed=block, block=block) for block in (0, 1)]
    diverged = make_result(
        RISE[:3],
        "pretrained",
        seed=2,
        block=2,
        status="diverged",
        error="loss is\nnan",
        attempts=2,
    )
    interrupted = make_result(
        (), "random", seed=2, block=2, status="interrupted", test_correct=None
    )
    return [*runs, diverged, interrupted]
