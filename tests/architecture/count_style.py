"""Counts of style over bench/ and kernels/: python tests/architecture/count_style.py [ROOT].

ROOT is another checkout to count, this one where none is named. Nothing there is run or imported.
"""

import ast
import sys
from collections import Counter
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[2]
sys.path.insert(0, str(HERE))

from tests.architecture.shape_rules import functions, length  # noqa: E402
from tests.architecture.statement_rules import COMPREHENSIONS  # noqa: E402
from tests.architecture.style import RULES, rule_breaches  # noqa: E402

PACKAGES = ("bench", "kernels")
# A rule's name to how its count is called.
COUNTED = {
    "dense_statements": "statements with more than one of them, lambda or walrus",
    "paired_displays": "tuple displays on both sides of an assignment",
    "parallel_sequences": "zips of three or more",
    "boolean_arithmetic": "arithmetic on comparisons",
    "hidden_conditions": "fromkeys, suppress, next(...) and the like",
    "string_keys": "string subscripts and literal .get outside the doors",
    "any_types": "Any outside the doors",
    "bare_mappings": "bare-dict signatures outside the doors",
    "foreign_fields": "fields set from outside",
    "empty_names": "names that say nothing",
    "skipped_formats": "fmt: skip on what is no table",
    "long_lines": "lines over 100 columns",
}


def texts(root: Path, suffix: str) -> dict[str, str]:
    """Return path below a root to text, for its product files with an ending."""
    paths = []
    for package in PACKAGES:
        paths += sorted((root / package).rglob(f"*{suffix}"))
    return {path.relative_to(root).as_posix(): path.read_text() for path in paths}


def parsed(sources: dict[str, str]) -> dict[str, str]:
    """Return the sources that are Python; say on stderr which are not."""
    good = {}
    for path, source in sources.items():
        try:
            ast.parse(source)
        except SyntaxError as error:
            print(f"not counted: {path}: {error}", file=sys.stderr)
            continue
        good[path] = source
    return good


def code_lines(source: str) -> int:
    """Count the lines of code: no blank ones, no comments, no docstrings."""
    lines = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.expr | ast.stmt) and not _is_text(node):
            lines |= {node.lineno, *_last_line(node)}
    return len(lines)


def _is_text(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else node
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _last_line(node: ast.expr | ast.stmt) -> list[int]:
    """The line of a closing bracket; a block's last line belongs to another statement."""
    return [] if hasattr(node, "body") else [node.end_lineno]


def expressions(sources: dict[str, str]) -> Counter[str]:
    """Count ternaries and comprehensions."""
    counts = Counter()
    for source in sources.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.IfExp):
                counts["ternaries"] += 1
            elif isinstance(node, COMPREHENSIONS):
                counts["comprehensions"] += 1
    return counts


def rule_counts(sources: dict[str, str]) -> Counter[str]:
    """Count what breaks each rule."""
    counts = Counter()
    for path, source in sources.items():
        for rule in RULES:
            counts[rule] += len(rule_breaches(rule, path, source))
    return counts


def template_lines(root: Path) -> int:
    """Count template lines with more than loops and ifs over prepared rows."""
    count = 0
    for path, source in texts(root, ".j2").items():
        breaches = rule_breaches("computing_templates", path, source)
        count += len({breach.line for breach in breaches})
    return count


def report(root: Path) -> dict[str, str]:
    """Return what is counted to its count, for the tree at a root."""
    files = texts(root, ".py")
    all_lines = sum(source.count("\n") for source in files.values())
    sources = parsed(files)
    code = sum(code_lines(source) for source in sources.values())
    used = expressions(sources)
    broken = rule_counts(sources)
    lengths = [length(function) for source in sources.values() for function in functions(source)]
    rows = {
        "lines of Python": f"{all_lines:,}",
        "lines of code": f"{code:,}",
        "modules": f"{len(files)}",
        "functions, median lines": f"{len(lengths):,}, {median(lengths):g}",
        "ternaries per 1,000 lines of code": f"{1000 * used['ternaries'] / code:.1f}",
        "comprehensions per 1,000 lines of code": f"{1000 * used['comprehensions'] / code:.1f}",
    }
    for rule, words in COUNTED.items():
        rows[words] = f"{broken[rule]:,}"
    rows["template lines that compute"] = f"{template_lines(root)}"
    return rows


def main() -> None:
    """Print the counts as a table."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    if not (root / "bench").is_dir():
        sys.exit(f"no bench/ in {root}")
    print("| count | value |\n| - | -: |")
    for words, value in report(root).items():
        print(f"| {words} | {value} |")


if __name__ == "__main__":
    main()
