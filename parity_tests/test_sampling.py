"""Each package's sampler against the exact distribution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from scipy import stats

import deepuq_jax as dj
import deepuq_torch as dt
from parity_tests.tolerances import KS_PROBABILITY, STANDARD_ERRORS
from parity_tests.transfer import with_weights

_DRAWS = 20_000
_MU, _RHO = 0.75, -1.0
_SIGMA = float(np.log1p(np.exp(_RHO)))
_X = np.array([[1.0, -2.0, 0.5]], np.float32)


def _jax_posterior() -> np.ndarray:
    posterior = dj.GaussianPosterior(jnp.full(4, _MU), jnp.full(4, _RHO))
    return np.asarray(posterior.sample(key=jax.random.key(11), shape=(_DRAWS // 4,)), np.float64).ravel()


def _torch_posterior() -> np.ndarray:
    posterior = dt.GaussianPosterior(torch.full((_DRAWS,), _MU), torch.full((_DRAWS,), _RHO))
    return posterior.sample(generator=torch.Generator().manual_seed(11)).detach().double().numpy()


def _layer() -> dt.BayesianLinear:
    layer = dt.BayesianLinear(3, 1)
    with torch.no_grad():
        for posterior in (layer.weight_posterior, layer.bias_posterior):
            posterior.mu.fill_(_MU)
            posterior.rho.fill_(_RHO)
    return layer


def _jax_layer() -> np.ndarray:
    layer = with_weights(dj.BayesianLinear(3, 1, rngs=nnx.Rngs(0)), _layer().state_dict())
    keys = jax.random.split(jax.random.key(12), _DRAWS)
    outputs = jax.jit(jax.vmap(lambda key: layer(jnp.asarray(_X), key=key)))(keys)
    return np.asarray(outputs, np.float64).ravel()


def _torch_layer() -> np.ndarray:
    layer, generator = _layer(), torch.Generator().manual_seed(12)
    noise = torch.randn(_DRAWS, 1, 3, generator=generator), torch.randn(_DRAWS, 1, generator=generator)
    few = [layer(torch.tensor(_X), generator=generator) for _ in range(200)]
    many = torch.func.vmap(lambda pair: layer(torch.tensor(_X), noise=pair))(noise)
    return torch.cat([torch.stack(few), many]).detach().double().numpy().ravel()


# As an affine function of Gaussians, y = x W + b is N(mu (sum x + 1), sigma^2 (sum x^2 + 1)).
_LAYER_MEAN = _MU * (float(_X.sum()) + 1.0)
_LAYER_STD = _SIGMA * float(np.sqrt(np.square(_X).sum() + 1.0))


@pytest.mark.parametrize(
    ("draw", "mean", "std"),
    [
        (_jax_posterior, _MU, _SIGMA),
        (_torch_posterior, _MU, _SIGMA),
        (_jax_layer, _LAYER_MEAN, _LAYER_STD),
        (_torch_layer, _LAYER_MEAN, _LAYER_STD),
    ],
    ids=["jax posterior", "torch posterior", "jax layer", "torch layer"],
)
def test_a_draw_has_the_exact_distribution(draw, mean: float, std: float):
    values = draw()
    count = values.size
    assert abs(values.mean() - mean) <= STANDARD_ERRORS * std / np.sqrt(count)
    # The variance of a Gaussian's sample variance is 2 sigma^4 / n.
    assert abs(values.var() - std**2) <= STANDARD_ERRORS * std**2 * np.sqrt(2.0 / count)
    assert stats.kstest((values - mean) / std, "norm").pvalue > KS_PROBABILITY
