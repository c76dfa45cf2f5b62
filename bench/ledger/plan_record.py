"""The plan of a study as it is stored before its first run, and the hash that every run names."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.ledger.json_records import JsonObject, Record

PLAN_SCHEMA_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class PrimaryRecord(Record):
    """What a plan promises before its first run: the comparison that decides, and by which rules.

    `first_block` has the run ids of the compared arms' first block: any change of what they compute
    changes these.
    """

    arm: str
    threshold: float
    alpha: float
    max_blocks: int
    spread: float | None
    smallest_ratio: float
    interval_width: float | None
    baseline: str
    clock: str
    kind: Literal["anytime", "annealed"]
    confirm_looks: int
    controls: Mapping[str, str]
    reference: Mapping[str, Sequence[float]]
    budget_samples: int | Sequence[int]
    blocks: int
    method_version: str
    first_block: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class AmendedPlan(Record):
    """An earlier plan of the same study, under which runs were begun; it may be another
    version's.
    """

    sha256: str
    primary: JsonObject


@dataclass(frozen=True, kw_only=True)
class PlanRecord(Record):
    """plan.json: the config, every run's id by block, and the primary comparison with its hash."""

    schema_version: int = PLAN_SCHEMA_VERSION
    primary: PrimaryRecord
    sha256: str
    amended: tuple[AmendedPlan, ...]
    config: JsonObject
    blocks: Sequence[Sequence[str]]

    @property
    def run_ids(self) -> list[str]:
        """Every planned run's id, in the order that the runs are made in."""
        return [run_id for block in self.blocks for run_id in block]


def plan_sha256(primary: JsonObject) -> str:
    """Return the hash by which every run names the plan that it was made under."""
    return hashlib.sha256(json.dumps(primary, sort_keys=True).encode()).hexdigest()
