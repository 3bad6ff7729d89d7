"""A case names a computation, its inputs, both sides and its tolerance; the harness runs it and measures the errors.

Both sides get the same numpy arrays, noise included, so no test compares two random generators. A side is a function
of the arrays, by name, and returns one array or several by name. The gradient is that of a fixed weighted sum of one
of them, by the inputs that the case lists.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from parity_tests import reference
from parity_tests.tolerances import BY_NAME, CONDITIONING_ULP, SUM, Tolerance

Arrays = dict[str, np.ndarray]
Side = Callable[[dict[str, Any]], Any]
DTYPES = ("float32", "float64")
# Computed in bfloat16, and handed over in float32, which holds every bfloat16 number: numpy knows no bfloat16.
LOW = "bfloat16"


@dataclasses.dataclass(frozen=True)
class Case:
    """One computation that both packages can do.

    Attributes:
        name: unique, shown in the report.
        inputs: of a dtype name; arrays by name, floats in float64 (the harness casts them), the noise among them.
        jax_side, torch_side: of inputs by name, as arrays of that package.
        reference: the same of 60-digit numbers; None where there is none.
        wrt: inputs to take the gradient by; in `torch_side` these are `nn.Parameter`s.
        grad_of: the output that is differentiated, where there are several.
        tolerance, grad_tolerance: names in `tolerances.BY_NAME`.
        conditioning: of the exact inputs: what one ulp of an intermediate moves each quantity by, in ulp of 1.
        original_side: of (module, inputs): the same by the original package, where it is installed.
        fault: what the original is known to get wrong here; "" where it should agree.
        dtypes: the precisions that it is run in. In `LOW` the inputs are bfloat16 numbers in float32 arrays, and the
            sides do the rounding and return float32.
    """

    name: str
    inputs: Callable[[str], Arrays]
    jax_side: Side
    torch_side: Side
    reference: Side | None = None
    wrt: tuple[str, ...] = ()
    grad_of: str = "value"
    tolerance: str = "sum"
    grad_tolerance: str = "sum"
    conditioning: Callable[[Arrays], Arrays] | None = None
    original_side: Callable[[Any, dict[str, Any]], Any] | None = None
    fault: str = ""
    dtypes: tuple[str, ...] = DTYPES


@dataclasses.dataclass(frozen=True)
class Error:
    """How far two computations lie apart: the largest over all entries.

    Attributes:
        absolute: the difference. ulp: in eps times what it is relative to, conditioning included.
        share: in parts of what the tolerance allows; up to 1 passes.
    """

    absolute: float
    ulp: float
    share: float


def devices() -> dict[str, str]:
    """The devices that the two packages compute on here."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"jax": jax.devices()[0].device_kind, "torch": card}


def torch_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


# What lets torch compute, or sum up, in a shorter format than it was asked for.
_SHORTCUTS = ("allow_tf32", "allow_bf16_reduced_precision_reduction")


@contextlib.contextmanager
def precisely(dtype: str) -> Iterator[None]:
    """x64 as `dtype` needs it and no short matmul formats on an accelerator; afterwards all as it was."""
    matmul = torch.backends.cuda.matmul
    before = {name: getattr(matmul, name) for name in _SHORTCUTS}
    try:
        for name in _SHORTCUTS:
            setattr(matmul, name, False)
        with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
            yield
    finally:
        for name, value in before.items():
            setattr(matmul, name, value)


def storage(dtype: str) -> str:
    """The dtype of the arrays that hold numbers of `dtype`."""
    return "float32" if dtype == LOW else dtype


def cast(arrays: Arrays, dtype: str) -> Arrays:
    """Floating arrays rounded to `dtype`, the others as they are."""
    rounded = lambda v: v.astype(jnp.dtype(dtype)).astype(storage(dtype))
    return {k: rounded(v) if np.issubdtype(v.dtype, np.floating) else v for k, v in arrays.items()}


@functools.cache
def run(case: Case, dtype: str) -> dict[str, Arrays]:
    """All quantities of a case, by backend ("jax", "torch", "reference"); gradients are under "d <input>"."""
    arrays = cast(case.inputs(dtype), dtype)
    with precisely(dtype):
        found = {"jax": _jax_quantities(case, arrays), "torch": torch_quantities(case, case.torch_side, arrays)}
    if case.reference is not None:
        found["reference"] = _reference_quantities(case, arrays)
    return found


