"""One run, from its spec to its stored result."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from bench.config.load import as_dict, dump
from bench.data.source import Dataset
from bench.experiment.assemble import Assembly
from bench.experiment.context import RunContext
from bench.experiment.inputs import make_order
from bench.experiment.plan import RunSpec
from bench.files import write_text
from bench.ledger.method import METHOD_VERSION
from bench.ledger.records import CompileRecord, DatasetFacts, RunStart, RunStop
from bench.ledger.result import RunResult
from bench.models.weights import initial_state
from bench.runtime.compute import no_recompile
from bench.runtime.environment import environment_facts, process_age_s
from bench.runtime.phases import PhaseTimer
from bench.training import checkpoint
from bench.training.loop import Progress, TrainingJob, train
from bench.training.program import Program
from bench.training.recorder import Recorder

ERROR_LENGTH = 500
CHECKPOINTS = "checkpoints"  # in a run's folder


def execute(
    spec: RunSpec, assembly: Assembly, compiled: CompileRecord, context: RunContext
) -> RunResult | None:
    """Train one run and store its result, which rank 0 returns.

    It goes on where its newest checkpoint was taken. An error is recorded as `failed`, and raised
    on.
    """
    world = context.world
    directory = context.store.run_dir(spec.run_id)
    if world.is_main:
        write_text(directory / "config.yaml", dump(as_dict(spec.config)))
    world.barrier()
    starting_point = _begin(spec, assembly, directory)
    progress = starting_point.progress
    earlier_s = _with_costs_of_process(starting_point.earlier_s, compiled, context)
    order = make_order(
        spec.config, assembly.dataset, seed=spec.seed, rank=world.rank, world_size=world.size
    )
    recorder = Recorder(
        directory,
        world,
        context.trackers,
        PhaseTimer("build", world.synchronize, earlier_s),
        steps_per_epoch=order.steps_per_epoch,
    )
    recorder.switch("log")
    start = _run_start(spec, assembly, compiled, context, progress.step)
    # Read last: facts about the machine take a moment, which belongs to a segment.
    start = replace(start, segments_s=recorder.segments_s())
    recorder.started(start, progress.step)
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
        save_checkpoint=partial(
            _save_checkpoint, directory / CHECKPOINTS, assembly.program, spec.run_id
        ),
    )
    recorder.stopped(_train(job, spec, context), progress.step)
    return _store_result(spec, context)


@dataclass(frozen=True, kw_only=True)
class _StartingPoint:
    """Where a run begins or goes on, and its seconds by segment until there."""

    progress: Progress
    earlier_s: Mapping[str, float]


def _begin(spec: RunSpec, assembly: Assembly, directory: Path) -> _StartingPoint:
    """Put the program at the run's start, or where its newest checkpoint was taken."""
    config = spec.config
    program = assembly.program
    classes = len(assembly.dataset.classes)
    program.reset(initial_state(config.model, classes, spec.seed, assembly.initial_weights))
    saved = None
    if config.train.checkpoint_every_looks:
        saved = checkpoint.load_newest(directory / CHECKPOINTS, spec.run_id)
    if saved is None:
        return _StartingPoint(progress=Progress(), earlier_s={})
    checkpoint.restore(program, saved)
    progress = Progress(
        step=saved.state.step,
        val_losses=saved.state.val_losses,
        data_wait_s=saved.state.data_wait_s,
    )
    return _StartingPoint(progress=progress, earlier_s=saved.state.segments_s)


def _train(job: TrainingJob, spec: RunSpec, context: RunContext) -> RunStop:
    """Train, and say how it ended; an error is stored as the run's result, and raised on."""
    recorder = job.recorder
    try:
        with no_recompile(job.config.compile.enabled):
            outcome = train(job)
    except Exception as failure:
        # This rank's own seconds: the others may be gone.
        recorder.stopped(_failed(failure, recorder.own_segments_s()), job.progress.step)
        _store_result(spec, context)
        raise
    return RunStop(
        status=outcome.status,
        error=None,
        segments_s=recorder.segments_s(),
        stopped_step=outcome.stopped_step,
        best_step=outcome.best_step,
    )


def _save_checkpoint(
    directory: Path,
    program: Program,
    run_id: str,
    progress: Progress,
    segments_s: Mapping[str, float],
) -> Path:
    return checkpoint.save(
        directory,
        program,
        run_id=run_id,
        step=progress.step,
        val_losses=progress.val_losses,
        data_wait_s=progress.data_wait_s,
        segments_s=segments_s,
    )


def _with_costs_of_process(
    earlier_s: Mapping[str, float], compiled: CompileRecord, context: RunContext
) -> dict[str, float]:
    """Add what is paid once a process, and counted in full to each run on the clocks that count it.

    `idle` is what is left of the process's age, where it makes one run.
    """
    seconds = {**earlier_s, **context.once_s, "compile": compiled.compile_s or 0.0}
    if context.process_runs == 1:
        seconds["idle"] = max(0.0, process_age_s() - sum(seconds.values()))
    return seconds


def _run_start(
    spec: RunSpec,
    assembly: Assembly,
    compiled: CompileRecord,
    context: RunContext,
    resumed_step: int,
) -> RunStart:
    """Return all facts of a run's start but its seconds by segment."""
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
        environment=environment_facts(world.device, world.size),
        world_size=world.size,
        resumed_step=resumed_step,
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


def _failed(failure: Exception, segments_s: Mapping[str, float]) -> RunStop:
    message = " ".join(str(failure).split())
    return RunStop(
        status="failed",
        error=f"{type(failure).__name__}: {message}"[:ERROR_LENGTH],
        segments_s=segments_s,
        stopped_step=None,
        best_step=None,
    )


def _store_result(spec: RunSpec, context: RunContext) -> RunResult | None:
    """Fold the run's ledger into its result, store it and tell the trackers; on rank 0."""
    if not context.world.is_main:
        return None
    result = context.store.result(spec.run_id)
    assert result is not None
    context.store.write_result(result)
    context.trackers.finish(result)
    return result
