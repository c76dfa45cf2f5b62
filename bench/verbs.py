"""What each verb of the command line does: call, and print. Each imports what it needs."""

import argparse
import json
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import registry
from bench.runtime.launched import launched_processes

if TYPE_CHECKING:
    from bench.config.schema import ExperimentConfig
    from bench.experiment.prepare import PreparedStudy
    from bench.judge.records import Report
    from bench.judge.study import Study
    from bench.ledger.result import RunResult
    from bench.ledger.store import RunStore


def run(args: argparse.Namespace) -> int:
    """Run what is missing of an experiment, and write its report."""
    if launched_processes() > 1:
        return _run_as_rank(args)
    prepared = _prepare(args)
    missing = prepared.missing_run_ids()
    _print_plan(prepared, len(missing))
    if missing:
        report = _run_missing(prepared)
    else:
        report = _report_again(prepared)
    if report is not None:
        _print_answer(report, prepared.store.root)
    return 0


def _run_as_rank(args: argparse.Namespace) -> int:
    """As `run`, on one of several ranks: they compare what they were started for first."""
    from bench.experiment.agreement import check_ranks_agree, study_facts
    from bench.experiment.suite import Suite
    from bench.runtime.distributed import opened_world

    _take_back_interrupts()
    with opened_world() as world:
        prepared = world.each(partial(_prepare, args))
        check_ranks_agree(world, study_facts(prepared))
        world.configure(prepared.config.hardware.world_size, prepared.config.hardware.cpu_threads)
        missing_count = world.on_main(lambda: len(prepared.missing_run_ids()))
        if world.is_main:
            _print_plan(prepared, missing_count)
        report = None
        if missing_count:
            report = Suite(prepared, world).run()
        elif world.is_main:
            report = _report_again(prepared)
    if report is not None:
        _print_answer(report, prepared.store.root)
    return 0


def tune(args: argparse.Namespace) -> int:
    """Find each arm's learning rate, and print the layer that has them."""
    from bench.config.load import load
    from bench.experiment.agreement import check_ranks_agree, facts_of
    from bench.experiment.tune import Tuner
    from bench.report.words import tuning_text
    from bench.runtime.distributed import opened_world

    _take_back_interrupts()
    with opened_world() as world:
        config = world.each(partial(load, args.experiment, args.overrides))
        check_ranks_agree(world, facts_of(config, plan_sha256=""))
        world.configure(config.hardware.world_size, config.hardware.cpu_threads)
        summary = Tuner(config, world).run()
    if summary is not None:
        layer = f"--layer={Path(config.output) / config.name / 'tuned.yaml'}"
        print(f"\n{tuning_text(summary, config.clock, layer)}", flush=True)
    return 0


def plan(args: argparse.Namespace) -> int:
    """Print an experiment's runs and cost; fetch what it needs where that is asked for."""
    from bench.config.load import load
    from bench.experiment.plan import plan as plan_blocks
    from bench.experiment.plan import plan_record
    from bench.experiment.plan_text import plan_text
    from bench.ledger.json_records import to_json

    config = load(args.experiment, args.overrides)
    record = plan_record(config, plan_blocks(config))
    if args.build or args.iso_flops:
        from bench.experiment.build_plan import built_costs

        costs = built_costs(config, args.iso_flops)
    else:
        from bench.experiment.cost import arm_costs

        costs = arm_costs(config)
    if args.fetch:
        from bench.experiment.inputs import Inputs

        Inputs().check(config, config.hardware.world_size or 1)
    if args.json:
        rows = [to_json(cost) for cost in costs]
        print(json.dumps({**to_json(record), "arms": rows}, indent=1))
    else:
        print(plan_text(config, costs))
    return 0


def report(args: argparse.Namespace) -> int:
    """Write the report of stored runs, or of curves from elsewhere, again."""
    from bench.judge.rules import RULES
    from bench.ledger.store import RunStore
    from bench.report.pages import write_report

    registry.require(args.rules, RULES, f"--rules: no rules {args.rules!r}")
    store = RunStore(args.directory)
    if args.curves:
        study, results = _read_curves(args, store)
    else:
        study, results = _read_study(args, store)
    store.check_writable()
    if not results:
        raise ValueError(f"{args.directory}: no run has begun yet")
    with store.hold_records():
        written = write_report(store.root, study, results, args.rules)
    _print_answer(written, store.root)
    if args.wandb:
        assert study.config is not None
        _publish(written, study.config, store.root)
    return 0


def verify(args: argparse.Namespace) -> int:
    """Make every published number again; exit code 1 where one is another."""
    from bench.judge.codes import count_codes
    from bench.judge.verify import verify as find_problems
    from bench.ledger.store import RunStore
    from bench.report.pages import report_texts
    from bench.report.words import codes_text

    problems = find_problems(args.directory, report_texts)
    for problem in problems:
        print(problem, file=sys.stderr, flush=True)
    if not problems:
        codes = codes_text(count_codes(RunStore(args.directory).planned_results()))
        lines = [f"{args.directory}: every number is as its ledger has it", codes]
        print("\n".join(line for line in lines if line), flush=True)
        return 0
    plural = "" if len(problems) == 1 else "s"
    print(f"{args.directory}: {len(problems)} problem{plural}", flush=True)
    return 1


