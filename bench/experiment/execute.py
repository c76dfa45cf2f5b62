"""One run, from its spec to its stored result."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench.config.load import as_dict, dump
from bench.data.source import Dataset
from bench.experiment.assemble import Assembly
from bench.experiment.beginning import Beginning, find_beginning
from bench.experiment.context import RunContext
from bench.experiment.endings import ending_of
from bench.experiment.inputs import make_order
from bench.experiment.plan import RunSpec
from bench.files import write_text
from bench.judge.comparable import hardware
from bench.ledger.method import METHOD_VERSION
from bench.ledger.records import (
    CompileRecord,
    DatasetFacts,
    EnvironmentFacts,
    RunBasis,
    RunStart,
    RunStop,
)
from bench.ledger.result import RunResult
from bench.ledger.store import CHECKPOINTS
from bench.models.weights import initial_state
from bench.runtime.compute import no_recompile
from bench.runtime.distributed import World
from bench.runtime.environment import environment_facts, package_version, process_age_s
from bench.runtime.phases import PhaseTimer
from bench.runtime.streams import Stream, derive_seed
from bench.training import checkpoint
from bench.training.checkpoint_files import remove_all_but
from bench.training.loop import Progress, TrainingJob, train
from bench.training.program import Program
from bench.training.recorder import Recorder

ERROR_LENGTH = 500
# Paid by each process anew, and not by an interrupted run twice.
PROCESS_SEGMENTS = ("startup", "data_setup", "build", "compile", "idle")


def execute(
    spec: RunSpec, assembly: Assembly, compiled: CompileRecord, context: RunContext
) -> RunResult | None:
    """Train one run and store its result, which rank 0 returns; it must hold the run's lock.

    It goes on where its newest checkpoint was taken, where that is of this very run, code and
    machine. An error is recorded as the run's end, and raised on.
    """
    world = context.world
    timer = PhaseTimer("log", world.synchronize)
    directory = context.store.run_dir(spec.run_id)
    environment = environment_facts(world.device, world.size)
    basis = _basis(spec, assembly, context, environment)
    beginning = world.on_main(partial(_prepare_folder, spec, context, basis))
    _say_beginning(beginning, spec, context)
    progress = _put_in_place(beginning, spec, assembly, world, timer=timer)
    timer.add(_costs_of_process(timer, assembly, compiled, context))
    order = make_order(
        spec.config, assembly.dataset, seed=spec.seed, rank=world.rank, world_size=world.size
    )
    recorder = Recorder(
        directory, world, context.trackers, timer, steps_per_epoch=order.steps_per_epoch
    )
    start = _run_start(spec, assembly, compiled, context, environment)
    start = replace(
        start,
        basis=basis,
        attempt=beginning.attempt,
        begun_anew=beginning.begun_anew,
        resumed_step=progress.step,
        segments_s=recorder.segments_s(),
    )
    recorder.started(start, progress.step)
    saver = _CheckpointSaver(
        directory=directory / CHECKPOINTS,
        program=assembly.program,
        basis=basis,
        world=world,
        keep=spec.config.checkpoint.keep,
    )
    job = TrainingJob(
        config=spec.config,
        world=world,
        program=assembly.program,
        loader=assembly.loader,
        order=order,
        val=assembly.val,
        test=assembly.test,
        features=assembly.features,
        recorder=recorder,
        progress=progress,
        save_checkpoint=saver.save,
    )
    recorder.stopped(_train(job, spec, context), progress.step)
    return _store_result(spec, context)


def _basis(
    spec: RunSpec, assembly: Assembly, context: RunContext, environment: EnvironmentFacts
) -> RunBasis:
    """Say what this run's numbers come from."""
    return RunBasis(
        run_id=spec.run_id,
        code_sha256=context.code_sha256,
        world_size=context.world.size,
        images_sha256=assembly.dataset.sha256,
        weights_sha256=assembly.initial_weights.facts.sha256,
        precision=context.precision.name,
        torch=package_version("torch"),
        hardware=hardware(environment),
    )


def _prepare_folder(spec: RunSpec, context: RunContext, basis: RunBasis) -> Beginning:
    """Write the run's config and find out where it begins; on rank 0."""
    folder = context.store.run_dir(spec.run_id)
    write_text(folder / "config.yaml", dump(as_dict(spec.config)))
    return find_beginning(context.store, basis)


def _say_beginning(beginning: Beginning, spec: RunSpec, context: RunContext) -> None:
    for sentence in beginning.sentences:
        context.world.say(sentence)
    if beginning.begun_anew is not None:
        context.world.say(
            f"{spec.run_id}: begun anew, attempt {beginning.attempt}: {beginning.begun_anew}"
        )


@dataclass(frozen=True, kw_only=True)
class _Standing:
    """Where a run stands on this rank, and its nanoseconds by segment until there."""

    progress: Progress
    segments_ns: Mapping[str, int]


def _put_in_place(
    beginning: Beginning, spec: RunSpec, assembly: Assembly, world: World, *, timer: PhaseTimer
) -> Progress:
    """Put the program at the run's start, or where it goes on; say where that is.

    The timer then has the seconds of the attempt that is gone on with, too.
    """
    timer.switch("init")
    program = assembly.program
    classes = len(assembly.dataset.classes)
    program.reset(initial_state(spec.config.model, classes, spec.seed, assembly.initial_weights))
    # Of layers that draw, such as dropout: alike in every process, another on every rank.
    torch.manual_seed(derive_seed(spec.seed, Stream.LAYERS, world.rank))
    progress = Progress()
    if beginning.checkpoint is not None:
        timer.switch("checkpoint")
        standing = world.each(partial(_restore, program, beginning.checkpoint, world.rank))
        timer.add(standing.segments_ns)
        progress = standing.progress
    timer.switch("log")
    return progress


