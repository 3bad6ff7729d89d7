"""Scores of a network on MNIST: test scores, entropy away from the data, and the pruning curve."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import deepuq_jax as dq
from benchmarks.accuracy.networks import PointNetwork

ANGLES = (0, 30, 60, 90, 120, 150, 180)
PRUNED = (0.0, 0.5, 0.75, 0.9, 0.95, 0.98)
OTHER_IMAGES = 1000
BATCH = 1000


def predict(model: Any, x: np.ndarray, *, seed: int, draws: int) -> dq.UQResult:
    """Predict at images [n, pixels].

    A network without a posterior needs a single pass.
    """
    if isinstance(model, PointNetwork):
        draws = 1
    return dq.predict_vi_uq(model, x, key=jax.random.key(seed), n_samples=draws, batch_size=BATCH)


def scores(result: dq.UQResult, y: np.ndarray) -> dict[str, float]:
    """Error in %, NLL in nats, and ECE in %.

    The ECE has 15 bins.
    """
    return {
        "error": 100 * float(jnp.mean(result.mean.argmax(axis=1) != y)),
        "nll": float(dq.metrics.negative_log_likelihood(result, y).mean()),
        "ece": 100 * float(dq.metrics.expected_calibration_error(result, y)),
    }


def rotated(x: np.ndarray, angle: float) -> np.ndarray:
    """Rotate square images, given as rows [n, pixels], by degrees.

    Pixels outside an image are black.

    >>> rotated(np.eye(2).reshape(1, 4), 90.0).round(6).tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    """
    from scipy.ndimage import rotate

    side = round(x.shape[1] ** 0.5)
    turned = rotate(x.reshape(-1, side, side), angle, axes=(1, 2), reshape=False, order=1)
    return turned.reshape(len(x), -1).astype(x.dtype)


def elsewhere(model: Any, x: np.ndarray, *, seed: int, draws: int) -> dict[str, Any]:
    """Mean predictive entropy (nats) on rotated digits and on noise.

    The AUROC measures how well the entropy distinguishes noise from digits. The noise of each pixel is uniform between
    0 and the brightest pixel of the digits.
    """
    x = x[:OTHER_IMAGES]
    noise = np.random.default_rng(seed).uniform(0, x.max(), x.shape).astype(x.dtype)

    def entropy(images: np.ndarray) -> jax.Array:
        return jnp.asarray(predict(model, images, seed=seed, draws=draws).predictive_entropy)

    on_noise, on_digits = entropy(noise), [entropy(rotated(x, angle)) for angle in ANGLES]
    return {
        "angles": list(ANGLES),
        "entropy_of_rotated": [float(values.mean()) for values in on_digits],
        "entropy_of_noise": float(on_noise.mean()),
        "auroc_of_noise": float(dq.metrics.ood_auroc(on_digits[0], on_noise)),
    }


def pruning_curve(model: Any, x: np.ndarray, y: np.ndarray, *, seed: int, draws: int) -> list[dict[str, float]]:
    """Scores after pruning by |mu| / sigma over all layers.

    Source: Blundell et al. 2015, section 5.1.
    """
    curve = []
    for share in PRUNED:
        pruned = dq.prune(model, share) if share else model
        curve.append({"pruned": share, **scores(predict(pruned, x, seed=seed, draws=draws), y)})
    return curve
