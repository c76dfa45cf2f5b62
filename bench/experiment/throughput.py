"""What a training step costs: images a second from each loader and without one, beside a bare loop.

Nothing is learned or judged here. steploop.py times, profiling.py looks into the steps.

    python -m bench.experiment.throughput EXPERIMENT --json FILE [--dotted.key=value ...]
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench import registry
from bench.config.load import arm_config, load
from bench.config.schema import ExperimentConfig
from bench.experiment.armmeter import ArmMeter
from bench.experiment.assemble import probe
from bench.experiment.inputs import Inputs
from bench.experiment.profiling import profile_steps, profile_text
from bench.experiment.steploop import LoopTiming, StepLoop
from bench.results.store import write_json
from bench.runtime.compute import resolve
from bench.runtime.distributed import World
from bench.runtime.environment import environment_facts


@dataclass(frozen=True, kw_only=True)
class ArmThroughput:
    """Say what an arm's steps cost, by what feeds them. Null: not measured, or not on this device.

    `harness` takes one batch again and again; `loaders` train on each loader's batches and
    `loaders_alone` only make them. `overhead_ratio` is bare images/s over the harness's. The peak
    is torch's own memory, without DALI's.
    """

    arm: str
    network: str
    input_size: int
    batch_size: int
    precision: str
    compiled: bool
    compile_s: float
    harness: LoopTiming
    loaders: dict[str, LoopTiming]
    loaders_alone: dict[str, LoopTiming]
    bare: LoopTiming | None
    overhead_ratio: float | None
    resize_ms: float | None
    evaluation_images_per_s: float | None
    peak_memory_bytes: int | None
    faults: dict[str, str] = field(default_factory=dict)


def measure_arm(
    arm: str,
    meter: ArmMeter,
    *,
    loaders: Sequence[str],
    with_bare: bool = True,
    with_evaluation: bool = False,
) -> ArmThroughput:
    """Measure one arm. A loader that fails is a fault in the result and ends nothing."""
    is_cuda = torch.cuda.is_available()
    if is_cuda:
        torch.cuda.reset_peak_memory_stats()
    trained: dict[str, LoopTiming] = {}
    alone: dict[str, LoopTiming] = {}
    faults: dict[str, str] = {}
    for name in loaders:
        try:
            trained[name] = meter.loader(name)
            alone[name] = meter.loader_alone(name)
        except Exception as error:
            faults[name] = error_text(error)
    evaluation_images_per_s = meter.evaluation_images_per_s() if with_evaluation else None
    peak_memory_bytes = torch.cuda.max_memory_allocated() if is_cuda else None
    harness = meter.harness()
    bare = meter.bare() if with_bare else None
    config = meter.config
    return ArmThroughput(
        arm=arm,
        network=config.model.name,
        input_size=meter.input_size,
        batch_size=config.train.global_batch_size,
        precision=config.precision,
        compiled=config.compile.enabled,
        compile_s=meter.compile_s,
        harness=harness,
        loaders=trained,
        loaders_alone=alone,
        bare=bare,
        overhead_ratio=bare.images_per_s / harness.images_per_s if bare else None,
        resize_ms=meter.resize_ms(),
        evaluation_images_per_s=evaluation_images_per_s,
        peak_memory_bytes=peak_memory_bytes,
        faults=faults,
    )


def error_text(error: Exception) -> str:
    """Say in one line what was raised."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def profile_arm(arm: str, meter: ArmMeter, loader: str, folder: Path) -> dict[str, Any]:
    """Profile steps on a loader's batches into `folder`: profile.txt and trace.json.gz."""
    loop = StepLoop(meter.batches(loader), meter.program.step)
    profile = profile_steps(loop.run, meter.world.synchronize, folder / "trace.json.gz")
    text = profile_text(profile)
    (folder / "profile.txt").write_text(text)
    print(text, flush=True)
    return {"arm": arm, "loader": loader, **dataclasses.asdict(profile)}


@dataclass(frozen=True, kw_only=True)
class Request:
    """Say which arms are measured, how and for how long, and which of them is profiled where to."""

    arms: tuple[str, ...]
    loaders: tuple[str, ...]
    seconds: float
    with_bare: bool
    with_evaluation: bool
    profiled_arm: str | None
    json: Path


