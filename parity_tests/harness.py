"""Cases of the comparison, and the measurement of their errors.

A case names a computation, its inputs, its two sides and its tolerance; the harness runs both sides. They get the same
numpy arrays, noise included, so no test compares two random generators. A side is a function of a dict of arrays; it
returns an array or a dict of arrays. The harness differentiates a fixed weighted sum of an output with respect to the
inputs that the case lists.
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
# A case of this dtype computes in bfloat16. NumPy has no bfloat16, so the arrays of the case are float32, which can
# represent every bfloat16 number.
LOW = "bfloat16"


@dataclasses.dataclass(frozen=True)
class Case:
    """Computation that both packages can do.

    Attributes:
        name: unique name, shown in the report.
        inputs: function from the name of a dtype to a dict of arrays, including the noise. Floating arrays are float64;
            the harness casts them.
        jax_side, torch_side: functions of a dict of the inputs, as arrays of that package.
        reference: the same function of 60-digit numbers, or None.
        wrt: names of the inputs to differentiate by; `torch_side` gets these as `nn.Parameter`s.
        grad_of: name of the output to differentiate.
        tolerance, grad_tolerance: names in `tolerances.BY_NAME`.
        conditioning: function from the inputs to the change of each quantity, in ulp of 1, that is caused by rounding
            an intermediate number by one ulp.
        original_side: function of (module, inputs) that computes the same with the original package, or None.
        fault: known fault of the original in this case; "" if the original should agree.
        dtypes: precisions to run the case in. In `LOW` the inputs are bfloat16 numbers in float32 arrays, and the
            sides round to bfloat16 and return float32.
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
    """Largest difference of two computations over all entries.

    Attributes:
        absolute: the difference itself.
        ulp: the difference in units of eps times the size that it is relative to, conditioning included.
        share: the difference divided by the difference that the tolerance allows; a share of at most 1 passes.
    """

    absolute: float
    ulp: float
    share: float


def devices() -> dict[str, str]:
    """Return the devices that the two packages compute on."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"jax": jax.devices()[0].device_kind, "torch": card}


def torch_device() -> torch.device:
    """Return the GPU, or the CPU if there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


# Settings that let torch multiply or sum in a shorter format than that of the tensors.
_SHORTCUTS = ("allow_tf32", "allow_bf16_reduced_precision_reduction")


@contextlib.contextmanager
def precisely(dtype: str) -> Iterator[None]:
    """Compute without short matmul formats, and with x64 for float64."""
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
    """Return the dtype of arrays that hold `dtype` numbers."""
    return "float32" if dtype == LOW else dtype


def cast(arrays: Arrays, dtype: str) -> Arrays:
    """Round floating arrays to `dtype`, and keep the others."""

    def rounded(values: np.ndarray) -> np.ndarray:
        if not np.issubdtype(values.dtype, np.floating):
            return values
        return values.astype(jnp.dtype(dtype)).astype(storage(dtype))

    return {name: rounded(values) for name, values in arrays.items()}


@functools.cache
def run(case: Case, dtype: str) -> dict[str, Arrays]:
    """Compute all quantities of a case.

    Returns:
        {"jax": quantities, "torch": quantities, "reference": quantities}, where quantities are a dict of arrays. The
        last is present only if the case has a reference. The gradient by an input is named "d <input>".
    """
    arrays = cast(case.inputs(dtype), dtype)
    with precisely(dtype):
        found = {"jax": _jax_quantities(case, arrays), "torch": torch_quantities(case, case.torch_side, arrays)}
    if case.reference is not None:
        found["reference"] = _reference_quantities(case, arrays)
    return found


def errors(case: Case, dtype: str, one: Arrays, other: Arrays) -> dict[str, Error]:
    """Measure the errors of all values and of all gradients."""
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
    """Measure the error of a tensor.

    Args:
        one, other: computed and expected values.
        dtype: precision of the computation.
        tolerance: allowed error.
        extra: further allowance, in `CONDITIONING_ULP` ulp of 1.
    """
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
    """Return the largest value of each measure of error."""
    return Error(max(e.absolute for e in group), max(e.ulp for e in group), max(e.share for e in group))


def _named(outputs: Any) -> dict[str, Any]:
    return outputs if isinstance(outputs, dict) else {"value": outputs}


def _weights(shape: tuple[int, ...]) -> np.ndarray:
    """Weights of the differentiated sum; none is zero."""
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
        # One program per case: value and gradient are compiled together.
        (_, outputs), gradients = jax.jit(jax.value_and_grad(scalar, has_aux=True))(wrt, inputs)
    found = {**outputs, **{f"d {name}": gradient for name, gradient in gradients.items()}}
    return {name: np.asarray(values) for name, values in found.items()}


def torch_quantities(case: Case, side: Side, arrays: Arrays) -> Arrays:
    """Compute values and gradients of a torch side."""
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
    assert side is not None  # for the type checker: the caller has checked
    inputs = reference.lift(arrays)

    def target(inputs):
        return np.asarray(_named(side(inputs))[case.grad_of], dtype=object)

    found = {name: reference.to_floats(values) for name, values in _named(side(inputs)).items()}
    weights = _weights(found[case.grad_of].shape) if case.wrt else np.zeros(())
    central = BY_NAME[case.grad_tolerance].per_entry
    gradients = {name: reference.gradient(target, inputs, name, weights, central=central) for name in case.wrt}
    return found | {f"d {name}": values for name, values in gradients.items()}
