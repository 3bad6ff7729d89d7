"""The regression curve of Blundell et al. 2015, arXiv 1505.05424, section 5.2, through `fit` and `predict_vi_uq`."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

import deepuq_jax as dq

CURVE_BATCH = 64


def curve_truth(x: np.ndarray, noise: np.ndarray | float = 0.0) -> np.ndarray:
    """The curve of Blundell et al. 2015, section 5.2: y = x + 0.3 sin(2 pi (x + e)) + 0.3 sin(4 pi (x + e)) + e.

    The noise e is inside of the sines too, so that its spread in y depends on x.

    >>> float(curve_truth(np.array(0.25)))
    0.55
    """
    return x + 0.3 * np.sin(2 * np.pi * (x + noise)) + 0.3 * np.sin(4 * np.pi * (x + noise)) + noise


class Curve(NamedTuple):
    """The regression: inputs [n] and predictions at them, and the data (x [m], y [m])."""

    x: np.ndarray
    result: dq.UQResult
    data: tuple[np.ndarray, np.ndarray]


def fit_curve(*, key: Array, size: int = 1024, epochs: int = 300) -> Curve:
    """A Bayesian network with learned noise, trained on the curve in [0, 0.5] by the exact ELBO.

    The prior is N(0, 1), with the inputs scaled to about as much, so that the data and not the prior bend the curve;
    with ReLUs its functions leave the data as straight lines, each in its own direction: the band opens.
    """
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 0.5, size)
    y = curve_truth(x, 0.02 * rng.standard_normal(size))
    column = lambda values: jnp.asarray(values, jnp.float32)[:, None]
    scaled = lambda x: column((x - 0.25) / 0.25)
    likelihood = dq.HeteroscedasticGaussian()
    model = dq.BayesByBackpropMLP(
        1, (50, 50), 2, prior=dq.GaussianPrior(sigma=1.0), likelihood=likelihood, rngs=nnx.Rngs(0)
    )
    fit_key, predict_key = jax.random.split(key)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, epochs * -(-size // CURVE_BATCH)))
    model = dq.fit(
        model, scaled(x), column(y), key=fit_key, optimizer=optimizer, epochs=epochs, batch_size=CURVE_BATCH
    ).model
    grid = np.linspace(-0.2, 0.9, 400)
    return Curve(grid, dq.predict_vi_uq(model, scaled(grid), key=predict_key, n_samples=500), (x, y))
