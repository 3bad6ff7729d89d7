"""Where a file can be mutated, and into what."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}
_BITS = {"BitAnd", "BitOr", "BitXor", "LShift", "RShift"}
_ORDER = {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"}
_IDENTITY = {"Is", "IsNot"}
_LIKE = re.compile("core/Replace(?:Binary|Comparison)Operator_(?P<old>[A-Za-z]+)_(?P<new>[A-Za-z]+)")
# Two other kinds of cosmic-ray's operators are left out. Those that replace a variable by another need arguments. Those
# that replace a unary operator by another equal its deletion on numbers, or raise at once.
_OTHERS = {
    "core/NumberReplacer": "number",
    "core/AddNot": "condition",
    "core/ReplaceUnaryOperator_Delete_Not": "condition",
    "core/ReplaceAndWithOr": "condition",
    "core/ReplaceOrWithAnd": "condition",
    "core/ReplaceTrueWithFalse": "truth value",
    "core/ReplaceFalseWithTrue": "truth value",
    "core/ReplaceUnaryOperator_Delete_USub": "sign",
    "core/ReplaceUnaryOperator_Delete_Invert": "sign",
    "core/ReplaceBreakWithContinue": "loop",
    "core/ReplaceContinueWithBreak": "loop",
    "core/ZeroIterationForLoop": "loop",
    "core/ExceptionReplacer": "exception",
    "core/RemoveDecorator": "decorator",
}
# Node types of parso in which `*` and `/` are not arithmetic.
_SIGNATURES = {"parameters", "lambdef", "param", "argument", "star_expr"}


class Change(NamedTuple):
    """One mutation: an operator of cosmic-ray, and the occurrence in a file that it changes.

    Attributes:
        operator: its name, for example `core/NumberReplacer`.
        occurrence: counted from zero in the order of the file.
    """

    operator: str
    occurrence: int

    def apply(self, source: str) -> str | None:
        """Return the mutated source, or None if it is not valid Python or is the same program."""
        mutated = mutate_code(source, get_operator(self.operator)(), self.occurrence)
        if mutated is None:
            return None
        try:
            tree = ast.parse(mutated)
        except SyntaxError:
            return None
        return None if ast.dump(tree) == ast.dump(ast.parse(source)) else mutated


class Position(NamedTuple):
    """A place in a file, and all changes of one kind there.

    Attributes:
        line: counted from one.
        name: identifies the place as long as its own line does not change: the kind of change, the text of the line,
            the column in that text, and the number of earlier places where all of these are the same.
        changes: the possible changes; a sample takes at most one of them.
    """

    line: int
    name: tuple[str, str, int, int]
    changes: tuple[Change, ...]


def kind(operator: str) -> str | None:
    """Return what an operator of cosmic-ray changes, or None for an operator that is not used.

    Operators that turn arithmetic into operations on bits raise TypeError for floats, so every test finds them, and
    they would only raise the score. They are left out.

    >>> kind("core/ReplaceBinaryOperator_Add_Sub"), kind("core/ReplaceBinaryOperator_Add_RShift")
    ('arithmetic', None)
    """
    match = _LIKE.fullmatch(operator)
    if match is None:
        return _OTHERS.get(operator)
    both = {match["old"], match["new"]}
    if both <= _ARITHMETIC or both <= _BITS:
        return "arithmetic"
    return "comparison" if both <= _ORDER or both <= _IDENTITY else None


def positions(source: str) -> list[Position]:
    """Find where a source file can be mutated; types in annotations stay as they are."""
    found: dict[tuple[tuple[int, int], str], list[Change]] = {}
    typed = _annotations(source)
    for place, operator, occurrence in _occurrences(source):
        if not any(start <= place < end for start, end in typed):
            found.setdefault((place, str(kind(operator))), []).append(Change(operator, occurrence))
    lines, seen, result = source.splitlines(), Counter[tuple[str, str, int]](), []
    for ((line, column), what), changes in sorted(found.items()):
        text = lines[line - 1]
        name = (what, text.strip(), column - (len(text) - len(text.lstrip())))
        result.append(Position(line, (*name, seen[name]), tuple(changes)))
        seen[name] += 1
    return result


def _occurrences(source: str) -> Iterator[tuple[tuple[int, int], str, int]]:
    """Yield (line, column), name of an operator, and occurrence, counted as cosmic-ray counts."""
    used = [(name, get_operator(name)()) for name in sorted(operator_names()) if kind(name) is not None]
    counts: Counter[str] = Counter()
    for node in ast_nodes(get_ast(source)):
        for name, operator in used:
            for start, _ in operator.mutation_positions(node):
                counts[name] += 1
                if not _in_signature(node):
                    yield start, name, counts[name] - 1


def _in_signature(node: Any) -> bool:
    return node.type == "operator" and node.parent.type in _SIGNATURES


def _annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the ranges of the annotations as pairs of (line, column)."""
    found: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg | ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node.returns)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0))
        for node in found
        if node is not None
    ]
