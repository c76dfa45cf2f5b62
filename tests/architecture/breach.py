"""One place in a file that breaks a rule of style, and how an expression is written there."""

import ast
from typing import NamedTuple


class Breach(NamedTuple):
    """A line, the expression that an exception would name, and what is wrong."""

    line: int
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.line}: {self.message}"


def breach_at(node: ast.AST, message: str, subject: ast.AST | None = None) -> Breach:
    """Report a node: the message, and the start of the node as it is written."""
    written = ast.unparse(node).partition("\n")[0][:60]
    return Breach(node.lineno, ast.unparse(subject or node), f"{message}: {written}")
