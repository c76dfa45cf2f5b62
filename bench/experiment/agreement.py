"""Whether all ranks of a job were started for the same work: compared before any of it."""

from collections.abc import Mapping
from itertools import chain

from bench.config.load import as_dict
from bench.config.schema import PLACES, ExperimentConfig
from bench.experiment.prepare import PreparedStudy
from bench.ledger.json_records import JsonValue
from bench.runtime.distributed import World
from bench.runtime.environment import code_sha256, package_version

Facts = Mapping[str, str]  # by name, as they are told where they differ
PACKAGES = ("torch", "timm", "numpy")


def facts_of(config: ExperimentConfig, plan_sha256: str) -> Facts:
    """Return what must be the same on all ranks: every key of the config, code, plan, packages."""
    values = _flat(as_dict(config), "")
    for place in PLACES:
        values.pop(place, None)
    packages = {package: str(package_version(package)) for package in PACKAGES}
    return {**values, "plan": plan_sha256, "code": code_sha256(config.imports), **packages}


def study_facts(prepared: PreparedStudy) -> Facts:
    """Return what must be the same on all ranks of a study."""
    return facts_of(prepared.config, prepared.record.sha256)


def check_ranks_agree(world: World, facts: Facts) -> None:
    """Raise ValueError, on every rank, that names the first rank and what it has different."""
    facts_by_rank = world.gather(dict(facts))
    main_facts = facts_by_rank[0]
    for rank, rank_facts in enumerate(facts_by_rank):
        for name in chain(main_facts, rank_facts):
            value = rank_facts.get(name)
            main_value = main_facts.get(name)
            if value != main_value:
                raise ValueError(
                    f"rank {rank} was started for other work than rank 0: "
                    f"{name} is {value} there, {main_value} on rank 0"
                )


def _flat(tree: Mapping[str, JsonValue], prefix: str) -> dict[str, str]:
    """Return the leaves of a config's tree by dotted key, as text."""
    leaves: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves.update(_flat(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = str(value)
    return leaves
