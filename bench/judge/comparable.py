"""Whether runs can be compared at all: of the same images, method, processes and machine."""

from collections import defaultdict
from collections.abc import Sequence

from bench.ledger.records import EnvironmentFacts, Fact, RunStart
from bench.ledger.result import RunResult


def what_differs(results: Sequence[RunResult]) -> str | None:
    """Say what runs that cannot be compared have different; None where they can be."""
    values_by_name: dict[str, set[str]] = defaultdict(set)
    for run in results:
        for name, value in _shared_facts(run.start).items():
            values_by_name[name].add(str(value))
    for name, values in values_by_name.items():
        distinct = sorted(values)
        if len(distinct) > 1:
            return (
                f"runs of {len(distinct)} different {name} cannot be compared: "
                f"{', '.join(distinct)}"
            )
    return None


def _shared_facts(start: RunStart) -> dict[str, Fact]:
    """Return what runs must have in common, by the name of several that differ."""
    return {
        "data sets": start.dataset.sha256,
        "versions of the method": start.method_version,
        "numbers of processes": start.world_size,
        "precisions": start.precision.name,
        "kinds of hardware": hardware(start.environment),
    }


def hardware(environment: EnvironmentFacts) -> str:
    """Name the hardware of a run: its GPU, or its CPU with the threads that were used."""
    gpu = environment.get("gpu")
    if gpu:
        return str(gpu)
    return f"{environment.get('cpu')} {environment.get('threads_per_rank')}"
