"""What a study and a tuning share: checks before any work, arms made ready, blocks of runs.

Every rank makes the same calls; rank 0 alone writes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain

from bench.config.schema import ExperimentConfig
from bench.experiment.assemble import Assembler, probe
from bench.experiment.context import RunContext
from bench.experiment.execute import execute
from bench.experiment.inputs import ArmInputs, Inputs
from bench.experiment.plan import Block, RunSpec, run_ids
from bench.experiment.selfcheck import self_check
from bench.experiment.selftrain import self_trained
from bench.judge.audit import check_declared
from bench.judge.comparable import hardware
from bench.judge.study import study_of
from bench.ledger.records import PrecisionFacts
from bench.ledger.result import RunResult
from bench.ledger.store import CHECKPOINTS, RunStore
from bench.models.weights import InitialWeights, random_weights
from bench.runtime.compute import check_compiler, resolve_precision
from bench.runtime.distributed import World
from bench.runtime.environment import code_sha256, environment_facts
from bench.trackers import Guarded
from bench.training.checkpoint_files import remove_all_but


class BlockRunner:
    """Makes runs of an experiment's arms on this world, into one store.

    `arms` are the arms' configs, as they are run.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        arms: Mapping[str, ExperimentConfig],
        world: World,
        store: RunStore,
        plan_sha256: str,
    ) -> None:
        self._config = config
        self._arms = arms
        self._world = world
        self._store = store
        self._plan_sha256 = plan_sha256
        self._inputs = Inputs()
        self._assembler = Assembler(world, self._inputs)
        self._arm_inputs: dict[str, ArmInputs] = {}
        self._self_check_key: str | None = None
        self._precision: PrecisionFacts | None = None
        self._code_sha256 = code_sha256(config.imports)
        self._once_s = {"startup": world.startup_s}

    def check(self) -> None:
        """Find all that can be found wrong before any work, and before anything is written.

        Raises ValueError for what was asked for and cannot be.
        """
        start_s = time.monotonic()
        inputs_by_rank = self._world.on_every_rank(self._check_rank)
        self._arm_inputs = inputs_by_rank[self._world.rank]
        self._check_inputs_are_those_of_rank_0(inputs_by_rank)
        if self._world.device.type == "cuda":
            self._self_check_key = self_check(self._world.device).key
        self._once_s["data_setup"] = time.monotonic() - start_s

    def _check_rank(self) -> dict[str, ArmInputs]:
        """Check what this rank can tell alone; return the digests of what its arms read."""
        if self._config.precision == "fp16" and self._world.device.type == "cpu":
            # accelerate would silently turn it into fp32
            raise ValueError(
                "precision: 'fp16' is not computed on a CPU; allowed there: auto, bf16, fp32"
            )
        if self._config.compile.enabled:
            check_compiler(self._world.device)
        inputs = self._inputs.check(self._config, self._world.size)
        self._store.check_writable()
        return inputs

    def finished_run_ids(self, run_ids: Sequence[str]) -> set[str]:
        """Return which of the runs need not be made. On rank 0.

        What a kill between a ledger and its result left undone is done. Raises ValueError where one
        was made with other images, weights or hardware than today's.
        """
        stored = self._store.look_at(run_ids)
        results = [result for result in stored.results if result.is_finished]
        for result in results:
            self._check_comparable(result)
        self._store.write_missing_results(results)
        if not self._config.checkpoint.keep_at_end:
            for result in results:
                remove_all_but(self._store.run_dir(result.run_id) / CHECKPOINTS, 0)
        return {result.run_id for result in results}

    def complete(
        self,
        blocks: Sequence[Block],
        finished: set[str],
        trackers: Guarded,
        *,
        after_block: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make the runs of the blocks that are not finished; rank 0 holds their locks.

        After each block in which a run was made, `after_block` says on rank 0 whether to stop.
        """
        missing_by_block = [_without(finished, block) for block in blocks]
        missing = list(chain.from_iterable(missing_by_block))
        context = self._context(missing, trackers, blocks)
        weights_by_arm = self._prepare({run.arm for run in missing}, context)
        for runs in missing_by_block:
            for run in runs:
                self._execute(run, weights_by_arm[run.arm], context)
            if not runs:
                continue
            is_enough: bool = self._world.on_main(after_block)
            if is_enough:
                return

    def _check_inputs_are_those_of_rank_0(
        self, inputs_by_rank: Sequence[Mapping[str, ArmInputs]]
    ) -> None:
        main_inputs = inputs_by_rank[0]
        for rank, rank_inputs in enumerate(inputs_by_rank):
            for arm, inputs in rank_inputs.items():
                if inputs != main_inputs[arm]:
                    raise ValueError(
                        f"arm {arm}: images or weights differ between the machines: rank {rank} "
                        f"has sha256 {inputs}, rank 0 {main_inputs[arm]}"
                    )

    def _check_comparable(self, result: RunResult) -> None:
        """Raise ValueError where a finished run was not made as one would be now."""
        start = result.start
        inputs = self._arm_inputs[result.arm]
        machine = hardware(environment_facts(self._world.device, self._world.size))
        run_machine = hardware(start.environment)
        if (start.world_size, run_machine) != (self._world.size, machine):
            raise self._not_comparable(
                result,
                f"by {start.world_size} processes on {run_machine}, "
                f"now it is {self._world.size} on {machine}; their times cannot be compared",
            )
        if start.dataset.sha256 != inputs.images_sha256:
            raise self._not_comparable(result, "with other images")
        if inputs.weights_sha256 is not None and start.weights.sha256 != inputs.weights_sha256:
            raise self._not_comparable(result, "with other weights")

    def _not_comparable(self, result: RunResult, reason: str) -> ValueError:
        return ValueError(
            f"{self._store.root}: run {result.run_id} was made {reason}: give another --output"
        )

    def _context(
        self, missing: Sequence[RunSpec], trackers: Guarded, blocks: Sequence[Block]
    ) -> RunContext:
        if self._precision is None:
            resolve = partial(self._resolve_precision, run_ids(blocks))
            self._precision = self._world.on_main(resolve)
            self._world.set_precision(self._precision.name or "fp32")
        if self._config.clock == "wall" and len(missing) > 1:
            raise ValueError(
                "clock: 'wall' needs a process for each run, "
                f"and this one has {len(missing)} to make; take another"
            )
        return RunContext(
            world=self._world,
            store=self._store,
            trackers=trackers,
            precision=self._precision,
            self_check=self._self_check_key,
            code_sha256=self._code_sha256,
            plan_sha256=self._plan_sha256,
            process_runs=len(missing),
            once_s=self._once_s,
        )

    def _resolve_precision(self, run_ids: Sequence[str]) -> PrecisionFacts:
        """Resolve it once a study: one that goes on computes as its first run did."""
        begun = self._store.look_at(run_ids).results
        if begun:
            return begun[0].start.precision
        baseline = self._arms[self._config.baseline]
        return resolve_precision(
            self._config.precision,
            self._world.device,
            lambda: probe(baseline, self._inputs.dataset(baseline.data)),
        )

    def _prepare(self, arms: set[str], context: RunContext) -> dict[str, InitialWeights]:
        """Audit all arms, and make weights and compile for those that have runs to make.

        Before the first run, so that the runs of a block follow each other.
        """
        realized = {}
        # Weights do not enter the audit, so random ones stand in for all.
        for arm, config in self._arms.items():
            realized[arm] = self._assembler.assemble(config, random_weights()).realized
        check_declared(study_of(self._config), realized)
        weights_by_arm = {}
        for arm, config in self._arms.items():
            if arm not in arms:
                continue
            self._world.say(
                f"{arm}: preparing {config.model.name}, weights {config.weights.source} ..."
            )
            if config.weights.source == "self":
                weights_by_arm[arm] = self_trained(config, context)
            else:
                weights_by_arm[arm] = self._inputs.initial_weights(config)
            compiled = self._assembler.compile(config)
            graph = "fullgraph" if config.compile.enabled else "eager"
            self._world.say(
                f"{arm}: compile {compiled.compile_s:.0f} s, {context.precision.name}, {graph}"
            )
        return weights_by_arm

    def _execute(self, run: RunSpec, weights: InitialWeights, context: RunContext) -> None:
        assembly = self._assembler.assemble(run.config, weights)
        execute(run, assembly, self._assembler.compile(run.config), context)


def _without(done: set[str], block: Block) -> list[RunSpec]:
    return [run for run in block if run.run_id not in done]
