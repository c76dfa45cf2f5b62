"""`bench tune`: as many learning rates for each arm, by factors of 10, scored on val.

The best ones become a YAML layer.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.config.load import arm_config, check_run, dump, run_digest
from bench.config.schema import ExperimentConfig
from bench.experiment.blocks import BlockRunner
from bench.experiment.plan import Block, RunSpec, plan, plan_record, recipe_digests, run_ids
from bench.files import write_text
from bench.judge.records import TuningSummary
from bench.judge.study import study_of
from bench.judge.tuning import (
    Trial,
    best_rate,
    made_trial,
    summarize_tuning,
    tuning_excesses,
    tuning_limits,
)
from bench.ledger.json_records import JsonValue
from bench.ledger.method import METHOD_VERSION
from bench.ledger.store import RunStore
from bench.runtime.distributed import World
from bench.trackers import Guarded, open_trackers

FIRST_SEED = 1_000_000  # after an arm's own: of tuning, beyond all blocks'
FIRST_TRIALS = 3
FIRST_FACTORS = (0.1, 10)  # of the shared rate, tried beside it


def check_tunable(config: ExperimentConfig) -> None:
    """Raise ValueError where arms may not differ in their learning rate, or one sets it itself."""
    keys = {"optim", "optim.lr"}
    if not keys & set(config.factors):
        raise ValueError(
            f"bench tune: optim.lr must be one of the factors, which are {list(config.factors)}"
        )
    for arm, overrides in config.arms.items():
        if keys & set(overrides):
            raise ValueError(
                f"bench tune: arm {arm} sets optim.lr itself; "
                "all arms are tuned around the shared one"
            )


def next_rate(scores: Mapping[float, float], *, finer: bool) -> float:
    """Return the learning rate to try after these.

    A factor of 10 beyond the best where that lies at an edge. Else, if finer, halfway (in
    logarithms) from the best to the better of its neighbours; if not, beyond the better edge.
    """
    rates = sorted(scores)
    lowest = rates[0]
    highest = rates[-1]
    best = best_rate(scores)
    if finer and lowest < best < highest:
        place = rates.index(best)
        neighbour = max(rates[place - 1], rates[place + 1], key=scores.__getitem__)
        halfway = _rounded((best * neighbour) ** 0.5)
        if halfway not in scores:
            return halfway
    if best == highest or scores[highest] > scores[lowest]:
        return _rounded(highest * 10)
    return _rounded(lowest / 10)


class Tuner:
    """Tries learning rates on this world; every rank makes the same calls, rank 0 alone writes."""

    def __init__(self, config: ExperimentConfig, world: World) -> None:
        check_tunable(config)
        self._config = config
        self._world = world
        self._samples = config.tune.samples or config.train.samples
        self._study_store = RunStore(Path(config.output) / config.name)
        self._store = RunStore(self._study_store.root / "tuning")
        self._arms = {arm: self._trial_config(arm) for arm in config.arms}
        record = plan_record(config, plan(config))
        self._runner = BlockRunner(
            config, self._arms, world, self._store, plan_sha256=record.sha256
        )
        self._rates = {arm: self._first_rates() for arm in config.arms}
        self._trackers = Guarded({})

    def run(self) -> TuningSummary | None:
        """Complete the tuning and write the layer; return its summary on rank 0.

        Raises ValueError where an arm is over its budget.
        """
        self._runner.check()
        with ExitStack() as resources:
            self._world.on_main(partial(self._start, resources))
            summary = self._try_rates()
            if not self._world.is_main:
                return None
            self._write_layer(summary)
            return summary

    def _start(self, resources: ExitStack) -> None:
        """Take the tuning's lock and open the console, which counts the tuning's blocks."""
        shown = replace(
            self._config,
            until_decided=False,
            blocks=self._config.tune.trials * self._config.tune.seeds,
        )
        resources.enter_context(self._study_store.hold_tuning())
        self._trackers = open_trackers(["console"], shown)
        resources.enter_context(closing(self._trackers))

    def _try_rates(self) -> TuningSummary:
        """Make three trials of every arm, then one more at a time; return their summary."""
        for trial_count in range(FIRST_TRIALS, self._config.tune.trials + 1):
            blocks = self._blocks(trial_count)
            with ExitStack() as locks:
                finished = self._world.on_main(partial(self._start_trial, blocks, locks))
                self._runner.complete(blocks, finished, self._trackers)
            summary = self._summary(blocks)
            for arm, tuning in summary.arms.items():
                scores = {
                    trial.lr: trial.score for trial in tuning.trials if trial.score is not None
                }
                rate = next_rate(scores, finer=self._config.tune.finer)
                self._rates[arm].append(rate)
        return summary

    def _start_trial(self, blocks: Sequence[Block], locks: ExitStack) -> set[str]:
        """Check the budget and take the locks of the runs to make; on rank 0.

        Returns the ids of the runs that need not be made.
        """
        self._check_budget(blocks)
        finished = self._runner.finished_run_ids(run_ids(blocks))
        missing = set(run_ids(blocks)) - finished
        locks.enter_context(self._store.hold_runs(sorted(missing)))
        return finished

    def _summary(self, blocks: Sequence[Block]) -> TuningSummary:
        """Return rank 0's summary of the trials."""
        summary = None
        if self._world.is_main:
            results = self._store.results(run_ids(blocks))
            summary = summarize_tuning(study_of(self._config), results, self._config.clock)
        summary = self._world.from_main(summary)
        assert summary is not None
        return summary

    def _blocks(self, trial_count: int) -> list[Block]:
        """Return a block for each of the first trials and each seed, in their order."""
        blocks: list[Block] = []
        for trial in range(trial_count):
            for turn in range(self._config.tune.seeds):
                blocks.append(self._block(len(blocks), trial, turn))
        return blocks

    def _block(self, index: int, trial: int, turn: int) -> Block:
        """Return a run of every arm with one seed, each at its own rate."""
        runs = []
        for arm, shared in self._arms.items():
            rate = self._rates[arm][trial]
            seed = FIRST_SEED + shared.seed + turn
            config = replace(shared, optim=replace(shared.optim, lr=rate))
            digest = run_digest(config, METHOD_VERSION, *recipe_digests(config))
            run_id = f"{arm}-lr{rate:g}-s{seed}-{digest}"
            run = RunSpec(run_id=run_id, arm=arm, seed=seed, block=index, config=config)
            runs.append(run)
        return runs

    def _check_budget(self, blocks: Sequence[Block]) -> None:
        """Raise ValueError where these runs and all on record are more than an arm may have."""
        stored = self._study_store.trials()
        stored_ids = {result.run_id for result in stored}
        trials = [made_trial(result) for result in stored]
        for block in blocks:
            for run in block:
                if run.run_id not in stored_ids:
                    trials.append(_planned_trial(run))
        limits = tuning_limits(study_of(self._config))
        assert limits is not None
        excesses = tuning_excesses(trials, limits)
        if excesses:
            raise ValueError(
                f"{self._store.root}: {'; '.join(excesses)}: "
                "every run on record counts, for all arms alike; give another --output"
            )

    def _write_layer(self, summary: TuningSummary) -> None:
        arms: dict[str, JsonValue] = {}
        for arm, tuning in summary.arms.items():
            arms[arm] = {"optim.lr": tuning.best}
        heading = f"# Found by bench tune {self._config.name}, on val.\n"
        write_text(self._study_store.root / "tuned.yaml", heading + dump({"arms": arms}))

    def _trial_config(self, arm: str) -> ExperimentConfig:
        """Return an arm's config with a trial's budget. Raises ValueError where they do not fit."""
        shared = arm_config(self._config, arm)
        config = replace(shared, train=replace(shared.train, samples=self._samples))
        check_run(config, f"tuning of arm {arm}: ")
        return config

    def _first_rates(self) -> list[float]:
        shared_rate = self._config.optim.lr
        beside = [_rounded(shared_rate * factor) for factor in FIRST_FACTORS]
        return [shared_rate, *beside]


def _planned_trial(run: RunSpec) -> Trial:
    return Trial(
        arm=run.arm,
        learning_rate=run.config.optim.lr,
        budget_images=run.config.train.samples,
    )


def _rounded(rate: float) -> float:
    """Round to three significant digits, so that rates have short names."""
    return float(f"{rate:.3g}")
