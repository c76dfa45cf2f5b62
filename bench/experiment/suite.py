"""A whole experiment: checks, blocks of runs with finished ones skipped, a provisional answer after each, the report."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import registry
from bench.config.load import arm_config, as_dict
from bench.config.schema import ExperimentConfig
from bench.experiment.assemble import Assembler, probe
from bench.experiment.execute import execute
from bench.experiment.inputs import Inputs
from bench.experiment.plan import plan, plan_record, run_ids
from bench.experiment.selfcheck import self_check
from bench.experiment.selftrain import self_trained
from bench.models.weights import Start
from bench.results.comparison import summarize
from bench.results.report import write_report
from bench.results.store import RunStore
from bench.results.verdict import is_enough
from bench.runtime.compute import check_compiler, check_precision, resolve
from bench.runtime.distributed import World
from bench.runtime.environment import environment_facts
from bench.trackers import Guarded, Tracker


class Suite:
    """Runs one experiment on this world; every rank makes the same calls, rank 0 alone writes."""

    def __init__(self, config: ExperimentConfig, world: World) -> None:
        self._config, self._world = config, world
        self._blocks = plan(config)
        self._run_ids = run_ids(self._blocks)
        self._store = RunStore(Path(config.output) / config.name)
        self._trackers: list[Tracker] = []
        self._plan = plan_record(config, self._blocks)
        self._facts: dict[str, Any] = {"self_check": None, "plan_sha256": self._plan["sha256"]}
        self._once_s: dict[str, float] = {"startup": world.startup_s}
        self._inputs = Inputs()
        self._assembler = Assembler(world, self._inputs, self._self_trained)
        self._baseline = arm_config(config, config.baseline)

    def run(self) -> dict[str, Any] | None:
        """Complete the experiment; the report on rank 0. Raises ValueError, before any work, for what cannot run."""
        start_s = time.monotonic()
        self._check()
        self._once_s["data_setup"] = time.monotonic() - start_s
        if not self._world.is_main:
            self._complete()
            return None
        with self._store.lock():
            self._plan = self._store.write_plan(self._plan)
            self._trackers = open_trackers(self._config, self._config.trackers)
            try:
                self._complete()
            finally:
                for tracker in self._trackers:
                    tracker.close()
            return write_report(self._store.root, self._plan, self._store.results(self._run_ids))

    def _check(self) -> None:
        """Everything that can be found wrong before work and before anything is written."""
        config, world = self._config, self._world
        check_precision(config.precision, world.device)
        if config.compile.enabled:
            check_compiler(world.device)
        digests = self._inputs.check(config, world.size)
        main = world.from_main(digests)
        if world.sum_counts([int(digests != main)])[0]:
            raise ValueError(f"images or weights differ between the machines: sha256 by arm here {digests}, on the first {main}")
        self._store.check_writable()
        if world.device.type == "cuda":
            self._facts["self_check"] = self_check(world.device)["key"]

    def _complete(self) -> None:
        world = self._world
        done: set[str] = world.from_main(self._finished() if world.is_main else None)
        self._facts["precision"] = world.from_main(self._resolve_precision() if world.is_main else None)
        world.set_precision(self._facts["precision"]["name"])
        missing = {block.index: [spec for spec in block.runs if spec.run_id not in done] for block in self._blocks}
        needed = [spec for specs in missing.values() for spec in specs]
        self._facts["process_runs"] = len(needed)
        if self._config.clock == "wall" and len(needed) > 1:
            raise ValueError(f"clock: 'wall' needs a process for each run, and this one has {len(needed)} to make; take another")
        self._prepare({spec.arm for spec in needed})
        for specs in missing.values():
            for spec in specs:
                execute(
                    spec, self._assembler.assemble(spec.config), world,
                    store=self._store, trackers=self._trackers, facts=self._facts, once_s=self._once_s,
                )  # fmt: skip
            if specs and world.from_main(self._provisional()) and self._config.until_decided:
                return

    def _prepare(self, arms: set[str]) -> None:
        """Make weights and compile before the first run, so that the runs of a block follow each other."""
        for arm in (arm for arm in self._config.arms if arm in arms):
            own = arm_config(self._config, arm)
            self._tell(f"{arm}: preparing {own.model.name}, weights {own.weights.source} ...")
            compiled = self._assembler.assemble(own).compile
            how = "fullgraph" if compiled["enabled"] else "eager"
            self._tell(f"{arm}: compile {compiled['compile_s']:.0f} s, {self._facts['precision']['name']}, {how}")

    def _tell(self, line: str) -> None:
        if self._world.is_main:
            print(line, flush=True)

    def _finished(self) -> set[str]:
        """Ids of the runs that need not be made. Raises ValueError where one used other images, weights or GPUs than today's."""
        today = self._inputs.dataset(self._baseline.data).sha256
        finished = [result for result in self._store.results(self._run_ids) if result.is_finished]
        arms = {arm: arm_config(self._config, arm) for arm in self._config.arms}
        files = {arm: self._inputs.start(own).record["sha256"] for arm, own in arms.items() if own.weights.source != "self"}
        now = self._world.size, environment_facts(self._world.device, self._world.size)["gpu"]
        for result in finished:
            images, weights = result.start["dataset"]["sha256"], result.start["weights"]["sha256"]
            changed = "images" if images != today else "weights" if files.get(result.arm, weights) != weights else None
            then = result.start["world_size"], result.start["environment"]["gpu"]
            if then != now:
                raise ValueError(
                    f"{self._store.root}: run {result.run_id} was made by {then[0]} processes on {then[1] or 'a CPU'}, now it is "
                    f"{now[0]} on {now[1] or 'a CPU'}; their times cannot be compared: give another --output"
                )
            if changed:
                raise ValueError(f"{self._store.root}: run {result.run_id} was made with other {changed}; give another --output")
        return {result.run_id for result in finished}

    def _resolve_precision(self) -> dict[str, Any]:
        """Resolved once an experiment: a study that goes on computes as its first run did."""
        begun = self._store.results(self._run_ids)
        if begun:
            first: dict[str, Any] = begun[0].start["precision"]
            return first
        dataset = self._inputs.dataset(self._baseline.data)
        return resolve(self._config.precision, self._world.device, lambda: probe(self._baseline, dataset))

    def _self_trained(self, own: ExperimentConfig) -> Start:
        return self_trained(own, self._world, self._facts, lambda recipe: open_trackers(recipe, ["console"]))

    def _provisional(self) -> bool:
        """Tell what the runs show so far; whether that is enough. On rank 0."""
        if not self._world.is_main:
            return False
        report = summarize(self._plan, self._store.results(self._run_ids))
        for tracker in self._trackers:
            tracker.summary(report)
        return is_enough(report)


def open_trackers(config: ExperimentConfig, names: Iterable[str]) -> list[Tracker]:
    """The named trackers, each guarded so that its failure harms no run. Raises ValueError for what the user asked of one."""
    opened: list[Tracker] = []
    for name in names:
        try:
            opened.append(Guarded(registry.resolve("tracker", name)(as_dict(config)), name))
        except ValueError:
            raise
        except Exception as error:
            print(f"tracker {name} is off: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return opened
