"""Standard deviations below the smallest normal number, in arithmetic that keeps subnormals.

A GPU keeps them. XLA on a CPU flushes them to zero, so NumPy runs the programs here, operation by operation.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Literal
from scipy import special

import deepuq_jax as dq
from deepuq_jax.functional.gaussian import gaussian_kl
from deepuq_jax.functional.quantiles import invert_cdf
from deepuq_jax.model.expressions import sizes_of_scan
from deepuq_jax.tests import reference

_CALLS = {"pjit", "jit", "custom_jvp_call", "custom_vjp_call", "closed_call", "core_call"}


def _compare(operation):
    return lambda a, b, **_: operation(a, b)


def _slice(a, *, start_indices, limit_indices, strides):
    return a[tuple(map(slice, start_indices, limit_indices, strides or [1] * a.ndim))]


def _polynomial(x, *coefficients, **_):
    """Horner's scheme for jax 0.12's primitive; the constant comes first."""
    result = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + coefficient
    return result


_OPERATIONS = {
    "slice": _slice,
    "polynomial": _polynomial,
    "add": _compare(np.add),
    "add_any": _compare(np.add),
    "sub": _compare(np.subtract),
    "mul": _compare(np.multiply),
    "div": _compare(np.divide),
    "max": _compare(np.maximum),
    "eq": _compare(np.equal),
    "ne": _compare(np.not_equal),
    "ge": _compare(np.greater_equal),
    "gt": _compare(np.greater),
    "lt": _compare(np.less),
    "and": _compare(np.bitwise_and),
    "xor": _compare(np.bitwise_xor),
    "shift_right_arithmetic": _compare(np.right_shift),
    "bitcast_convert_type": lambda a, *, new_dtype, **_: np.asarray(a).view(new_dtype),
    "min": _compare(np.minimum),
    "or": _compare(np.logical_or),
    "lgamma": lambda a, **_: np.asarray(special.gammaln(a), np.float32),
    "sqrt": lambda a, **_: np.sqrt(a),
    "reduce_max": lambda a, *, axes, **_: a.max(axis=axes),
    "le": _compare(np.less_equal),
    "neg": lambda a: -a,
    "abs": np.abs,
    "sign": np.sign,
    "exp": lambda a, **_: np.exp(a),
    "log": lambda a, **_: np.log(a),
    "log1p": lambda a, **_: np.log1p(a),
    "square": lambda a, **_: np.square(a),
    "integer_pow": lambda a, *, y: a**y,
    "stop_gradient": lambda a: a,
    "copy": lambda a: a,
    "copy_p": lambda a: a,
    "select_n": lambda which, a, b: np.where(which, b, a),
    "convert_element_type": lambda a, *, new_dtype, **_: np.asarray(a).astype(new_dtype),
    "reduce_sum": lambda a, *, axes, **_: a.sum(axis=axes),
    "squeeze": lambda a, *, dimensions: np.squeeze(a, dimensions),
    "reshape": lambda a, *, new_sizes, **_: np.reshape(a, new_sizes),
    "broadcast_in_dim": lambda a, *, shape, broadcast_dimensions, **_: _broadcast(a, shape, broadcast_dimensions),
}


def _broadcast(a, shape, dimensions):
    placed = [1] * len(shape)
    for axis, size in zip(dimensions, np.shape(a), strict=True):
        placed[axis] = size
    return np.broadcast_to(np.reshape(a, placed), shape)


def run_by_numpy(function, *arguments):
    """Return the leaves of `function(*arguments)`, with every operation done by NumPy."""
    closed = jax.make_jaxpr(function)(*arguments)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(arguments)]
    with np.errstate(all="ignore"):
        return _run(closed.jaxpr, closed.consts, leaves)


def _run(jaxpr, consts, arguments):
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*map(np.asarray, consts), *arguments], strict=True))

    def read(atom):
        return np.asarray(atom.val) if isinstance(atom, Literal) else values[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        if eqn.primitive.name in _CALLS:
            inner = eqn.params.get("jaxpr") or eqn.params["call_jaxpr"]
            outputs = _run(inner.jaxpr, inner.consts, inputs)
        elif eqn.primitive.name == "scan":
            outputs = _scan(inputs, eqn.params["jaxpr"], _order(eqn), *sizes_of_scan(eqn))
        else:
            outputs = [_OPERATIONS[eqn.primitive.name](*inputs, **eqn.params)]
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _order(eqn):
    steps = range(eqn.params["length"])
    return steps[::-1] if eqn.params["reverse"] else steps


def _scan(inputs, jaxpr, order, num_consts, num_carry):
    first_row = num_consts + num_carry
    consts, carry, rows = inputs[:num_consts], inputs[num_consts:first_row], inputs[first_row:]
    stacked = {}
    for i in order:
        found = _run(jaxpr.jaxpr, jaxpr.consts, [*consts, *carry, *(row[i] for row in rows)])
        carry, stacked[i] = found[:num_carry], found[num_carry:]
    in_order = [stacked[i] for i in sorted(stacked)]
    return [*carry, *(np.stack(column) for column in zip(*in_order, strict=True))]


# These give sigma from 1e-33 to 1e-48: normal, near the smallest normal number, subnormal, and too small for float32.
RHO = np.array([-76.0, -87.0, -87.4, -92.0, -100.0, -103.0, -110.0], np.float32)
PRIORS = [dq.GaussianPrior(sigma=0.5), dq.EmpiricalGaussianPrior(), dq.ScaleMixturePrior(), dq.StudentTPrior()]


def test_the_arithmetic_keeps_subnormals():
    (found,) = run_by_numpy(jnp.exp, RHO)
    assert (found[3:6] > 0).all()
    assert (found[3:6] < np.finfo(np.float32).tiny).all()


def test_kl_of_a_subnormal_scale_is_that_of_its_rho():
    mu, half = np.zeros_like(RHO), np.full_like(RHO, 0.5)
    (found,) = run_by_numpy(lambda mu, rho: gaussian_kl(mu, rho, mu, half), mu, RHO)
    np.testing.assert_allclose(found, reference.gaussian_kl(mu, RHO, mu, half), rtol=1e-5)


def test_a_quantile_below_the_smallest_normal_number_is_zero():
    """The targets are uniform between 0 and a number with three positive numbers below it."""
    largest = np.float32(4 * np.finfo(np.float32).smallest_subnormal)

    def quantile(p):
        return invert_cdf(lambda t: jnp.clip(t / largest, 0.0, 1.0), p, jnp.float32, is_discrete=True)

    (found,) = run_by_numpy(quantile, np.asarray([0.1, 0.4, 0.9], np.float32))
    np.testing.assert_array_equal(found, np.zeros(3))


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)
def test_gradients_of_the_kl_at_a_draw_are_finite(prior):
    def kl(mu, rho, noise):
        return dq.GaussianPosterior(mu, rho).kl(prior, noise=noise)

    noise = np.linspace(-2, 2, 4, dtype=np.float32)
    for rho in (-20.0, -40.0, -60.0, *RHO):
        gradients = run_by_numpy(jax.grad(kl, argnums=(0, 1)), np.zeros(4, np.float32), np.full(4, rho), noise)
        assert np.isfinite(gradients).all(), rho
