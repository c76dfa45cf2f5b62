"""Reads what README.md and docs/ promise a reader: links, and commands to type.

Says what of it is not there. test_documents.py holds the documents to it.
"""

import io
import re
import shlex
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from bench import cli
from bench.config.load import load
from tests.architecture.reading import ROOT

VERBS_WITH_EXPERIMENT = ("run", "plan", "tune")
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_CODE_SPAN = re.compile(r"`([^`]+)`")
_INDENTED = re.compile(r"^ {4}(\S.*)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_MAKE_TARGET = re.compile(r"^([a-z][\w-]*):", re.MULTILINE)


def broken_links(document: Path) -> list[str]:
    """List the relative links of a document that lead nowhere."""
    prose = _CODE_SPAN.sub("", _FENCE.sub("", document.read_text()))
    broken = []
    for link in _LINK.findall(prose):
        path, _, _ = link.partition("#")
        is_elsewhere = link.startswith(("https://", "http://", "mailto:"))
        if not is_elsewhere and not Path(document.parent, path).exists():
            broken.append(link)
    return broken


def command_faults(text: str) -> list[str]:
    """Say what is wrong with the commands in a document's code.

    A verb of make or bench that does not exist, an experiment that does not, a key that no
    experiment has. A word in capitals stands for an experiment that the reader names.
    """
    experiments = experiments_named(text)
    faults = []
    for words in command_lines(text):
        faults += _make_faults(words, experiments)
        faults += _container_faults(words, experiments)
        faults += _bench_faults(words, experiments)
    return faults


def command_lines(text: str) -> list[list[str]]:
    """Return the words of each line of code: of fenced and indented blocks, and of code spans."""
    blocks = _FENCE.findall(text)
    prose = _FENCE.sub("", text)
    spans = [span.replace("\n", " ") for span in _CODE_SPAN.findall(prose)]
    lines = _INDENTED.findall(prose) + spans
    for block in blocks:
        lines += block.replace("\\\n", " ").splitlines()
    return [_words(line) for line in lines]


def experiments_named(text: str) -> dict[str, Path]:
    """Map each name or path of an experiment to its file; a file that the text copies is one."""
    experiments = {}
    shipped = sorted(ROOT.glob("configs/experiments/*.yaml"))
    for path in shipped:
        experiments[path.stem] = path
    for path in [*shipped, *ROOT.glob("tests/experiments/*.yaml")]:
        experiments[str(path.relative_to(ROOT))] = path
    for words in command_lines(text):
        sources = [word for word in words if word in experiments]
        if words[:1] in (["cp"], ["sed"]) and sources:
            experiments[words[-1]] = experiments[sources[0]]
    return experiments


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a lone quotation mark: no command
        return line.split()


def _make_faults(words: list[str], experiments: Mapping[str, Path]) -> list[str]:
    if "make" not in words:
        return []
    verbs = [word for word in words[words.index("make") + 1 :] if "=" not in word]
    if not verbs:
        return []
    verb = verbs[0]
    if verb not in _MAKE_TARGET.findall((ROOT / "Makefile").read_text()):
        return [f"make {verb}: no such verb"]
    if verb != "bench":
        return []
    variables = _variables(words)
    experiment = variables.get("EXP", "embedded")
    overrides = _without_options("run", variables.get("ARGS", "").split())
    return _experiment_faults(experiment, overrides, experiments)


def _container_faults(words: list[str], experiments: Mapping[str, Path]) -> list[str]:
    variables = _variables(words)
    if "docker" not in words or "EXP" not in variables:
        return []
    return _experiment_faults(variables["EXP"], [], experiments)


def _bench_faults(words: list[str], experiments: Mapping[str, Path]) -> list[str]:
    arguments = _bench_arguments(words)
    if not arguments or arguments[0] == "--help":
        return []
    verb, *rest = arguments
    if not _help(verb):
        return [f"bench {verb}: no such verb"]
    if verb not in VERBS_WITH_EXPERIMENT:
        unknown = _without_options(verb, rest)
        return [f"bench {verb} {option}: no such option" for option in unknown]
    if not rest or rest[0].startswith("--"):
        return []
    return _experiment_faults(rest[0], _without_options(verb, rest[1:]), experiments)


def _bench_arguments(words: list[str]) -> list[str]:
    """Return what follows `python -m bench`, or `bench` alone at the start of a code span."""
    for place, word in enumerate(words):
        is_module = place > 0 and words[place - 1] == "-m"
        if word == "bench" and (is_module or place == 0):
            return words[place + 1 :]
    return []


def _experiment_faults(
    experiment: str, overrides: list[str], experiments: Mapping[str, Path]
) -> list[str]:
    if experiment.isupper():
        return []
    if experiment not in experiments:
        return [f"{experiment}: no such experiment"]
    try:
        load(experiments[experiment], overrides)
    except ValueError as error:
        return [f"{experiment}: {error}"]
    return []


def _variables(words: list[str]) -> dict[str, str]:
    variables = {}
    for word in words:
        name, is_given, value = word.partition("=")
        if is_given and name.isupper():
            variables[name] = value
    return variables


def _without_options(verb: str, words: list[str]) -> list[str]:
    """Leave what the verb's own help does not name: overrides, or what does not exist."""
    options = re.findall(r"--[a-z-]+", _help(verb))
    names = [word for word in words if word.startswith("--")]
    return [word for word in names if word.partition("=")[0] not in options]


def _help(verb: str) -> str:
    """Return the help of a verb of bench; empty where there is no such verb."""
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(io.StringIO()):
        try:
            cli.main([verb, "--help"])
        except SystemExit:  # how argparse ends after it has printed help
            return output.getvalue()
    return ""
