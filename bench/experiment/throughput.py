"""What a training step costs: images a second from each loader and without one, beside a bare loop.

Nothing is learned or judged here. steploop.py times, profiling.py looks into the steps.

    python -m bench.experiment.throughput EXPERIMENT --json FILE [--dotted.key=value ...]
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench import registry
from bench.config.load import arm_config, load
from bench.config.schema import ExperimentConfig
from bench.experiment.armmeter import ArmMeter
from bench.experiment.assemble import probe
from bench.experiment.inputs import Inputs
from bench.experiment.profiling import profile_steps, profile_text
from bench.experiment.steploop import StepLoop
from bench.experiment.throughput_records import (
    ArmProfile,
    ArmThroughput,
    ExperimentThroughput,
    LoopTiming,
)
from bench.files import write_json
from bench.ledger.json_records import to_json
from bench.runtime.compute import resolve_precision
from bench.runtime.distributed import World
from bench.runtime.environment import environment_facts

ERROR_LENGTH = 500


@dataclass(frozen=True, kw_only=True)
class Request:
    """Say which arms are measured, how and for how long, and which of them is profiled."""

    arms: tuple[str, ...]
    loaders: tuple[str, ...]
    seconds: float
    with_bare: bool
    with_evaluation: bool
    profiled_arm: str | None
    json: Path


class Figures:
    """What was measured so far, in a JSON file that is written anew after each part."""

    def __init__(self, path: Path, start: ExperimentThroughput) -> None:
        self._path = path
        self.content = start

    def add_arm(self, result: ArmThroughput) -> None:
        """Keep an arm's figures, and print them."""
        print(arm_text(result), flush=True)
        arms = {**self.content.arms, result.arm: result}
        self._replace(dataclasses.replace(self.content, arms=arms))

    def add_profile(self, profile: ArmProfile) -> None:
        """Keep a profile; there is one at most."""
        self._replace(dataclasses.replace(self.content, profile=profile))

    def add_fault(self, arm: str, error: Exception) -> None:
        """Keep what an arm failed of, and print it."""
        print(f"{arm}: {error_text(error)}", flush=True)
        faults = {**self.content.faults, arm: error_text(error)}
        self._replace(dataclasses.replace(self.content, faults=faults))

    def _replace(self, content: ExperimentThroughput) -> None:
        self.content = content
        write_json(self._path, to_json(content))


def measure_experiment(
    config: ExperimentConfig, world: World, request: Request
) -> ExperimentThroughput:
    """Measure the requested arms; what is measured stands in the JSON at once.

    An arm that fails is a fault beside the others. Raises ValueError on several processes.
    """
    if world.size != 1:
        raise ValueError(f"throughput is measured on one process, not on {world.size}")
    inputs = Inputs()
    first = arm_config(config, request.arms[0])
    precision = resolve_precision(
        config.precision, world.device, lambda: probe(first, inputs.dataset(first.data))
    )
    assert precision.name is not None
    world.set_precision(precision.name)
    start = ExperimentThroughput(
        experiment=config.name,
        environment=environment_facts(world.device, world.size),
        arms={},
        profile=None,
        faults={},
    )
    figures = Figures(request.json, start)
    for arm in request.arms:
        try:
            meter = ArmMeter(
                arm_config(config, arm),
                world,
                inputs,
                precision=precision.name,
                seconds=request.seconds,
            )
            _measure_into(figures, arm, meter, request)
        except Exception as error:
            figures.add_fault(arm, error)
        if world.device.type == "cuda":
            torch.cuda.empty_cache()
    return figures.content


def _measure_into(figures: Figures, arm: str, meter: ArmMeter, request: Request) -> None:
    result = measure_arm(arm, meter, request)
    figures.add_arm(result)
    if arm == request.profiled_arm and result.loaders:
        first_loader = next(iter(result.loaders))
        figures.add_profile(profile_arm(arm, meter, first_loader, request.json.parent))


def measure_arm(arm: str, meter: ArmMeter, request: Request) -> ArmThroughput:
    """Measure one arm. A loader that fails is a fault in the result and ends nothing."""
    is_cuda = torch.cuda.is_available()
    if is_cuda:
        torch.cuda.reset_peak_memory_stats()
    loaders = time_loaders(meter, request.loaders)
    evaluation_images_per_s = None
    if request.with_evaluation:
        evaluation_images_per_s = meter.evaluation_images_per_s()
    peak_memory_bytes = torch.cuda.max_memory_allocated() if is_cuda else None
    harness = meter.harness()
    bare = None
    overhead_ratio = None
    if request.with_bare:
        bare = meter.bare()
        overhead_ratio = bare.images_per_s / harness.images_per_s
    return ArmThroughput(
        arm=arm,
        network=meter.config.model.name,
        input_size=meter.input_size,
        batch_size=meter.config.train.global_batch_size,
        precision=meter.precision,
        compiled=meter.config.compile.enabled,
        compile_s=meter.compile_s,
        harness=harness,
        loaders=loaders.trained,
        loaders_alone=loaders.alone,
        bare=bare,
        overhead_ratio=overhead_ratio,
        resize_ms=meter.resize_ms(),
        evaluation_images_per_s=evaluation_images_per_s,
        peak_memory_bytes=peak_memory_bytes,
        faults=loaders.faults,
    )


@dataclass(frozen=True, kw_only=True)
class LoaderTimings:
    """Timings by loader, with training and without, and the faults of loaders that failed."""

    trained: dict[str, LoopTiming]
    alone: dict[str, LoopTiming]
    faults: dict[str, str]


def time_loaders(meter: ArmMeter, loaders: Sequence[str]) -> LoaderTimings:
    """Time each loader; one that fails has a fault, whatever it raised."""
    timings = LoaderTimings(trained={}, alone={}, faults={})
    for name in loaders:
        try:
            timings.trained[name] = meter.loader(name)
            timings.alone[name] = meter.loader_alone(name)
        except Exception as error:
            timings.faults[name] = error_text(error)
    return timings


def error_text(error: Exception) -> str:
    """Say in one line what was raised."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:ERROR_LENGTH]


def profile_arm(arm: str, meter: ArmMeter, loader: str, folder: Path) -> ArmProfile:
    """Profile steps on a loader's batches into `folder`: profile.txt and trace.json.gz."""
    loop = StepLoop(meter.batches(loader), meter.program.step)
    profile = profile_steps(loop.run, meter.world.synchronize, folder / "trace.json.gz")
    text = profile_text(profile)
    (folder / "profile.txt").write_text(text)
    print(text, flush=True)
    return ArmProfile(arm=arm, loader=loader, **vars(profile))


def arm_text(result: ArmThroughput) -> str:
    """Lay an arm's figures out, a line a loop."""
    lines = [
        f"{result.arm}: batch {result.batch_size}, {result.precision}, {result.compile_s:.1f} s"
    ]
    for title, timing in result.timings().items():
        lines.append(
            f"  {title:22} {timing.images_per_s:12,.0f} images/s {timing.step_ms:9.3f} ms a step"
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
    return 1 if content.has_faults else 0


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
    arms = list(args.only)
    if args.profile:
        arms.append(args.profile)
    for arm in arms:
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
