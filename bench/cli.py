"""The verbs: parse, call, print. Help needs the standard library alone; each verb imports what it
needs.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from bench import registry

EXPERIMENT = "a YAML file, or a name in configs/experiments"
UNTIL = "--until-decided"
OVERRIDES = f"""config overrides: --dotted.key=value, e.g. --optim.lr=0.01 (configs/base.yaml lists
the keys); {UNTIL} adds blocks until the primary comparison is decided"""
_Verbs: TypeAlias = "argparse._SubParsersAction[_Parser]"


def main(arguments: Sequence[str]) -> int:
    """Run one verb.

    Exit codes: 0 done, 1 failed, 2 wrong input (one line on stderr), 130 stopped by Ctrl-C.
    """
    try:
        known, rest = _parser().parse_known_args(arguments)
        known.overrides = ["--until_decided=true" if text == UNTIL else text for text in rest]
        if rest and known.verb not in ("run", "plan", "tune"):
            raise ValueError(
                f"bench {known.verb}: unknown argument {rest[0]!r}; "
                f"see python -m bench {known.verb} --help"
            )
        return known.call(known) or 0
    except ValueError as error:
        told, code = f"{error}", 2
    except KeyboardInterrupt:
        told, code = "stopped; the same command goes on from the runs that are finished", 130
    if (
        os.environ.get("LOCAL_RANK", "0") == "0"
    ):  # once a machine: what is wrong may be one machine's alone
        print(f"headstart: {told}", file=sys.stderr, flush=True)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog}: {message}; see python -m {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="bench", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_run(verbs)
    _add_tune(verbs)
    _add_plan(verbs)
    _add_report(verbs)
    _add_verify(verbs)
    _add_doctor(verbs)
    return parser


def _add_verb(verbs: _Verbs, name: str, summary: str, epilog: str | None = None) -> _Parser:
    # No abbreviations: what is cut short may be an override.
    return verbs.add_parser(name, help=summary, epilog=epilog, allow_abbrev=False)


def _add_run(verbs: _Verbs) -> None:
    run = _add_verb(verbs, "run", "run an experiment (use accelerate launch)", OVERRIDES)
    run.add_argument("experiment", type=Path, help=EXPERIMENT)
    run.set_defaults(call=_run)


def _add_tune(verbs: _Verbs) -> None:
    tune = _add_verb(verbs, "tune", "find each arm's learning rate, for run --layer", OVERRIDES)
    tune.add_argument("experiment", type=Path, help=EXPERIMENT)
    tune.set_defaults(call=_tune)


def _add_plan(verbs: _Verbs) -> None:
    plan = _add_verb(verbs, "plan", "print an experiment's runs and cost", OVERRIDES)
    plan.add_argument("experiment", type=Path, help=EXPERIMENT)
    plan.add_argument("--json", action="store_true", help="the plan as JSON")
    plan.add_argument(
        "--build",
        action="store_true",
        help="count any network, and a rank's memory, without data (imports torch)",
    )
    plan.add_argument(
        "--iso-flops",
        metavar="ARM",
        help="--build, and the other arms' input sizes that match this one's FLOPs",
    )
    plan.add_argument(
        "--fetch",
        action="store_true",
        help="fetch and check images and weights, so that a run needs no network",
    )
    plan.set_defaults(call=_plan)


def _add_report(verbs: _Verbs) -> None:
    report = _add_verb(verbs, "report", "write the report of stored runs again")
    report.add_argument("directory", type=Path, help="runs/X; with --curves where the report goes")
    report.add_argument(
        "--rules", default="headstart", help="judge by headstart's, dawnbench's or airbench's rules"
    )
    report.add_argument("--wandb", action="store_true", help="publish it as a W&B Report too")
    report.add_argument(
        "--curves",
        type=Path,
        help="judge curves from elsewhere: a CSV of arm, run, epoch, seconds, accuracy",
    )
    report.add_argument("--clock", help="with --curves: what its seconds were measured by")
    report.add_argument(
        "--thresholds",
        type=_accuracies,
        help="with --curves: accuracies, the primary one last, e.g. 0.9,0.94",
    )
    report.add_argument(
        "--baseline", help="with --curves: the arm to compare with; the last one by default"
    )
    report.add_argument("--arm", help="with --curves: the arm to compare; the first one by default")
    report.set_defaults(call=_report)


def _add_verify(verbs: _Verbs) -> None:
    verify = _add_verb(verbs, "verify", "make every published number again from the ledgers")
    verify.add_argument("directory", type=Path, help="runs/X")
    verify.set_defaults(call=_verify)


def _add_doctor(verbs: _Verbs) -> None:
    doctor = _add_verb(verbs, "doctor", "what this machine has, and what make bench would run")
    doctor.add_argument(
        "--choose",
        action="store_true",
        help="print launch file, processes, experiment and layer for make bench",
    )
    doctor.add_argument("--gpus", default="", help="GPUs to use; all by default")
    doctor.add_argument(
        "experiment", nargs="?", default="", help=EXPERIMENT + "; by default the first that fits"
    )
    doctor.set_defaults(call=_doctor)


def _accuracies(text: str) -> list[float]:
    values = [float(part or "nan") for part in text.split(",")]
    if not all(0 < value < 1 for value in values):
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected accuracies between 0 and 1, e.g. 0.9,0.94"
        )
    return values


def _run(args: argparse.Namespace) -> None:
    from bench.config.load import load
    from bench.experiment.plan import cost, plan, plan_record, plan_text, run_ids
    from bench.judge.comparison import summarize
    from bench.report.pages import write_report
    from bench.ledger.store import RunStore
    from bench.judge.verdict import is_enough

    config = load(args.experiment, args.overrides)
    blocks = plan(config)
    ids, store = run_ids(blocks), RunStore(Path(config.output) / config.name)
    record = store.amended(plan_record(config, blocks))
    is_main = os.environ.get("RANK", "0") == "0"
    stored = store.results(ids)
    is_decided = (
        config.until_decided
        and stored
        and is_enough(summarize(record, stored, trials=store.trials()))
    )
    missing = (
        set()
        if is_decided
        else set(ids) - {result.run_id for result in stored if result.is_finished}
    )
    if is_main:
        print(plan_text(config, cost(config)), flush=True)
        most = "at most " if config.until_decided and missing else ""
        print(f"{most}{len(missing)} of {len(ids)} runs to do in {store.root}/", flush=True)
    if missing:
        from bench.experiment.suite import Suite
        from bench.runtime.distributed import World

        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # launch/bench.sh has the launcher ignore it
        with closing(World(config.hardware.world_size, config.hardware.cpu_threads)) as world:
            report = Suite(config, world).run()
    else:
        report = write_report(store.root, store.write_plan(record), stored) if is_main else None
    if report is not None:
        _print_answer(report, store.root)


def _tune(args: argparse.Namespace) -> None:
    from bench.config.load import load
    from bench.experiment.tune import Tuner
    from bench.report.words import templates
    from bench.runtime.distributed import World

    config = load(args.experiment, args.overrides)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # launch/bench.sh has the launcher ignore it
    with closing(World(config.hardware.world_size, config.hardware.cpu_threads)) as world:
        if summary := Tuner(config, world).run():
            layer = f"--layer={Path(config.output) / config.name / 'tuned.yaml'}"
            told = (
                templates()
                .get_template("tuning.j2")
                .render(tuning=summary, clock=config.clock, layer=layer)
            )
            print(f"\n{told}", flush=True)


def _plan(args: argparse.Namespace) -> None:
    from bench.config.load import arm_config, load
    from bench.experiment.plan import cost, plan, plan_record, plan_text

    config = load(args.experiment, args.overrides)
    blocks = plan(config)
    counts, sizes, like = {}, {}, args.iso_flops
    built: dict[str, dict[str, Any]] = {arm: {} for arm in config.arms}
    registry.require(like or config.baseline, config.arms, f"--iso-flops: no arm {like!r}")
    if args.build or like:
        from bench.models.counts import input_size
        from bench.models.memory import memory_bytes
        from bench.models.networks import count, iso_flop_size

        for arm in config.arms:
            own = arm_config(config, arm)
            size = input_size(own.model, own.data)
            if size is None:
                raise ValueError(
                    f"--build: the size of {own.data.source!r} images is not stored; "
                    "give --model.input_size"
                )
            sizes[arm], counts[arm] = size, count(own.model, 10, size)
            built[arm]["memory_bytes"] = memory_bytes(own, size)
        for arm in set(config.arms) - {like} if like else ():
            model, flops = arm_config(config, arm).model, counts[like].flops_per_image
            built[arm]["iso_flops"] = {"of": like, **iso_flop_size(model, 10, sizes[arm], flops)}
    if args.fetch:
        from bench.experiment.inputs import Inputs

        Inputs().check(config, config.hardware.world_size or 1)
    rows = [row | built[row["arm"]] for row in cost(config, counts)]
    print(
        json.dumps({**plan_record(config, blocks), "arms": rows}, indent=1)
        if args.json
        else plan_text(config, rows)
    )


def _report(args: argparse.Namespace) -> None:
    from bench.judge.curves import read_curves
    from bench.report.pages import report_name, write_report
    from bench.judge.rules import RULES
    from bench.ledger.store import RunStore

    registry.require(args.rules, RULES, f"--rules: no rules {args.rules!r}")
    store = RunStore(args.directory)
    asked = {name: getattr(args, name) for name in ("clock", "thresholds", "baseline", "arm")}
    if args.curves:
        if args.wandb or (store.root / "plan.json").is_file():
            where = "to W&B" if args.wandb else f"beside the study in {store.root}"
            raise ValueError(f"--curves: their report cannot go {where}")
        if not args.clock or not args.thresholds:
            raise ValueError(
                "--curves needs --clock, what its seconds were measured by, "
                "and --thresholds, e.g. 0.9,0.94"
            )
        plan, results = read_curves(args.curves, **asked)
    elif unused := [name for name, value in asked.items() if value]:
        raise ValueError(
            f"--{unused[0]}: needs --curves; the runs of a study are judged by its plan"
        )
    else:
        plan, results = store.plan(), store.planned_results()
    store.check_writable()
    if not results:
        raise ValueError(f"{args.directory}: no run has begun yet")
    report = write_report(store.root, plan, results, args.rules)
    _print_answer(report, store.root)
    if args.wandb:
        from bench.trackers.wandb_report import publish

        page = store.root / report_name(args.rules, "html")
        markdown = page.with_suffix(".md").read_text()
        url = publish(report, markdown, plan["config"], page)
        print(f"W&B:     {url}", flush=True)


def _verify(args: argparse.Namespace) -> int:
    from bench.judge.verify import verify

    problems = verify(args.directory)
    for problem in problems:
        print(problem, file=sys.stderr, flush=True)
    told = (
        f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        if problems
        else "every number is as its ledger has it"
    )
    print(f"{args.directory}: {told}", flush=True)
    return 1 if problems else 0


def _print_answer(report: dict, root: Path) -> None:
    from bench.report.pages import report_name
    from bench.report.words import answer

    page, picture = (root / report_name(report["rules"], kind) for kind in ("html", "png"))
    print(f"\n{answer(report)}\npicture: {picture}\npage:    {page}", flush=True)


def _doctor(args: argparse.Namespace) -> None:
    from bench.experiment.choose import EXPERIMENTS, TABLE, choose, describe, launch, look

    if args.gpus and not args.gpus.isdecimal():
        raise ValueError(f"GPUS={args.gpus}: expected a whole number")
    seen = look()
    file, processes, layer = launch(int(args.gpus) if args.gpus else None)
    experiment = args.experiment or f"{EXPERIMENTS / choose(seen)}.yaml"
    why = (
        ""
        if args.experiment
        else f"\nno EXP given, so the first that lacks nothing is taken of {', '.join(TABLE)}"
    )
    layer_text = f", layer {layer}" if layer else ""
    plural = "es" if processes > 1 else ""
    launched = f"{file}{layer_text}, {processes} process{plural}"
    told = f"found:\n{describe(seen)}{why}\nrunning {experiment} with {launched}"
    print(told, file=sys.stderr if args.choose else sys.stdout, flush=True)
    if args.choose:
        print(file, processes, f"--layer={layer}" if layer else "-", experiment)
