"""A whole experiment: checks, blocks of runs with finished ones skipped, a provisional answer after each, the report."""

import dataclasses
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.config.load import arm_config, as_dict
from bench.config.schema import ExperimentConfig
from bench.experiment.assemble import Assembler, Assembly, probe
from bench.experiment.execute import Study, execute
from bench.experiment.inputs import Inputs
from bench.experiment.plan import plan, plan_record, run_ids
from bench.experiment.selfcheck import self_check
from bench.experiment.selftrain import self_trained
from bench.models.weights import random_start
from bench.judge.audit import check_declared
from bench.judge.comparison import summarize
from bench.report.pages import write_report
from bench.files import write_json
from bench.ledger.store import RunStore
from bench.judge.verdict import is_enough
from bench.report.words import answer
from bench.runtime.compute import check_compiler, resolve
from bench.runtime.distributed import World
from bench.runtime.environment import environment_facts
from bench.trackers import Guarded, open_trackers


class Suite:
    """Runs one experiment on this world; every rank makes the same calls, rank 0 alone writes."""

    def __init__(self, config: ExperimentConfig, world: World) -> None:
        self._config, self._world = config, world
        self._blocks = plan(config)
        self._run_ids = run_ids(self._blocks)
        self._plan = plan_record(config, self._blocks)
        self._arms = {arm: arm_config(config, arm) for arm in config.arms}
        self._inputs = Inputs()
        self._assembler = Assembler(world, self._inputs)
        self._sha256: dict[str, list[str | None]] = {}  # by arm, of today's images and weights
        self._store = RunStore(Path(config.output) / config.name)
        facts, once_s = (
            {"self_check": None, "plan_sha256": self._plan["sha256"]},
            {"startup": world.startup_s},
        )
        self._study = Study(
            world=world, store=self._store, trackers=Guarded({}), facts=facts, once_s=once_s
        )

    def run(self) -> dict[str, Any] | None:
        """Complete the experiment; the report on rank 0. Raises ValueError, before any work, for what cannot run."""
        self._check()
        if not self._world.is_main:
            self._complete(None)
            return None
        with self._store.lock():
            done = self._finished()
            self._plan = self._store.write_plan(self._plan)
            self._study.trackers = open_trackers(self._config.trackers, as_dict(self._config))
            try:
                self._complete(done)
            finally:
                self._study.trackers.close()
            return write_report(self._store.root, self._plan, self._store.results(self._run_ids))

    def _check(self) -> None:
        """Everything that can be found wrong before work and before anything is written."""
        config, world, start_s = self._config, self._world, time.monotonic()
        if (
            config.precision == "fp16" and world.device.type == "cpu"
        ):  # which accelerate would silently turn into fp32
            raise ValueError(
                "precision: 'fp16' is not computed on a CPU; allowed there: auto, bf16, fp32"
            )
        if config.compile.enabled:
            check_compiler(world.device)
        self._sha256 = self._inputs.check(config, world.size)
        main = world.from_main(self._sha256)
        if world.sums([int(self._sha256 != main)])[0]:
            told = f"sha256 by arm here {self._sha256}, on the first {main}"
            raise ValueError(f"images or weights differ between the machines: {told}")
        self._store.check_writable()
        if world.device.type == "cuda":
            self._study.facts["self_check"] = self_check(world.device)["key"]
        self._study.once_s["data_setup"] = time.monotonic() - start_s

    def _complete(self, finished: set[str] | None) -> None:
        world, facts = self._world, self._study.facts
        done: set[str] = world.from_main(finished)
        if "precision" not in facts:
            facts["precision"] = world.from_main(
                self._resolve_precision() if world.is_main else None
            )
            world.set_precision(facts["precision"]["name"])
        missing = [[spec for spec in block if spec.run_id not in done] for block in self._blocks]
        needed = [spec for specs in missing for spec in specs]
        facts["process_runs"] = len(needed)
        if self._config.clock == "wall" and len(needed) > 1:
            raise ValueError(
                f"clock: 'wall' needs a process for each run, and this one has {len(needed)} to make; take another"
            )
        assemblies = self._prepare({spec.arm for spec in needed})
        for specs in missing:
            for spec in specs:
                execute(spec, assemblies[spec.arm], self._study)
            if (
                specs
                and world.from_main(world.is_main and self._provisional())
                and self._config.until_decided
            ):
                return

    def _prepare(self, arms: set[str]) -> dict[str, Assembly]:
        """Audit all arms, make weights and compile before the first run, so that the runs of a block follow each other."""
        assemblies = {
            arm: self._assembler.assemble(own, random_start()) for arm, own in self._arms.items()
        }
        check_declared(
            as_dict(self._config), {arm: assembly.reality for arm, assembly in assemblies.items()}
        )
        for arm, own in self._arms.items():
            if arm in arms:
                self._tell(f"{arm}: preparing {own.model.name}, weights {own.weights.source} ...")
                start = (
                    self_trained(own, self._study)
                    if own.weights.source == "self"
                    else self._inputs.start(own)
                )
                assemblies[arm] = dataclasses.replace(assemblies[arm], start=start)
                self._assembler.compile(assemblies[arm], own)
                compile_s, how = (
                    assemblies[arm].compile["compile_s"],
                    "fullgraph" if own.compile.enabled else "eager",
                )
                self._tell(
                    f"{arm}: compile {compile_s:.0f} s, {self._study.facts['precision']['name']}, {how}"
                )
        return assemblies

    def _tell(self, line: str) -> None:
        with suppress(OSError, ValueError):  # a terminal that is gone is no reason to end a study
            if self._world.is_main:
                print(line, flush=True)

    def _finished(self) -> set[str]:
        """Ids of the runs that need not be made. Raises ValueError where one used other images, weights or GPUs than today's."""
        here = self._world.size, environment_facts(self._world.device, self._world.size)["gpu"]
        finished = [result for result in self._store.results(self._run_ids) if result.is_finished]
        for result in finished:
            if not (
                path := self._store.run_dir(result.run_id) / "result.json"
            ).is_file():  # killed between ledger and result
                write_json(path, result.to_dict())
            start, (images, weights) = result.start, self._sha256[result.arm]
            size, gpu = start["world_size"], start["environment"]["gpu"]
            now = f"now it is {here[0]} on {here[1] or 'a CPU'}; their times cannot be compared"
            faults = {
                f"by {size} processes on {gpu or 'a CPU'}, {now}": (size, gpu) != here,
                "with other images": start["dataset"]["sha256"] != images,
                "with other weights": weights is not None and start["weights"]["sha256"] != weights,
            }
            if how := next((how for how, is_so in faults.items() if is_so), None):
                raise ValueError(
                    f"{self._store.root}: run {result.run_id} was made {how}: give another --output"
                )
        return {result.run_id for result in finished}

    def _resolve_precision(self) -> dict[str, Any]:
        """Resolved once an experiment: a study that goes on computes as its first run did."""
        if begun := self._store.results(self._run_ids):
            return begun[0].start["precision"]
        own = self._arms[self._config.baseline]
        return resolve(
            self._config.precision,
            self._world.device,
            lambda: probe(own, self._inputs.dataset(own.data)),
        )

    def _provisional(self) -> bool:
        """Tell what the runs show so far; whether that is enough. On rank 0."""
        report = summarize(
            self._plan, self._store.results(self._run_ids), trials=self._store.trials()
        )
        self._tell(answer(report))
        return is_enough(report)
