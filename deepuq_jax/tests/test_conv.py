"""Convolution and embedding against independent computations, and the law of their outputs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import signal

import deepuq_jax as dq
from deepuq_jax import estimators
from deepuq_jax.tests import tolerances

# Through this name, tests can pass arguments that the type checker would refuse.
ANY_CONV: Any = dq.BayesianConv


def conv(*sizes, **options):
    return dq.BayesianConv(*sizes, rngs=nnx.Rngs(0), **options)


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape)


def direct(x, kernel, strides, pads, dilation, groups):
    """Compute a convolution in float64, as a sum of SciPy's correlations over the input channels."""
    rank = len(strides)
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    spread = np.zeros((*[(n - 1) * d + 1 for n, d in zip(kernel.shape, dilation, strict=False)], *kernel.shape[rank:]))
    spread[tuple(slice(None, None, d) for d in dilation)] = kernel
    per_group, out_per_group = kernel.shape[-2], kernel.shape[-1] // groups
    outputs = []
    for o in range(kernel.shape[-1]):
        first = o // out_per_group * per_group
        each = [
            np.stack([signal.correlate(image[..., first + i], spread[..., i, o], "valid") for image in x])
            for i in range(per_group)
        ]
        outputs.append(sum(each))
    return np.stack(outputs, axis=-1)[(slice(None), *[slice(None, None, s) for s in strides])]


