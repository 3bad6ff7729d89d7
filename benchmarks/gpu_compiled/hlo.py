"""Parse the text of a compiled program."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_HEADER = re.compile(r"^(ENTRY )?%?([^\s(]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?(\S+) = (.+?) ([a-z][a-z0-9-]*)\((.*)$")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")
_NAME = re.compile(r"%([^\s,(){}]+)")
_WIDTH = re.compile(r"\d+")
_COMMENT = re.compile(r"/\*.*?\*/")


@dataclass(frozen=True)
class Instruction:
    """A line of a computation.

    Attributes:
        name: unique in the program.
        shape: the type of the result, as in the text.
        opcode: such as "fusion".
        operands: names of the instructions that it reads.
        attributes: the rest of the line.
        is_root: whether it is the result of its computation.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    def called(self, attribute: str) -> tuple[str, ...]:
        """Names of the computations that an attribute lists, such as those after "calls="."""
        found = re.search(rf"\b{attribute}=(\{{[^}}]*\}}|%[^\s,]+)", self.attributes)
        return tuple(_NAME.findall(found.group(1))) if found else ()


@dataclass(frozen=True)
class Computation:
    """Instructions by name, in the order in which they run."""

    instructions: dict[str, Instruction]

    @property
    def root(self) -> Instruction:
        """The instruction that makes the result."""
        return next(one for one in self.instructions.values() if one.is_root)


@dataclass(frozen=True)
class Program:
    """Computations by name.

    Attributes:
        computations: all computations of the program.
        entry: name of the computation that runs.
    """

    computations: dict[str, Computation]
    entry: str


def parse(text: str) -> Program:
    """Read the text of an optimized program.

    >>> program = parse("ENTRY %main (a: f32[3]) -> f32[3] {\\n  ROOT %a = f32[3]{0} parameter(0)\\n}")
    >>> program.computations[program.entry].root.opcode
    'parameter'
    """
    computations: dict[str, Computation] = {}
    entry, instructions = "", dict[str, Instruction]()
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            instructions = {}
            computations[header.group(2)] = Computation(instructions)
            entry = header.group(2) if header.group(1) else entry
            continue
        found = _INSTRUCTION.match(_COMMENT.sub("", line))
        if found:
            root, name, shape, opcode, rest = found.groups()
            operands, attributes = _split(rest)
            names = () if opcode == "constant" else tuple(_NAME.findall(operands))
            instructions[name] = Instruction(name, shape, opcode, names, attributes, root is not None)
    if not entry:
        raise ValueError("Expected the text of a compiled program, with an ENTRY; got a text without one.")
    return Program(computations, entry)


def _split(text: str) -> tuple[str, str]:
    """Split after the parenthesis that closes the operands."""
    depth = 1
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[:i], text[i + 1 :]
    return text, ""


def array_bytes(shape: str) -> list[int]:
    """Bytes of each array of a shape.

    >>> array_bytes("(f32[2,3]{1,0}, pred[], bf16[4]{0})")
    [24, 1, 8]
    """
    return [_item_bytes(dtype) * math.prod(_lengths(lengths)) for dtype, lengths in _ARRAY.findall(shape)]


def _lengths(text: str) -> list[int]:
    return [int(length) for length in text.split(",") if length]


def _item_bytes(dtype: str) -> int:
    """Bytes of a number; types narrower than a byte take one."""
    width = _WIDTH.search(dtype)
    return max(1, int(width.group()) // 8) if width else 1
