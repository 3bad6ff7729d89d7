"""Kernels of a compiled program, and the bytes that each reads and writes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.gpu_compiled.hlo import Computation, Instruction, Program, array_bytes

# These operations only give a value another name.
_RENAMES = frozenset(("bitcast", "get-tuple-element"))
# These operations launch nothing.
_FREE = _RENAMES | {"parameter", "constant", "tuple", "after-all", "partition-id", "replica-id", "opt-barrier"}
_FREE |= {"async-done", "async-update", "copy-done"}
# These operations read only those rows of their first operand that they return.
_SLICES = frozenset(("dynamic-slice", "slice", "gather"))
_SOURCE = re.compile(r'op_name="([^"]*)"')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclass(frozen=True)
class Kernel:
    """A kernel or a copy that the program launches.

    Attributes:
        name: the name of its instruction.
        opcode: "fusion", "custom-call", "copy" and so on.
        read, written: bytes per launch, from the shapes; an array counts once, however often it is read.
        source: the operation of JAX from which its last instruction comes, "" if unknown.
        launches: number of launches per run of the program.
    """

    name: str
    opcode: str
    read: int
    written: int
    source: str = ""
    launches: int = 1

    @property
    def bytes(self) -> int:
        """Bytes of all launches."""
        return self.launches * (self.read + self.written)


def kernels(program: Program) -> list[Kernel]:
    """List the kernels in the order of the text.

    A loop launches its kernels once per iteration. Of a conditional, only the branch that moves most bytes
    counts. If a fusion reads or overwrites only some rows of an array, only those rows count.

    Raises:
        ValueError: the number of iterations of a loop is not known.
    """
    return list(_of_computation(program, program.computations[program.entry]))


def _of_computation(program: Program, computation: Computation) -> Iterator[Kernel]:
    for one in computation.instructions.values():
        if one.opcode == "while":
            body = program.computations[one.called("body")[0]]
            trips = _trips(one)
            yield from (replace(kernel, launches=trips * kernel.launches) for kernel in _of_computation(program, body))
        elif one.opcode == "conditional":
            branches = [list(_of_computation(program, program.computations[name])) for name in _branches(one)]
            yield from max(branches, key=lambda branch: sum(kernel.bytes for kernel in branch))
        elif one.opcode in ("call", "async-start"):
            name = (one.called("to_apply") or one.called("calls"))[0]
            yield from _of_computation(program, program.computations[name])
        elif one.opcode not in _FREE:
            yield _kernel(program, computation, one)


def _branches(conditional: Instruction) -> tuple[str, ...]:
    two = conditional.called("true_computation") + conditional.called("false_computation")
    return conditional.called("branch_computations") or two


def _trips(loop: Instruction) -> int:
    found = _TRIPS.search(loop.attributes)
    if found is None:
        raise ValueError(f"Expected a loop with a known number of iterations; got {loop.name} without one.")
    return int(found.group(1))


def _kernel(program: Program, computation: Computation, one: Instruction) -> Kernel:
    if one.opcode == "fusion":
        read, written = _of_fusion(program.computations[one.called("calls")[0]])
    else:
        read = sum(_size(computation.instructions[name]) for name in dict.fromkeys(one.operands))
        written = _used_results(computation, one)
    source = _SOURCE.search(one.attributes)
    return Kernel(one.name, one.opcode, read, written, "" if source is None else source.group(1))


def _size(one: Instruction) -> int:
    return sum(array_bytes(one.shape))


def _used_results(computation: Computation, one: Instruction) -> int:
    """Bytes of the results that are read later, which leaves out the workspace of a library."""
    sizes = array_bytes(one.shape)
    if len(sizes) == 1 or one.is_root or one.opcode == "copy-start":
        return sizes[0] if one.opcode == "copy-start" else sum(sizes)
    readers = [other for other in computation.instructions.values() if one.name in other.operands]
    indices = [re.search(r"\bindex=(\d+)", reader.attributes) for reader in readers]
    return sum(sizes[i] for i in {int(index.group(1)) for index in indices if index})


def _of_fusion(inner: Computation) -> tuple[int, int]:
    """Bytes that a fusion reads and writes."""
    root = inner.root
    results = [inner.instructions[name] for name in root.operands] if root.opcode == "tuple" else [root]
    needed = _needed(inner, results)
    parameters = [other for other in inner.instructions.values() if other.opcode == "parameter"]
    read = sum(round(needed.get(parameter.name, 0.0)) for parameter in parameters)
    return read, sum(_bytes_written(inner, result) for result in results)


def _needed(inner: Computation, results: list[Instruction]) -> dict[str, float]:
    """Bytes of each value in a fusion that its results need, from the last instruction to the first."""
    needed: dict[str, float] = defaultdict(float)
    for result in results:
        needed[result.name] = float(_size(result))
    for one in reversed(inner.instructions.values()):
        size, found = _size(one), needed[one.name]
        if not found or one.opcode == "tuple":
            continue
        for place, name in enumerate(dict.fromkeys(one.operands)):
            whole = float(_size(inner.instructions[name]))
            part = whole * found / size
            if place == 0 and one.opcode == "dynamic-update-slice":
                part = 0.0  # It is overwritten in place.
            elif (place == 0 and one.opcode in _SLICES) or one.opcode == "broadcast":
                part = found
            needed[name] = min(whole, needed[name] + part)
    return needed


def _bytes_written(inner: Computation, value: Instruction) -> int:
    """Bytes of a result, or of the update alone if the result is updated in place."""
    while value.opcode in _RENAMES:
        value = inner.instructions[value.operands[0]]
    if value.opcode == "dynamic-update-slice":
        value = inner.instructions[value.operands[1]]
    return _size(value)
