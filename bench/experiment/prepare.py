"""A study as it is asked for: its config, its plan and what is stored of it. Without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.schema import ExperimentConfig
from bench.experiment.plan import Block, plan, plan_record, run_ids
from bench.judge.comparison import summarize
from bench.judge.study import planned_study
from bench.judge.verdict import is_enough
from bench.ledger.plan_record import PlanRecord
from bench.ledger.result import RunResult
from bench.ledger.store import RunStore


@dataclass(frozen=True, kw_only=True)
class PreparedStudy:
    """What `bench run` needs to say what is to do, and the suite to do it.

    `record` names every other plan that runs in the store were begun under.
    """

    config: ExperimentConfig
    blocks: Sequence[Block]
    record: PlanRecord
    store: RunStore

    @property
    def run_ids(self) -> list[str]:
        """Every planned run's id, in the order that the runs are made in."""
        return run_ids(self.blocks)

    def results(self) -> list[RunResult]:
        """Return the results of the planned runs that have begun.

        Raises LedgerError where one cannot be believed.
        """
        return self.store.results(self.run_ids)

    def missing_run_ids(self) -> set[str]:
        """Return the runs that are still to do; none where the comparison is decided already.

        A run whose ledger cannot be believed is one of them.
        """
        stored = self.store.look_at(self.run_ids)
        may_be_decided = self.config.until_decided and not stored.damaged
        if may_be_decided and stored.results:
            study = planned_study(self.record)
            if is_enough(summarize(study, stored.results, trials=self.store.trials())):
                return set()
        finished = {result.run_id for result in stored.results if result.is_finished}
        return set(self.run_ids) - finished


def prepare(config: ExperimentConfig) -> PreparedStudy:
    """Plan an experiment.

    Raises ValueError for a plan that cannot be made, a plan that cannot be read, and where runs lie
    there that the plan does not have.
    """
    blocks = plan(config)
    store = RunStore(Path(config.output) / config.name)
    _check_no_other_runs(store, run_ids(blocks))
    record = store.amended(plan_record(config, blocks))
    return PreparedStudy(config=config, blocks=blocks, record=record, store=store)


def _check_no_other_runs(store: RunStore, planned_ids: Sequence[str]) -> None:
    """Raise ValueError where runs would be left out, or mixed with those of another config."""
    others = sorted(set(store.begun_run_ids()) - set(planned_ids))
    if not others:
        return
    planned_digests = {run_id.rpartition("-")[2] for run_id in planned_ids}
    reason = "they are of more blocks or seeds: ask for as many, and they are kept"
    if any(run_id.rpartition("-")[2] not in planned_digests for run_id in others):
        reason = "they were made by another config, or under another version of METHOD"
    raise ValueError(
        f"{store.root}: runs lie here that this plan does not have ({len(others)}, as "
        f"{others[0]}): {reason}. To keep them and start anew, give another --output or --name"
    )
