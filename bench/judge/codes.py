"""By which states of the code a study's runs were made; a change of code does not undo a run."""

from collections import Counter
from collections.abc import Sequence

from bench.judge.records import CodeCount
from bench.ledger.result import RunResult


def count_codes(results: Sequence[RunResult]) -> list[CodeCount]:
    """Count the finished runs by the digest of their code, the most first."""
    digests: Counter[str | None] = Counter()
    for run in results:
        if run.is_finished:
            digests[run.start.basis.code_sha256 if run.start.basis else None] += 1
    return [CodeCount(code_sha256=digest, runs=runs) for digest, runs in digests.most_common()]
