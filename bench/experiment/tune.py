"""`bench tune`: as many learning rates for each arm, by factors of 10, scored on val; the best ones as a YAML layer."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bench.config.load import as_dict, dump, run_digest
from bench.config.schema import ExperimentConfig
from bench.experiment.plan import Block, RunSpec, recipe_digests, run_ids
from bench.experiment.suite import Suite
from bench.results.clocks import METHOD_VERSION
from bench.results.store import RunStore, write_text
from bench.results.tuning import summarize_tuning
from bench.runtime.distributed import World
from bench.trackers import open_trackers

TRIALS = "tuning"


def check_tunable(config: ExperimentConfig) -> None:
    """Raise ValueError for an experiment whose arms may not differ in their learning rate, or have one of their own."""
    if not {"optim", "optim.lr"} & {*config.factors}:
        raise ValueError(f"bench tune: 'optim.lr' is no declared factor; add it to factors {list(config.factors)}")
    if own := next((arm for arm, overrides in config.arms.items() if "optim.lr" in overrides), None):
        raise ValueError(
            f"arm {own}: sets optim.lr itself, which would hide the rate that tuning finds; all arms start from optim.lr"
        )
    samples, every = config.tune.samples, config.evaluation.every_samples
    if samples and (samples % every or samples > config.train.samples):
        raise ValueError(f"tune.samples: {samples} must be a multiple of evaluation.every_samples {every}, up to train.samples")


def next_rate(scores: Mapping[float, float], *, finer: bool) -> float:
    """The learning rate to try after these: beyond the best where that lies at an edge, by a factor of 10.

    Else, if finer, halfway (in logarithms) from the best to the better of its neighbours; if not, beyond the better edge.
    """
    rates = sorted(scores)
    best = rates.index(max(rates, key=lambda rate: (scores[rate], -rate)))
    if finer and 0 < best < len(rates) - 1:
        beside = max(rates[best - 1], rates[best + 1], key=scores.__getitem__)
        return _rounded((rates[best] * beside) ** 0.5)
    is_up = best == len(rates) - 1 or (best > 0 and scores[rates[-1]] > scores[rates[0]])
    return _rounded(rates[-1] * 10 if is_up else rates[0] / 10)


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


class Tuner(Suite):
    """Tries learning rates on this world, a round for all arms at once; every rank makes the same calls, rank 0 alone writes."""

    def __init__(self, config: ExperimentConfig, world: World) -> None:
        check_tunable(config)
        super().__init__(config, world)
        self.layer = self._store.root / "tuned.yaml"
        self._store = RunStore(self._store.root / TRIALS)
        self._study.store = self._store
        centre = config.optim.lr
        self._rates = {arm: [centre, _rounded(centre / 10), _rounded(centre * 10)] for arm in config.arms}

    def run(self) -> dict[str, Any] | None:
        """Complete the tuning; its summary on rank 0, and there the layer. Raises ValueError for an arm over its budget."""
        self._check()
        if not self._world.is_main:
            self._rounds()
            return None
        with self._store.lock():
            shown = replace(self._config, blocks=self._config.tune.trials * self._config.tune.seeds)
            self._study.trackers = open_trackers(["console"], as_dict(shown))
            try:
                self._rounds()
            finally:
                self._study.trackers.close()
            summary = self._summary()
            best = {arm: {"optim.lr": found["best"]} for arm, found in summary["arms"].items()}
            write_text(self.layer, f"# Found by bench tune {self._config.name}, on val.\n{dump({'arms': best})}")
            return summary

    def _rounds(self) -> None:
        world = self._world
        while True:
            self._blocks = [block for place in range(len(self._rates[self._config.baseline])) for block in self._trial(place)]
            self._run_ids = run_ids(self._blocks)
            self._complete(self._finished() if world.is_main else None)
            if len(self._rates[self._config.baseline]) >= self._config.tune.trials:
                return
            self._rates = world.from_main(self._further() if world.is_main else None)

    def _trial(self, place: int) -> Iterator[Block]:
        """The runs of each arm's rate in this place, a block a seed."""
        tune = self._config.tune
        for index in range(tune.seeds):
            runs, block = [], place * tune.seeds + index
            for arm, own in self._arms.items():
                rate, seed = self._rates[arm][place], tune.first_seed + index
                tried = replace(
                    own, optim=replace(own.optim, lr=rate), train=replace(own.train, samples=tune.samples or own.train.samples)
                )
                digest = run_digest(tried, METHOD_VERSION, *recipe_digests(own))
                runs.append(RunSpec(run_id=f"{arm}-lr{rate:g}-s{seed}-{digest}", arm=arm, seed=seed, block=block, config=tried))
            yield Block(index=block, seed=seed, runs=tuple(runs))

    def _further(self) -> dict[str, list[float]]:
        """Each arm's rates with the next one, from the scores so far."""
        scores = {arm: {row["lr"]: row["score"] for row in found["trials"]} for arm, found in self._summary()["arms"].items()}
        return {arm: [*rates, next_rate(scores[arm], finer=self._config.tune.finer)] for arm, rates in self._rates.items()}

    def _summary(self) -> dict[str, Any]:
        summary = summarize_tuning(as_dict(self._config), self._store.trials(), self._config.clock)
        assert summary is not None
        return summary

    def _provisional(self) -> bool:
        return False
