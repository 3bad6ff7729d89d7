"""The faults that hostile calls have found, each with its own test."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax import functional, metrics

Y = np.zeros((2, 1), np.float32)
LABELS = np.asarray([0, 1])


def test_the_moments_behind_a_relu_are_finite_far_from_zero():
    """Once, the square of mean / std overflowed, and infinity times 0 gave NaN."""
    means = np.asarray([1e30, -1e30, 3.0, -3.0, 0.0], np.float32)
    variances = np.asarray([0.5, 0.5, 1e-38, 1e-38, 1e-45], np.float32)
    mean, var = functional.relu_moments(means, variances)
    np.testing.assert_array_equal(mean, np.asarray([1e30, 0, 3, 0, 0], np.float32))
    np.testing.assert_array_equal(var, np.asarray([0.5, 0, 0, 0, 0], np.float32))


REFUSED = {
    "logits as probabilities": (lambda: metrics.brier_score(np.asarray([[3.0, -1.0]] * 2), LABELS), "softmax"),
    "a negative variance": (lambda: metrics.crps((Y, Y - 1.0), Y), "var to be at least 0"),
    "a masked array": (lambda: functional.sigma_from_rho(np.ma.masked_array(Y, Y > 0)), "without a mask"),
    "a long double": (lambda: functional.gaussian_kl(Y.astype(np.longdouble), Y, 0.0, 1.0), "mu to be a number"),
    "complex numbers": (lambda: functional.entropy(Y + 1j), "log_probs to be a number"),
    "a huge integer": (lambda: dq.GaussianPrior(sigma=10**400), "an integer of 1329 bits"),
    "a sigma that is 0 in float32": (lambda: dq.GaussianPrior(sigma=1e-45), "finite and above zero"),
    "shapes that do not broadcast": (lambda: functional.gaussian_log_prob(Y, np.zeros((3, 1)), 1.0), "that broadcast"),
    "a mean of nothing": (lambda: functional.mean_squared_error(Y[:0], Y[:0]), "at least one example"),
    "a list as an estimator": (
        lambda: dq.BayesianLinear(1, 1, estimator=[], rngs=nnx.Rngs(0)),
        "estimator to be one of",
    ),
    "a deprecated name of bytes as a dtype": (lambda: functional.empty_moments((), "a"), "dtype of real numbers"),
    "an array as a flag": (lambda: dq.ELBO(2, antithetic=Y), "antithetic to be True or False"),
    "weights of another length": (
        lambda: dq.Weighted(dq.Gaussian(1.0))(Y, (Y, jnp.ones(3))),
        "the mask or weights in y to hold one entry per example",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=rf"^Expected .*{message}"):
        call()