def measure_experiment(config: ExperimentConfig, world: World, request: Request) -> dict[str, Any]:
    """Measure the requested arms; the JSON is written anew after each, so that it keeps them.

    An arm that fails is a fault beside the others. Raises ValueError on several processes.
    """
    if world.size != 1:
        raise ValueError(f"throughput is measured on one process, not on {world.size}")
    inputs = Inputs()
    first = arm_config(config, request.arms[0])
    precision = resolve(
        config.precision, world.device, lambda: probe(first, inputs.dataset(first.data))
    )
    world.set_precision(precision["name"])
    content: dict[str, Any] = {
        "experiment": config.name,
        "environment": environment_facts(world.device, world.size),
        "arms": {},
        "profile": None,
        "faults": {},
    }
    for arm in request.arms:
        resolved = dataclasses.replace(arm_config(config, arm), precision=precision["name"])
        try:
            _add_arm(content, arm, ArmMeter(resolved, world, inputs, request.seconds), request)
        except Exception as error:
            content["faults"][arm] = error_text(error)
            print(f"{arm}: {content['faults'][arm]}", flush=True)
        write_json(request.json, content)
        if world.device.type == "cuda":
            torch.cuda.empty_cache()
    return content


def _add_arm(content: dict[str, Any], arm: str, meter: ArmMeter, request: Request) -> None:
    result = measure_arm(
        arm,
        meter,
        loaders=request.loaders,
        with_bare=request.with_bare,
        with_evaluation=request.with_evaluation,
    )
    content["arms"][arm] = dataclasses.asdict(result)
    print(arm_text(result), flush=True)
    write_json(request.json, content)
    if arm == request.profiled_arm and result.loaders:
        content["profile"] = profile_arm(
            arm, meter, next(iter(result.loaders)), request.json.parent
        )


def arm_text(result: ArmThroughput) -> str:
    """Lay an arm's figures out, a line a loop."""
    rows = {"harness, one batch": result.harness, "bare loop, one batch": result.bare}
    rows |= {f"harness, {name}": timing for name, timing in result.loaders.items()}
    rows |= {f"{name} alone": timing for name, timing in result.loaders_alone.items()}
    lines = [
        f"{result.arm}: batch {result.batch_size}, {result.precision}, {result.compile_s:.1f} s"
    ]
    for title, timing in rows.items():
        if timing is not None:
            lines.append(
                f"  {title:22} {timing.images_per_s:12,.0f} images/s "
                f"{timing.step_ms:9.3f} ms a step"
            )
    lines += [f"  {name}: {fault}" for name, fault in result.faults.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Measure an experiment's arms. Exit codes: 0 done, 1 something failed, 2 wrong input."""
    try:
        args, overrides = parser().parse_known_args(arguments)
        config = load(args.experiment, overrides)
        request = _request(args, config)
        world = World(1, config.hardware.cpu_threads)
        content = measure_experiment(config, world, request)
        world.close()
    except ValueError as error:
        print(f"headstart: {error}", file=sys.stderr, flush=True)
        return 2
    loader_faults = [arm["faults"] for arm in content["arms"].values() if arm["faults"]]
    return 1 if content["faults"] or loader_faults else 0


def parser() -> argparse.ArgumentParser:
    """Describe the command line; what it does not know are config overrides."""
    arguments = argparse.ArgumentParser(
        prog="bench.experiment.throughput",
        description="What a training step costs, from each loader and beside a bare loop.",
        allow_abbrev=False,
    )
    arguments.add_argument("experiment", help="a YAML file, or a name in configs/experiments")
    arguments.add_argument("--json", type=Path, required=True, help="where the figures go")
    arguments.add_argument(
        "--only", type=_names, default=(), help="these arms, a,b; all by default"
    )
    arguments.add_argument("--loaders", type=_names, default=("dali", "resident"), help="a,b")
    arguments.add_argument("--seconds", type=float, default=1.5, help="of a timed loop")
    arguments.add_argument("--no-bare", action="store_true", help="no bare loop beside the harness")
    arguments.add_argument("--evaluate", action="store_true", help="the rate of evaluation too")
    arguments.add_argument("--profile", metavar="ARM", help="profile this arm's steps, beside FILE")
    return arguments


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _request(args: argparse.Namespace, config: ExperimentConfig) -> Request:
    for arm in [*args.only, *([args.profile] if args.profile else [])]:
        registry.require(arm, config.arms, f"--only, --profile: no arm {arm!r}")
    for loader in args.loaders:
        registry.require(loader, registry.names("loader"), f"--loaders: no loader {loader!r}")
    args.json.parent.mkdir(parents=True, exist_ok=True)
    return Request(
        arms=args.only or tuple(config.arms),
        loaders=args.loaders,
        seconds=args.seconds,
        with_bare=not args.no_bare,
        with_evaluation=args.evaluate,
        profiled_arm=args.profile,
        json=args.json,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
