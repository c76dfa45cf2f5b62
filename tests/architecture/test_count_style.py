"""The counts that anyone can run: on a small tree, and from a shell."""

import subprocess
import sys
from pathlib import Path

from tests.architecture.count_style import code_lines, report

SCRIPT = Path(__file__).parent / "count_style.py"
SOURCE = '''"""Words."""

# A comment.
def f(rows, flag):
    """Words."""
    names = [
        row["name"] for row in rows
    ]
    x, y = 1, 2
    return names if flag else [n for n in names]
'''


def tree(root: Path) -> Path:
    """A product of one module and one template."""
    (root / "bench").mkdir()
    (root / "bench" / "a.py").write_text(SOURCE)
    (root / "bench" / "a.j2").write_text("{{ a + b }}{{ c|first }}\n{{ d }}\n")
    return root


def test_counts_of_a_tree(tmp_path):
    rows = report(tree(tmp_path))
    assert rows["lines of Python"] == "10"
    assert rows["modules"] == "1"
    assert rows["functions, median lines"] == "1, 7"
    assert rows["lines of code"] == "6"
    assert rows["ternaries per 1,000 lines of code"] == f"{1000 / 6:.1f}"
    assert rows["comprehensions per 1,000 lines of code"] == f"{2000 / 6:.1f}"
    assert rows["statements with more than one of them, lambda or walrus"] == "1"
    assert rows["tuple displays on both sides of an assignment"] == "1"
    assert rows["string subscripts and literal .get outside the doors"] == "1"
    assert rows["lines over 100 columns"] == "0"
    assert rows["template lines that compute"] == "1"


def test_lines_of_code_are_no_comments_docstrings_or_blank_lines():
    assert code_lines('"""Words."""\n\n# A comment.\nx = f(\n    1,\n)\n') == 3


def test_it_runs_from_a_shell_and_says_where_it_cannot(tmp_path):
    command = [sys.executable, str(SCRIPT), str(tree(tmp_path))]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
    assert "| modules | 1 |" in done.stdout, done.stderr
    command = [sys.executable, str(SCRIPT), str(tmp_path / "bench")]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no bench/ in" in done.stderr
