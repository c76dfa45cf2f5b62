"""One run from its spec to its stored result, whatever happens on the way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.config.load import as_dict, to_yaml
from bench.experiment.assemble import Assembly
from bench.experiment.plan import RunSpec
from bench.results.clocks import METHOD_VERSION
from bench.results.fold import RunResult
from bench.results.store import RunStore, write_json, write_text
from bench.runtime.distributed import World
from bench.runtime.environment import environment_facts, process_age_s
from bench.runtime.phases import PhaseTimer
from bench.trackers import Tracker
from bench.training import checkpoint
from bench.training.loop import Progress, Training
from bench.training.recorder import Recorder


def execute(
    spec: RunSpec,
    assembly: Assembly,
    world: World,
    *,
    store: RunStore,
    trackers: Sequence[Tracker],
    facts: dict[str, Any],
    once_s: dict[str, float],
) -> RunResult | None:
    """Train one run and store its result (returned on rank 0). An error is recorded as `failed` and raised on.

    `facts` are what the process found before, as the precision; `once_s` its seconds by segment until the first run.
    """
    directory = store.run_dir(spec.run_id)
    if world.is_main:
        directory.mkdir(parents=True, exist_ok=True)
        write_text(directory / "config.yaml", to_yaml(spec.config))
    world.barrier()
    progress = _prepare(spec, assembly, directory / "checkpoints")
    # Paid once a process, and counted in full to each run on the clocks that count it.
    earlier_s = {**progress.segments_s, **once_s, "compile": assembly.compile["compile_s"]}
    if facts["process_runs"] == 1:
        earlier_s["idle"] = max(0.0, process_age_s() - sum(earlier_s.values()))
    timer = PhaseTimer("build", world.synchronize, earlier_s)
    recorder = Recorder(directory, trackers, is_main=world.is_main)
    training = Training(
        run_id=spec.run_id, config=spec.config, program=assembly.program, loader=assembly.loader,
        order=assembly.order(spec.seed, world), val=assembly.val, test=assembly.test, world=world,
        recorder=recorder, timer=timer, checkpoints=directory / "checkpoints",
    )  # fmt: skip
    timer.switch("log")
    recorder.emit("run_start", **_start_facts(spec, assembly, world, facts, progress), segments_s=training.segments_s())
    recorder.deliver()

    def stop(status: str, error: str | None, segments_s: dict[str, float]) -> RunResult | None:
        recorder.emit("run_stop", step=progress.step, status=status, error=error, segments_s=segments_s)
        recorder.deliver()
        return _store_result(spec, store, trackers) if world.is_main else None

    try:
        with assembly.program.guard():
            status = training.run(progress)
    except Exception as failure:
        stop("failed", _one_line(failure), timer.read_s())  # this rank's own seconds: the others may be gone
        raise
    return stop(status, None, training.segments_s())


def _prepare(spec: RunSpec, assembly: Assembly, checkpoints: Path) -> Progress:
    """Put the program at the run's start, or where its newest checkpoint stands."""
    assembly.program.reset(assembly.initial_state(spec.seed))
    found = checkpoint.load_newest(checkpoints, spec.run_id) if spec.config.train.checkpoint_every_looks else None
    if found is None:
        return Progress()
    tensors, meta = found
    checkpoint.restore(assembly.program, tensors, meta)
    return Progress(step=meta["step"], data_wait_s=meta["data_wait_s"], segments_s=meta["segments_s"])


def _start_facts(spec: RunSpec, assembly: Assembly, world: World, facts: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """All that a result must carry to be read, compared and made again."""
    dataset = assembly.dataset
    return {
        "run_id": spec.run_id,
        "arm": spec.arm,
        "seed": spec.seed,
        "block": spec.block,
        "experiment": spec.config.name,
        "method_version": METHOD_VERSION,
        "config": as_dict(spec.config),
        "dataset": {
            "name": dataset.name,
            "sha256": dataset.sha256,
            **{split: len(getattr(dataset, split).labels) for split in ("train", "val", "test")},
            "classes": list(dataset.classes),
            "val_by_class": np.bincount(dataset.val.labels, minlength=len(dataset.classes)).tolist(),
        },
        "network": assembly.network,
        "weights": assembly.start.record,
        **facts,
        "compile": assembly.compile,
        "environment": environment_facts(world.device, world.size),
        "world_size": world.size,
        "resumed_step": progress.step,
    }


def _store_result(spec: RunSpec, store: RunStore, trackers: Sequence[Tracker]) -> RunResult:
    """Fold the ledger just written; the checkpoints of a finished run are of no more use."""
    result = store.result(spec.run_id)
    assert result is not None
    write_json(store.run_dir(spec.run_id) / "result.json", result.to_dict())
    for tracker in trackers:
        tracker.finish(result)
    return result


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
