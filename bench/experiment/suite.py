"""A whole experiment: checks, blocks of runs with finished ones skipped, and the report."""

from contextlib import ExitStack, closing
from functools import partial

from bench.config.load import arm_config
from bench.experiment.blocks import BlockRunner
from bench.experiment.prepare import PreparedStudy
from bench.judge.comparison import summarize
from bench.judge.records import Report
from bench.judge.study import planned_study
from bench.judge.verdict import is_enough
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
        self._record = prepared.record
        self._trackers = Guarded({})
        self._runner = BlockRunner(
            config, arms, world, prepared.store, plan_sha256=prepared.record.sha256
        )

    def run(self) -> Report | None:
        """Complete the experiment; return the report on rank 0.

        A provisional answer is printed after each block. Raises ValueError, before any work, for
        what cannot run.
        """
        self._runner.check()
        with ExitStack() as resources:
            finished = self._world.on_main(partial(self._start, resources))
            self._runner.complete(
                self._prepared.blocks, finished, self._trackers, after_block=self._is_enough
            )
            if not self._world.is_main:
                return None
            with self._prepared.store.hold_records():
                study = planned_study(self._record)
                return write_report(self._prepared.store.root, study, self._prepared.results())

    def _start(self, resources: ExitStack) -> set[str]:
        """Take the locks of the runs to make, write the plan, open the trackers; on rank 0.

        Returns the ids of the runs that need not be made. Raises ValueError for what cannot run.
        """
        store = self._prepared.store
        config = self._prepared.config
        resources.enter_context(store.hold_runs(sorted(self._prepared.missing_run_ids())))
        finished = self._runner.finished_run_ids(self._prepared.run_ids)
        self._record = store.write_plan(self._prepared.record)
        self._trackers = open_trackers(config.trackers, config)
        resources.enter_context(closing(self._trackers))
        return finished

    def _is_enough(self) -> bool:
        """Print what the runs show so far; say whether no more blocks are needed."""
        store = self._prepared.store
        stored = store.look_at(self._prepared.run_ids)
        report = summarize(planned_study(self._record), stored.results, trials=store.trials())
        self._world.say(answer(report))
        if stored.damaged:  # of later blocks: they are to be made anew
            return False
        return self._prepared.config.until_decided and is_enough(report)
