"""A whole experiment: checks, blocks of runs with finished ones skipped, and the report."""

from functools import partial

from bench.config.load import arm_config
from bench.experiment.blocks import BlockRunner
from bench.experiment.prepare import PreparedStudy
from bench.judge.comparison import summarize
from bench.judge.records import Report
from bench.judge.study import planned_study
from bench.judge.verdict import is_enough
from bench.ledger.plan_record import PlanRecord
from bench.report.pages import write_report
from bench.report.words import answer
from bench.runtime.distributed import World
from bench.trackers import Guarded, open_trackers


class Suite:
    """Runs one experiment on this world; every rank makes the same calls, rank 0 alone writes."""

    def __init__(self, prepared: PreparedStudy, world: World) -> None:
        config = prepared.config
        self._prepared = prepared
        self._world = world
        arms = {arm: arm_config(config, arm) for arm in config.arms}
        self._runner = BlockRunner(
            config, arms, world, prepared.store, plan_sha256=prepared.record.sha256
        )

    def run(self) -> Report | None:
        """Complete the experiment; return the report on rank 0.

        A provisional answer is printed after each block. Raises ValueError, before any work, for
        what cannot run.
        """
        self._runner.check()
        blocks = self._prepared.blocks
        if not self._world.is_main:
            self._runner.complete(blocks, None, Guarded({}))
            return None
        config = self._prepared.config
        store = self._prepared.store
        with store.lock():
            finished = self._runner.finished_run_ids(self._prepared.run_ids)
            record = store.write_plan(self._prepared.record)
            trackers = open_trackers(config.trackers, config)
            try:
                self._runner.complete(
                    blocks, finished, trackers, after_block=partial(self._is_enough, record)
                )
            finally:
                trackers.close()
            return write_report(store.root, planned_study(record), self._prepared.results())

    def _is_enough(self, record: PlanRecord) -> bool:
        """Print what the runs show so far; say whether no more blocks are needed."""
        trials = self._prepared.store.trials()
        report = summarize(planned_study(record), self._prepared.results(), trials=trials)
        self._runner.say(answer(report))
        return self._prepared.config.until_decided and is_enough(report)