def errors(case: Case, dtype: str, one: Arrays, other: Arrays) -> dict[str, Error]:
    """The errors of `one` against `other`, over all values and over all gradients."""
    groups: dict[str, list[Error]] = {}
    conditioning = case.conditioning(cast(case.inputs(dtype), dtype)) if case.conditioning else {}
    if one.keys() != other.keys():
        raise ValueError(f"Expected the quantities {sorted(other)}; got {sorted(one)}.")
    for name in other:
        is_gradient = name.startswith("d ")
        tolerance = BY_NAME[case.grad_tolerance if is_gradient else case.tolerance]
        error = error_of(one[name], other[name], dtype, tolerance, conditioning.get(name, 0.0))
        groups.setdefault("gradient" if is_gradient else "value", []).append(error)
    return {kind: worst(group) for kind, group in groups.items()}


def error_of(one: np.ndarray, other: np.ndarray, dtype: str, tolerance: Tolerance = SUM, extra: Any = 0.0) -> Error:
    """The error of one tensor; `extra` is a further allowance, in `CONDITIONING_ULP` ulp of 1."""
    if one.shape != other.shape:
        raise ValueError(f"Expected shape {other.shape}; got {one.shape}.")
    if one.dtype != np.dtype(storage(dtype)):
        raise ValueError(f"Expected dtype {storage(dtype)}; got {one.dtype}.")
    if one.size == 0:
        return Error(0.0, 0.0, 0.0)
    difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    if not np.isfinite(difference).all():
        return Error(np.inf, np.inf, np.inf)
    limits = jnp.finfo(dtype)
    spacing = np.maximum(tolerance.size(other) + extra, float(limits.tiny)) * float(limits.eps)
    allowed = tolerance.allowed(other, storage(dtype)) + CONDITIONING_ULP * float(limits.eps) * extra
    share = np.divide(difference, allowed, out=np.where(difference > 0, np.inf, 0.0), where=allowed > 0)
    return Error(float(difference.max()), float((difference / spacing).max()), float(share.max()))


def worst(group: list[Error]) -> Error:
    """The largest of each measure."""
    return Error(max(e.absolute for e in group), max(e.ulp for e in group), max(e.share for e in group))


def _named(outputs: Any) -> dict[str, Any]:
    return outputs if isinstance(outputs, dict) else {"value": outputs}


def _weights(shape: tuple[int, ...]) -> np.ndarray:
    """The weights of the sum that is differentiated: none is zero, and a scalar has 1."""
    return np.cos(np.arange(int(np.prod(shape)))).reshape(shape)


def _jax_quantities(case: Case, arrays: Arrays) -> Arrays:
    inputs = {name: jnp.asarray(values) for name, values in arrays.items()}
    wrt = {name: inputs.pop(name) for name in case.wrt}

    def scalar(wrt, rest):
        outputs = _named(case.jax_side({**rest, **wrt}))
        target = outputs[case.grad_of]
        return jnp.sum(target * jnp.asarray(_weights(target.shape), target.dtype)), outputs

    if not wrt:
        outputs, gradients = jax.jit(lambda rest: _named(case.jax_side(rest)))(inputs), {}
    else:
        # One program a case: value and gradient are compiled together.
        (_, outputs), gradients = jax.jit(jax.value_and_grad(scalar, has_aux=True))(wrt, inputs)
    found = {**outputs, **{f"d {name}": gradient for name, gradient in gradients.items()}}
    return {name: np.asarray(values) for name, values in found.items()}


def torch_quantities(case: Case, side: Side, arrays: Arrays) -> Arrays:
    """Values and gradients of a torch side: ours, or the original's."""
    inputs: dict[str, Any] = {name: torch.tensor(values, device=torch_device()) for name, values in arrays.items()}
    inputs |= {name: torch.nn.Parameter(inputs[name]) for name in case.wrt}
    found = _named(side(inputs))
    if case.wrt:
        target = found[case.grad_of]
        weights = torch.tensor(_weights(tuple(target.shape))).to(target)
        gradients = torch.autograd.grad((target * weights).sum(), [inputs[name] for name in case.wrt])
        found = {**found, **{f"d {name}": g for name, g in zip(case.wrt, gradients, strict=True)}}
    return {name: values.detach().cpu().numpy() for name, values in found.items()}


def _reference_quantities(case: Case, arrays: Arrays) -> Arrays:
    side = case.reference
    assert side is not None  # for the type checker: the caller has looked
    inputs = reference.lift(arrays)

    def target(inputs):
        return np.asarray(_named(side(inputs))[case.grad_of], dtype=object)

    found = {name: reference.to_floats(values) for name, values in _named(side(inputs)).items()}
    weights = _weights(found[case.grad_of].shape) if case.wrt else np.zeros(())
    return found | {f"d {name}": reference.gradient(target, inputs, name, weights) for name in case.wrt}
