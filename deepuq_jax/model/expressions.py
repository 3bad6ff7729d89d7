"""Expressions of the values in a traced program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from deepuq_jax.model.noise_use import noise_use


class NoiseUse(NamedTuple):
    """A place in a program where a layer draws its noise.

    Attributes:
        label: the label of the layer.
        is_key: whether the layer is called with a key.
        key: number of the key's expression; equal numbers are equal keys.
        is_shared: whether a loop or `vmap` over the layer's parameters reuses the key.
        branches: (number of a condition, number of its branch) for each condition around the place.
    """

    label: str
    is_key: bool
    key: int
    is_shared: bool
    branches: tuple[tuple[int, int], ...]

    def excludes(self, other: NoiseUse) -> bool:
        """Whether the two are in different branches of the same condition."""
        branches = dict(other.branches)
        return any(branches.get(condition, branch) != branch for condition, branch in self.branches)


def noise_uses(program: ClosedJaxpr) -> Iterator[NoiseUse]:
    """Find the places where layers draw their noise.

    Calls, checkpoints and all branches of a condition are followed into their programs, and a loop is followed for one
    step.
    """
    reader = _Reader()
    inputs = [reader.number("input", i) for i in range(len(program.jaxpr.invars))]
    reader.read_closed(program, inputs, ())
    yield from reader.uses


@dataclass
class _Reader:
    """A reader of programs that numbers expressions, equal ones alike."""

    uses: list[NoiseUse] = field(default_factory=list)
    _numbers: dict[Any, int] = field(default_factory=dict)
    # The loops over which the value of each expression varies.
    _loops: dict[int, frozenset[int]] = field(default_factory=dict)
    # The values of literal integers; the key that each array of keys was split from; the keys that `_child_keys` found.
    _literals: dict[int, int] = field(default_factory=dict)
    _split: dict[int, int] = field(default_factory=dict)
    _children: set[int] = field(default_factory=set)

    def number(self, *expression: Any, of: Sequence[int] = (), loops: frozenset[int] = frozenset()) -> int:
        """Return the number of an expression whose operands are `of`."""
        number = self._numbers.setdefault((*expression, *of), len(self._numbers))
        self._loops.setdefault(number, loops.union(*(self._loops[part] for part in of)))
        return number

    def read_closed(self, program: ClosedJaxpr, inputs: Sequence[int], branches: Any) -> list[int]:
        constants = [self.number("constant", id(value)) for value in program.consts]
        return self.read(program.jaxpr, constants, inputs, branches)

    def read(self, program: Jaxpr, constants: Sequence[int], inputs: Sequence[int], branches: Any) -> list[int]:
        """Follow a program; return the numbers of its outputs."""
        values = dict(zip([*program.constvars, *program.invars], [*constants, *inputs], strict=True))

        def of(variable: Any) -> int:
            return self._literal(variable) if isinstance(variable, Literal) else values[variable]

        for equation in program.eqns:
            outputs = self._outputs(equation, [of(variable) for variable in equation.invars], branches)
            values.update(zip(equation.outvars, outputs, strict=True))
        return [of(variable) for variable in program.outvars]

    def _literal(self, literal: Literal) -> int:
        value = np.asarray(literal.val)
        number = self.number("literal", str(literal.aval), value.tobytes())
        if value.ndim == 0 and np.issubdtype(value.dtype, np.integer):
            self._literals[number] = int(value)
        return number

    def _outputs(self, equation: Any, inputs: list[int], branches: Any) -> list[int]:
        name, params = equation.primitive.name, equation.params
        if equation.primitive is noise_use:
            value, parameter = inputs
            is_shared = params["is_shared"] or not self._loops[parameter] <= self._loops[value]
            self.uses.append(NoiseUse(params["label"], params["is_key"], value, is_shared, branches))
            return [value]
        if name == "scan":
            return self._of_loop(equation, inputs, params["jaxpr"], *sizes_of_scan(equation), branches)
        if name == "while":
            skipped, constants = params["cond_nconsts"], params["body_nconsts"]
            inputs = inputs[skipped:]
            return self._of_loop(equation, inputs, params["body_jaxpr"], constants, len(inputs) - constants, branches)
        if name == "cond":
            return self._of_branches(equation, inputs, branches)
        inner = [value for value in params.values() if isinstance(value, (ClosedJaxpr, Jaxpr))]
        if len(inner) == 1 and len(_open(inner[0]).invars) == len(inputs):
            if isinstance(inner[0], ClosedJaxpr):
                return self.read_closed(inner[0], inputs, branches)
            return self.read(inner[0], (), inputs, branches)
        children = self._child_keys(equation, inputs)
        if children:
            return children
        settings = tuple((key, str(value)) for key, value in sorted(params.items()))
        outputs = [self.number(name, settings, i, of=inputs) for i in range(len(equation.outvars))]
        if name == "random_split":
            self._split[outputs[0]] = inputs[0]
        return outputs

    def _child_keys(self, equation: Any, inputs: list[int]) -> list[int]:
        """Number the children of a key.

        For Threefry, `split(key, n)[i]` and `fold_in(key, i)` are the same key.
        """
        name, params = equation.primitive.name, equation.params
        is_split = inputs and inputs[0] in self._split
        if name == "squeeze" and inputs[0] in self._children:
            return inputs
        if name == "random_fold_in" and inputs[1] in self._literals:
            parent, positions = inputs[0], [self._literals[inputs[1]]]
        elif name == "unstack" and is_split and len(equation.invars[0].aval.shape) == 1:  # unpacked keys in JAX 0.11
            parent, positions = self._split[inputs[0]], range(len(equation.outvars))
        elif name == "slice" and is_split and params["limit_indices"] == (params["start_indices"][0] + 1,):
            parent, positions = self._split[inputs[0]], [params["start_indices"][0]]
        else:
            return []
        children = [self.number("child", i, of=[parent]) for i in positions]
        self._children.update(children)
        return children

    def _of_loop(
        self, equation: Any, inputs: list[int], body: ClosedJaxpr, constants: int, carry: int, branches: Any
    ) -> list[int]:
        loop = frozenset([id(equation)])
        # A carry that the body hands on unchanged is a constant.
        handed_on = [
            body.jaxpr.invars[constants + i] is body.jaxpr.outvars[i]
            for i in range(min(carry, len(body.jaxpr.outvars)))
        ]
        inner = list(inputs[:constants])
        for i, number in enumerate(inputs[constants:]):
            is_constant = i < carry and handed_on[i]
            inner.append(number if is_constant else self.number("in loop", id(equation), i, of=[number], loops=loop))
        self.read_closed(body, inner, branches)
        return [self.number("of loop", id(equation), i) for i in range(len(equation.outvars))]

    def _of_branches(self, equation: Any, inputs: list[int], branches: Any) -> list[int]:
        for i, branch in enumerate(equation.params["branches"]):
            self.read_closed(branch, inputs[1:], (*branches, (id(equation), i)))
        return [self.number("of branches", id(equation), i) for i in range(len(equation.outvars))]


def sizes_of_scan(equation: Any) -> tuple[int, int]:
    """Count the constants and the carried values of a scan.

    Versions of JAX keep these numbers under different names. In all of them the scanned inputs come last, the stacked
    outputs too, and each has an axis more than in the body.
    """
    body = equation.params["jaxpr"].jaxpr

    def stacked(outside: Sequence[Any], inside: Sequence[Any]) -> int:
        return sum(len(a.aval.shape) > len(b.aval.shape) for a, b in zip(outside, inside, strict=True))

    carry = len(equation.outvars) - stacked(equation.outvars, body.outvars)
    return len(equation.invars) - carry - stacked(equation.invars, body.invars), carry


def _open(program: ClosedJaxpr | Jaxpr) -> Jaxpr:
    return program.jaxpr if isinstance(program, ClosedJaxpr) else program
