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
        """Return the results of the planned runs that have begun."""
        return self.store.results(self.run_ids)

    def missing_run_ids(self) -> set[str]:
        """Return the runs that are still to do; none where the comparison is decided already."""
        results = self.results()
        if self.config.until_decided and results:
            study = planned_study(self.record)
            if is_enough(summarize(study, results, trials=self.store.trials())):
                return set()
        finished = {result.run_id for result in results if result.is_finished}
        return set(self.run_ids) - finished


def prepare(config: ExperimentConfig) -> PreparedStudy:
    """Plan an experiment. Raises ValueError for a plan that cannot be made, or a damaged store."""
    blocks = plan(config)
    store = RunStore(Path(config.output) / config.name)
    record = store.amended(plan_record(config, blocks))
    return PreparedStudy(config=config, blocks=blocks, record=record, store=store)
