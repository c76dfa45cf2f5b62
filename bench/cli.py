"""The command line of `python -m bench`: parse, and call a verb (verbs.py).

Help needs the standard library alone.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from bench import verbs
from bench.ledger.errors import LedgerError

EXPERIMENT = "a YAML file, or a name in configs/experiments"
UNTIL_DECIDED = "--until-decided"
OVERRIDES = (
    "config overrides: --dotted.key=value, e.g. --optim.lr=0.01 "
    "(configs/base.yaml lists the keys); "
    f"{UNTIL_DECIDED} adds blocks until the primary comparison is decided"
)
VERBS_WITH_OVERRIDES = ("run", "plan", "tune")
DONE_CODE = 0
FAILED_CODE = 1
WRONG_INPUT_CODE = 2
STOPPED_CODE = 130
EXIT_CODES: Mapping[int, str] = {
    DONE_CODE: "done",
    FAILED_CODE: "a run failed, or what is stored cannot be believed",
    WRONG_INPUT_CODE: "what was asked for cannot be done, and nothing was started",
    STOPPED_CODE: "stopped by Ctrl-C; the same command goes on",
}


def main(arguments: Sequence[str]) -> int:
    """Run one verb; return its exit code, one of EXIT_CODES, with a sentence on stderr unless 0."""
    try:
        args = argparse.Namespace(overrides=[])
        _, rest = _parser().parse_known_args(arguments, args)
        if rest and args.verb not in VERBS_WITH_OVERRIDES:
            raise ValueError(
                f"bench {args.verb}: unknown argument {rest[0]!r}; "
                f"see python -m bench {args.verb} --help"
            )
        args.overrides += [_override(text) for text in rest]
        exit_code: int = args.call(args)
    except LedgerError as error:
        _print_error(f"{error}; nothing is told of this study: see bench verify")
        return FAILED_CODE
    except ValueError as error:
        _print_error(str(error))
        return WRONG_INPUT_CODE
    except KeyboardInterrupt:
        _print_error("stopped; the same command goes on from the runs that are finished")
        return STOPPED_CODE
    except Exception as error:
        traceback.print_exc()
        _print_error(f"{type(error).__name__}: {' '.join(str(error).split())}")
        return FAILED_CODE
    return exit_code


def _override(text: str) -> str:
    return "--until_decided=true" if text == UNTIL_DECIDED else text


def _print_error(message: str) -> None:
    """Print it once a machine: what is wrong may be one machine's alone."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"headstart: {message}", file=sys.stderr, flush=True)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog}: {message}; see python -m {self.prog} --help")


Parsers: TypeAlias = "argparse._SubParsersAction[_Parser]"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="bench", description=__doc__)
    parsers = parser.add_subparsers(
        dest="verb", required=True, metavar="VERB", parser_class=_Parser
    )
    _add_run(parsers)
    _add_tune(parsers)
    _add_plan(parsers)
    _add_report(parsers)
    _add_verify(parsers)
    _add_doctor(parsers)
    return parser


def _add_verb(parsers: Parsers, name: str, summary: str, epilog: str | None = None) -> _Parser:
    # No abbreviations: what is cut short may be an override.
    return parsers.add_parser(name, help=summary, epilog=epilog, allow_abbrev=False)


def _add_run(parsers: Parsers) -> None:
    run = _add_verb(parsers, "run", "run an experiment (use accelerate launch)", OVERRIDES)
    run.add_argument("experiment", type=Path, help=EXPERIMENT)
    run.set_defaults(call=verbs.run)


def _add_tune(parsers: Parsers) -> None:
    tune = _add_verb(parsers, "tune", "find each arm's learning rate, for run --layer", OVERRIDES)
    tune.add_argument("experiment", type=Path, help=EXPERIMENT)
    tune.set_defaults(call=verbs.tune)


def _add_plan(parsers: Parsers) -> None:
    plan = _add_verb(parsers, "plan", "print an experiment's runs and cost", OVERRIDES)
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
    plan.set_defaults(call=verbs.plan)


def _add_report(parsers: Parsers) -> None:
    report = _add_verb(parsers, "report", "write the report of stored runs again")
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
    report.set_defaults(call=verbs.report)


def _add_verify(parsers: Parsers) -> None:
    verify = _add_verb(parsers, "verify", "make every published number again from the ledgers")
    verify.add_argument("directory", type=Path, help="runs/X")
    verify.set_defaults(call=verbs.verify)


def _add_doctor(parsers: Parsers) -> None:
    doctor = _add_verb(parsers, "doctor", "what this machine has, and what make bench would run")
    doctor.add_argument(
        "--choose",
        action="store_true",
        help="print launch file, processes, experiment and layer for make bench",
    )
    doctor.add_argument("--gpus", default="", help="GPUs to use; all by default")
    doctor.add_argument(
        "experiment", nargs="?", default="", help=EXPERIMENT + "; by default the first that fits"
    )
    doctor.set_defaults(call=verbs.doctor)


def _accuracies(text: str) -> list[float]:
    values = [float(part or "nan") for part in text.split(",")]
    if not all(0 < value < 1 for value in values):
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected accuracies between 0 and 1, e.g. 0.9,0.94"
        )
    return values