def same(size, n, stride, dilation):
    """Return TensorFlow's SAME padding, for ceil(size / stride) outputs; an odd zero goes to the end."""
    total = max((-(-size // stride) - 1) * stride + (n - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


CASES = {
    "1-d": ((4, 6, (3,)), {}, (7,)),
    "1-d, causal, dilated": ((4, 6, 2), {"padding": "CAUSAL", "kernel_dilation": 3}, (7,)),
    "1-d, groups, stride, no bias": (
        (4, 6, (3,), 2), {"padding": "VALID", "feature_group_count": 2, "use_bias": False}, (9,),
    ),
    "2-d, stride": ((3, 2, (3, 2), 2), {}, (6, 5)),
    "2-d, pairs": ((3, 2, (3, 3), (1, 2)), {"padding": ((2, 0), 1), "kernel_dilation": (2, 1)}, (6, 5)),
    "2-d, depthwise": ((3, 6, (3, 3)), {"padding": 1, "feature_group_count": 3}, (5, 5)),
    "3-d": ((2, 3, (2, 2, 2)), {"kernel_dilation": (1, 2, 1), "padding": "VALID"}, (3, 4, 3)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_conv_is_the_direct_sum_at_the_weights_of_the_draw(case, x64, key):
    sizes, options, positions = CASES[case]
    layer = conv(*sizes, param_dtype=jnp.float64, sigma_init=0.3, **options)
    x = numbers(2, *positions, sizes[0])

    @jax.jit
    def values(layer, x):
        noise = layer.draw_noise(x, key=key)
        posteriors = {"kernel": layer.kernel_posterior, "bias": layer.bias_posterior}
        drawn = {name: q.sample(noise=noise[name]) for name, q in posteriors.items() if q is not None}
        return drawn, layer(x, noise=noise), layer(x, key=key)

    drawn, by_noise, by_key = values(layer, x)
    kernel = np.asarray(drawn["kernel"])
    rank = len(positions)
    strides, dilation = layer.strides, layer.kernel_dilation
    if layer.padding == "SAME":
        spec = zip(positions, kernel.shape, strides, dilation, strict=False)
        pads = [same(*one) for one in spec]
    elif layer.padding == "CAUSAL":
        pads = [((kernel.shape[0] - 1) * dilation[0], 0)]
    else:
        pads = [(0, 0)] * rank if layer.padding == "VALID" else list(layer.padding)
    expected = direct(x, kernel, strides, pads, dilation, layer.feature_group_count)
    np.testing.assert_allclose(by_noise, expected + np.asarray(drawn.get("bias", 0.0)), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(by_key, by_noise)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", "REFLECT"])
def test_conv_at_its_means_equals_flaxs_conv(padding):
    layer = conv(2, 4, (3, 2), strides=(2, 1), padding=padding, kernel_dilation=(1, 2))
    net = nnx.Conv(2, 4, (3, 2), (2, 1), padding=padding, kernel_dilation=(1, 2), rngs=nnx.Rngs(0))
    net.kernel = nnx.Param(layer.kernel_posterior.mu)
    x = jnp.asarray(numbers(5, 6, 7, 2), jnp.float32)
    np.testing.assert_allclose(layer(x), net(x), rtol=1e-5, atol=1e-6)
    several = jnp.stack([x, 2 * x])
    np.testing.assert_allclose(layer(several), net(several), rtol=1e-5, atol=1e-6)


# A convolution shares its weights over positions, which local reparameterization refuses (see test_estimators.py).
CONV_ESTIMATORS = [getattr(estimators, n) for n in estimators.__all__ if n != "local_reparameterization"]


@pytest.mark.parametrize("estimator", CONV_ESTIMATORS)
def test_mean_and_variance_of_each_output_are_the_exact_ones(estimator, key):
    layer = conv(2, 2, (2,), strides=2, padding="VALID", estimator=estimator, sigma_init=0.3)
    x = jnp.asarray(numbers(2, 6, 2), jnp.float32)
    n = 10_000
    draws = np.asarray(jax.lax.map(lambda k: layer(x, key=k), jax.random.split(key, n), batch_size=1000), np.float64)
    # An output is linear in independent weights, so its variance is the convolution of the squared inputs with the
    # variances of the weights.
    windows = np.asarray(x, float).reshape(2, 3, 4) ** 2
    variance = 0.09 * windows.sum(axis=-1, keepdims=True) + 0.09 + np.zeros(2)
    error = tolerances.STANDARD_ERRORS * np.sqrt(variance / n)
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - layer(x)), error)
    error = tolerances.STANDARD_ERRORS * variance * np.sqrt(2 / n)
    np.testing.assert_array_less(np.abs(draws.var(axis=0) - variance), error)


def test_embedding_is_rows_of_the_drawn_table(key):
    layer = dq.BayesianEmbed(6, 3, sigma_init=0.3, rngs=nnx.Rngs(0))
    ids = np.array([[0, 5, 5], [2, 1, 0]])
    noise = layer.draw_noise(ids, key=key)
    table = np.asarray(layer.kernel_posterior.sample(noise=noise["kernel"]))
    np.testing.assert_array_equal(layer(ids, key=key), table[ids])
    np.testing.assert_array_equal(layer(ids), np.asarray(layer.kernel_posterior.mu)[ids])
    one_hot = np.eye(6, dtype=np.float32)[ids]  # The input of the estimators other than weight sampling.
    np.testing.assert_allclose(layer._op(jnp.asarray(one_hot), jnp.asarray(table)), table[ids], rtol=1e-6)


def test_the_variance_of_an_embedding_is_that_of_its_posterior(key):
    """The draws of an embedding have the scale of the posterior: each entry has the variance sigma^2."""
    layer = dq.BayesianEmbed(4, 2, sigma_init=0.2, rngs=nnx.Rngs(0))
    draws = np.asarray(jax.vmap(lambda k: layer(jnp.arange(4), key=k))(jax.random.split(key, 4000)), float)
    error = tolerances.STANDARD_ERRORS * 0.04 * np.sqrt(2 / 4000)
    np.testing.assert_array_less(np.abs(draws.var(axis=0) - 0.04), error)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: conv(0, 2, 3), ValueError, "Expected in_features"),
        (lambda: conv(3, 2, (3, 3, 3, 3)), ValueError, "one to three dimensions"),
        (lambda: conv(3, 2, (3, 0)), ValueError, r"Expected kernel_size\[1\]"),
        (lambda: conv(3, 2, (3, 3), (1, 1, 1)), ValueError, "Expected strides to have 2 entries"),
        (lambda: conv(3, 2, 3, feature_group_count=2), ValueError, "in_features to be a multiple"),
        (lambda: conv(2, 3, 3, feature_group_count=2), ValueError, "out_features to be a multiple"),
        (lambda: conv(3, 2, 3, padding="FULL"), ValueError, "Expected padding to be one of SAME"),
        (lambda: conv(3, 2, (3, 3), padding="CAUSAL"), ValueError, "CAUSAL in one dimension"),
        (lambda: conv(3, 2, (3, 3), padding=((1, 1),)), ValueError, "Expected padding"),
        (lambda: conv(3, 2, 3, padding=-1), ValueError, "Expected padding"),
        (lambda: ANY_CONV(3, 2, 3, padding=1.5, rngs=nnx.Rngs(0)), TypeError, "Expected padding"),
        (lambda: conv(3, 2, (3, 3))(jnp.ones((5, 5, 3))), ValueError, r"Expected x to have shape \[batch, H, W, 3\]"),
        (lambda: dq.BayesianEmbed(4, 2, rngs=nnx.Rngs(0))(jnp.ones(3)), TypeError, "integer indices below 4"),
        (lambda: dq.BayesianEmbed(4, 2, rngs=nnx.Rngs(0))(jnp.array([4])), ValueError, "from 0 to 3; got 4 to 4"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