def _restore(program: Program, folder: Path, rank: int) -> _Standing:
    saved = checkpoint.read_checkpoint(folder, rank)
    checkpoint.restore(program, saved)
    progress = Progress(
        step=saved.step,
        val_losses=list(saved.shared.val_losses),
        data_wait_s=saved.rank.data_wait_s,
    )
    run_ns: dict[str, int] = {}
    for segment, spent_ns in saved.rank.segments_ns.items():
        if segment not in PROCESS_SEGMENTS:
            run_ns[segment] = spent_ns
    return _Standing(progress=progress, segments_ns=run_ns)


def _train(job: TrainingJob, spec: RunSpec, context: RunContext) -> RunStop:
    """Train, and say how it ended; an error is stored as the run's result, and raised on."""
    recorder = job.recorder
    try:
        with no_recompile(job.config.compile.enabled):
            outcome = train(job)
    except Exception as failure:
        ending = ending_of(failure, job.config, job.world)
        stop = RunStop(
            status=ending.status,
            error=ending.error[:ERROR_LENGTH],
            segments_s=recorder.segments_s_without_others(),
            stopped_step=None,
            best_step=None,
        )
        recorder.stopped(stop, job.progress.step)
        _store_result(spec, context)
        raise
    return RunStop(
        status=outcome.status,
        error=None,
        segments_s=recorder.segments_s(),
        stopped_step=outcome.stopped_step,
        best_step=outcome.best_step,
    )


@dataclass(frozen=True, kw_only=True)
class _CheckpointSaver:
    """Saves one run's checkpoints, on every rank."""

    directory: Path
    program: Program
    basis: RunBasis
    world: World
    keep: int

    def save(self, progress: Progress, segments_ns: Mapping[str, int]) -> Path:
        """Save where the run stands; return the checkpoint's folder."""
        rank_state = checkpoint.RankState(segments_ns=segments_ns, data_wait_s=progress.data_wait_s)
        run_progress = checkpoint.RunProgress(
            step=progress.step, val_losses=progress.val_losses, rank=rank_state
        )
        return checkpoint.save_checkpoint(
            self.directory,
            self.program,
            run_progress,
            basis=self.basis,
            world=self.world,
            keep=self.keep,
        )


def _costs_of_process(
    timer: PhaseTimer, assembly: Assembly, compiled: CompileRecord, context: RunContext
) -> dict[str, int]:
    """Return what is paid once a process, and counted in full to each run on the clocks that do.

    `idle` is what is left of the process's age, where it makes one run.
    """
    arm_s = {"build": assembly.build_s, "compile": compiled.compile_s or 0.0}
    once_s = {**context.once_s, **arm_s}
    once_ns = {segment: round(seconds * 1e9) for segment, seconds in once_s.items()}
    if context.process_runs > 1:
        return once_ns
    spent_ns = sum(timer.read_ns().values()) + sum(once_ns.values())
    idle_ns = max(0, round(process_age_s() * 1e9) - spent_ns)
    return {**once_ns, "idle": idle_ns}


def _run_start(
    spec: RunSpec,
    assembly: Assembly,
    compiled: CompileRecord,
    context: RunContext,
    environment: EnvironmentFacts,
) -> RunStart:
    """Return all facts of a run's start that do not depend on where it begins."""
    world = context.world
    return RunStart(
        run_id=spec.run_id,
        arm=spec.arm,
        seed=spec.seed,
        block=spec.block,
        experiment=spec.config.name,
        method_version=METHOD_VERSION,
        config=as_dict(spec.config),
        dataset=_dataset_facts(assembly.dataset),
        network=assembly.network,
        reality=assembly.realized,
        weights=assembly.initial_weights.facts,
        compile=compiled,
        self_check=context.self_check,
        plan_sha256=context.plan_sha256,
        precision=context.precision,
        process_runs=context.process_runs,
        environment=environment,
        world_size=world.size,
        segments_s={},
    )


def _dataset_facts(dataset: Dataset) -> DatasetFacts:
    val_by_class = np.bincount(dataset.val.labels, minlength=len(dataset.classes))
    return DatasetFacts(
        name=dataset.name,
        sha256=dataset.sha256,
        classes=tuple(dataset.classes),
        train=len(dataset.train.labels),
        val=len(dataset.val.labels),
        test=len(dataset.test.labels),
        val_by_class=tuple(val_by_class.tolist()),
    )


def _store_result(spec: RunSpec, context: RunContext) -> RunResult | None:
    """Fold the run's ledger into its result, store it and tell the trackers; on rank 0."""
    if not context.world.is_main:
        return None
    result = context.store.result(spec.run_id)
    assert result is not None
    context.store.write_result(result)
    if result.is_finished:
        keep = 1 if spec.config.checkpoint.keep_at_end else 0
        remove_all_but(context.store.run_dir(spec.run_id) / CHECKPOINTS, keep)
    context.trackers.finish(result)
    return result