def doctor(args: argparse.Namespace) -> int:
    """Say what this machine has, and what make bench would run on it."""
    from bench.experiment.choose import EXPERIMENTS, NEEDS, choose, describe, launch, look

    if args.gpus and not args.gpus.isdecimal():
        raise ValueError(f"GPUS={args.gpus}: expected a whole number")
    available = look()
    start = launch(int(args.gpus) if args.gpus else None)
    experiment = args.experiment or f"{EXPERIMENTS / choose(available)}.yaml"
    lines = ["found:", describe(available)]
    if not args.experiment:
        lines.append(
            "no EXP given, so the first that lacks nothing is taken of " + ", ".join(NEEDS)
        )
    layer = f", layer {start.layer}" if start.layer else ""
    plural = "es" if start.processes > 1 else ""
    lines.append(
        f"running {experiment} with {start.file}{layer}, {start.processes} process{plural}"
    )
    for_people = sys.stderr if args.choose else sys.stdout
    print("\n".join(lines), file=for_people, flush=True)
    if args.choose:
        layer_option = f"--layer={start.layer}" if start.layer else "-"
        print(start.file, start.processes, layer_option, experiment)
    return 0


def _prepare(args: argparse.Namespace) -> "PreparedStudy":
    from bench.config.load import load
    from bench.experiment.prepare import prepare

    return prepare(load(args.experiment, args.overrides))


def _print_plan(prepared: "PreparedStudy", missing_count: int) -> None:
    from bench.experiment.cost import arm_costs
    from bench.experiment.plan_text import plan_text

    config = prepared.config
    at_most = "at most " if config.until_decided and missing_count else ""
    runs = len(prepared.run_ids)
    print(plan_text(config, arm_costs(config)), flush=True)
    print(f"{at_most}{missing_count} of {runs} runs to do in {prepared.store.root}/", flush=True)


def _run_missing(prepared: "PreparedStudy") -> "Report | None":
    from bench.experiment.suite import Suite
    from bench.runtime.distributed import opened_world

    hardware = prepared.config.hardware
    _take_back_interrupts()
    with opened_world() as world:
        world.configure(hardware.world_size, hardware.cpu_threads)
        return Suite(prepared, world).run()


def _report_again(prepared: "PreparedStudy") -> "Report":
    """Write the report of a study whose runs are all there."""
    from bench.judge.study import planned_study
    from bench.report.pages import write_report

    store = prepared.store
    results = prepared.results()
    record = store.write_plan(prepared.record)
    with store.hold_records():
        store.write_missing_results(results)
        return write_report(store.root, planned_study(record), results)


def _take_back_interrupts() -> None:
    """Let Ctrl-C end this process: launch/bench.sh has the launcher ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _read_curves(args: argparse.Namespace, store: "RunStore") -> "tuple[Study, list[RunResult]]":
    from bench.judge.curves import read_curves

    if args.wandb or (store.root / "plan.json").is_file():
        where = "to W&B" if args.wandb else f"beside the study in {store.root}"
        raise ValueError(f"--curves: their report cannot go {where}")
    if not args.clock or not args.thresholds:
        raise ValueError(
            "--curves needs --clock, what its seconds were measured by, "
            "and --thresholds, e.g. 0.9,0.94"
        )
    return read_curves(
        args.curves,
        clock=args.clock,
        baseline=args.baseline,
        arm=args.arm,
        thresholds=args.thresholds,
    )


def _read_study(args: argparse.Namespace, store: "RunStore") -> "tuple[Study, list[RunResult]]":
    from bench.judge.study import planned_study

    for name in ("clock", "thresholds", "baseline", "arm"):
        if getattr(args, name):
            raise ValueError(
                f"--{name}: needs --curves; the runs of a study are judged by its plan"
            )
    return planned_study(store.plan()), store.planned_results()


def _publish(report: "Report", config: "ExperimentConfig", root: Path) -> None:
    """Publish a written report as a W&B Report too."""
    from bench.judge.records import report_name
    from bench.trackers.wandb_report import publish

    page = root / report_name(report.rules, "html")
    markdown = page.with_suffix(".md").read_text()
    print(f"W&B:     {publish(report, markdown, config, page)}", flush=True)


def _print_answer(report: "Report", root: Path) -> None:
    from bench.judge.records import report_name
    from bench.report.words import answer

    picture = root / report_name(report.rules, "png")
    page = root / report_name(report.rules, "html")
    print(f"\n{answer(report)}\npicture: {picture}\npage:    {page}", flush=True)
