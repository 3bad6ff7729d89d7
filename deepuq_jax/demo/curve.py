"""Fit the regression curve of Blundell et al.

Source: Blundell et al. 2015, arXiv 1505.05424, section 5.2; here the network is trained by `fit`, and `predict_vi_uq`
predicts.
"""

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
    """Compute the curve at x with noise e.

    y = x + 0.3 sin(2 pi (x + e)) + 0.3 sin(4 pi (x + e)) + e

    The noise also enters the sines, so its spread in y depends on x.

    Source: Blundell et al. 2015, arXiv 1505.05424, section 5.2.

    >>> float(curve_truth(np.array(0.25)))
    0.55
    """
    return x + 0.3 * np.sin(2 * np.pi * (x + noise)) + 0.3 * np.sin(4 * np.pi * (x + noise)) + noise


class Curve(NamedTuple):
    """A fitted regression.

    Attributes:
        x: inputs [n].
        result: predictions at the inputs.
        data: the training data (x [m], y [m]).
    """

    x: np.ndarray
    result: dq.UQResult
    data: tuple[np.ndarray, np.ndarray]


def fit_curve(*, key: Array, size: int = 1024, epochs: int = 300) -> Curve:
    """Fit a Bayesian network with learned noise to the curve.

    The network is trained on data in [0, 0.5] by the exact ELBO. The prior is N(0, 1), and the inputs are scaled to
    about unit size, so the data and not the prior bend the curve. With ReLUs, the functions leave the data as straight
    lines, each in its own direction, so the band opens.
    """
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 0.5, size)
    y = curve_truth(x, 0.02 * rng.standard_normal(size))
    likelihood = dq.HeteroscedasticGaussian()
    model = dq.BayesByBackpropMLP(
        1, (50, 50), 2, prior=dq.GaussianPrior(sigma=1.0), likelihood=likelihood, rngs=nnx.Rngs(0)
    )
    fit_key, predict_key = jax.random.split(key)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, epochs * -(-size // CURVE_BATCH)))
    model = dq.fit(
        model, _scaled(x), _column(y), key=fit_key, optimizer=optimizer, epochs=epochs, batch_size=CURVE_BATCH
    ).model
    grid = np.linspace(-0.2, 0.9, 400)
    return Curve(grid, dq.predict_vi_uq(model, _scaled(grid), key=predict_key, n_samples=500), (x, y))


def _column(values: np.ndarray) -> Array:
    """Convert values [n] to a float32 column [n, 1]."""
    return jnp.asarray(values, jnp.float32)[:, None]


def _scaled(x: np.ndarray) -> Array:
    """Map [0, 0.5] linearly to [-1, 1], as a column."""
    return _column((x - 0.25) / 0.25)
