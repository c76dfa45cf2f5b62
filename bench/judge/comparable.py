"""Whether runs can be compared at all: of the same images, method, processes and machine."""

from collections.abc import Mapping, Sequence

from bench.ledger.json_records import JsonValue
from bench.ledger.records import RunStart
from bench.ledger.result import RunResult


def what_differs(results: Sequence[RunResult]) -> str | None:
    """Say what runs that cannot be compared have different; None where they can be."""
    starts = [run.start for run in results]
    values_by_name: dict[str, list[object]] = {
        "data sets": [start.dataset.sha256 for start in starts],
        "versions of the method": [start.method_version for start in starts],
        "numbers of processes": [start.world_size for start in starts],
        "precisions": [start.precision.name for start in starts],
        "kinds of hardware": [hardware(start) for start in starts],
    }
    for name, values in values_by_name.items():
        distinct = sorted({str(value) for value in values})
        if len(distinct) > 1:
            return (
                f"runs of {len(distinct)} different {name} cannot be compared: "
                f"{', '.join(distinct)}"
            )
    return None


def hardware(start: RunStart) -> str:
    """Name the hardware of a run: its GPU, or its CPU with the threads that were used."""
    return _hardware(start.environment)


def _hardware(environment: Mapping[str, JsonValue]) -> str:
    gpu = environment.get("gpu")
    if gpu:
        return str(gpu)
    return f"{environment.get('cpu')} {environment.get('threads_per_rank')}"
