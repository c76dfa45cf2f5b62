"""`bench tune`: as many learning rates for each arm, by factors of 10, scored on val; the best ones as a YAML layer."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from bench.config.load import as_dict, check_run, dump, run_digest
from bench.config.schema import ExperimentConfig
from bench.experiment.plan import Block, RunSpec, recipe_digests, run_ids
from bench.experiment.suite import Suite
from bench.ledger.method import METHOD_VERSION
from bench.files import write_text
from bench.ledger.store import RunStore
from bench.judge.tuning import best_rate, over_budget, summarize_tuning
from bench.runtime.distributed import World
from bench.trackers import open_trackers

FIRST_SEED = 1_000_000  # after an arm's own: of tuning, beyond all blocks'


def check_tunable(config: ExperimentConfig) -> None:
    """Raise ValueError where arms may not differ in their learning rate, or where one sets it itself."""
    keys = {"optim", "optim.lr"}
    if not keys & {*config.factors}:
        raise ValueError(
            f"bench tune: optim.lr must be one of the factors, which are {list(config.factors)}"
        )
    if own := [arm for arm, overrides in config.arms.items() if keys & {*overrides}]:
        raise ValueError(
            f"bench tune: arm {own[0]} sets optim.lr itself; all arms are tuned around the shared one"
        )


def next_rate(scores: Mapping[float, float], *, finer: bool) -> float:
    """The learning rate to try after these: a factor of 10 beyond the best where that lies at an edge.

    Else, if finer, halfway (in logarithms) from the best to the better of its neighbours; if not, beyond the better edge.
    """
    rates, best = sorted(scores), best_rate(scores)
    if finer and rates[0] < best < rates[-1]:
        place = rates.index(best)
        beside = max(rates[place - 1], rates[place + 1], key=scores.__getitem__)
        if (rate := float(f"{(best * beside) ** 0.5:.3g}")) not in scores:
            return rate
    is_up = best == rates[-1] or scores[rates[-1]] > scores[rates[0]]
    return float(f"{rates[-1] * 10 if is_up else rates[0] / 10:.3g}")


class Tuner(Suite):
    """Tries learning rates on this world; every rank makes the same calls, rank 0 alone writes."""

    def __init__(self, config: ExperimentConfig, world: World) -> None:
        check_tunable(config)
        super().__init__(config, world)
        self._whole, self._asked = self._store, config.tune
        self._store = self._study.store = RunStore(self._whole.root / "tuning")
        for arm, own in self._arms.items():
            self._arms[arm] = replace(
                own, train=replace(own.train, samples=self._asked.samples or config.train.samples)
            )
            check_run(self._arms[arm], f"tuning of arm {arm}: ")
        self._rates = {
            arm: [config.optim.lr, *(float(f"{config.optim.lr * by:.3g}") for by in (0.1, 10))]
            for arm in self._arms
        }

    def run(self) -> dict[str, Any] | None:
        """Complete the tuning and write the layer; its summary on rank 0. Raises ValueError where an arm is over its budget."""
        self._check()
        if not self._world.is_main:
            self._rounds()
            return None
        shown = as_dict(self._config) | {
            "until_decided": False,
            "blocks": self._asked.trials * self._asked.seeds,
        }
        with self._whole.lock(), closing(open_trackers(["console"], shown)) as self._study.trackers:
            summary = self._rounds()
            best = dump(
                {
                    "arms": {
                        arm: {"optim.lr": found["best"]} for arm, found in summary["arms"].items()
                    }
                }
            )
            write_text(
                self._whole.root / "tuned.yaml",
                f"# Found by bench tune {self._config.name}, on val.\n{best}",
            )
            return summary

    def _rounds(self) -> dict[str, Any]:
        """Make three trials of every arm, then one more at a time; their summary."""
        for count in range(3, self._asked.trials + 1):
            self._blocks = [self._block(index) for index in range(count * self._asked.seeds)]
            self._run_ids = run_ids(self._blocks)
            self._complete(self._finished() if self._world.is_main else None)
            results = self._store.results(self._run_ids) if self._world.is_main else []
            summary = self._world.from_main(
                summarize_tuning(as_dict(self._config), results, self._config.clock)
            )
            for arm, found in summary["arms"].items():
                scores = {row["lr"]: row["score"] for row in found["trials"]}
                self._rates[arm].append(next_rate(scores, finer=self._asked.finer))
        return summary

    def _block(self, index: int) -> Block:
        """A run of every arm with one seed, each at its own rate."""
        (place, turn), runs = divmod(index, self._asked.seeds), Block()
        for arm, shared in self._arms.items():
            seed = FIRST_SEED + shared.seed + turn
            own = replace(shared, optim=replace(shared.optim, lr=self._rates[arm][place]))
            run_id = f"{arm}-lr{own.optim.lr:g}-s{seed}-{run_digest(own, METHOD_VERSION, *recipe_digests(own))}"
            runs.append(RunSpec(run_id=run_id, arm=arm, seed=seed, block=index, config=own))
        return runs

    def _finished(self) -> set[str]:
        """As of any study. Raises ValueError where these runs and all on record are more than an arm may have."""
        stored = self._whole.trials()
        planned = [
            run
            for block in self._blocks
            for run in block
            if run.run_id not in {known.run_id for known in stored}
        ]
        points = ((run.arm, run.config.optim.lr, run.config.train.samples) for run in planned)
        if over := over_budget(as_dict(self._config), stored, points):
            raise ValueError(
                f"{self._store.root}: {'; '.join(over)}: every run on record counts, for all arms alike; give another --output"
            )
        return super()._finished()

    def _provisional(self) -> bool:
        return False
