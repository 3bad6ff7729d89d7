"""The KL per weight adds up to the whole KL, for every prior and every kind of model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax import priors
from deepuq_jax.diagnostics.weights import kl_per_weight, weight_tensors
from deepuq_jax.tests import tolerances
from deepuq_jax.tests.test_contracts import OpaquePrior
from deepuq_jax.tests.test_diagnostics import NOISE, TwoHeads, linear

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow


# The names in `priors` that are not classes are rules, which assign priors.
@pytest.mark.parametrize(
    "prior_class", [getattr(priors, n) for n in priors.__all__ if isinstance(getattr(priors, n), type)]
)
def test_kl_per_weight_adds_up_to_the_kl(prior_class, key):
    model = dq.BayesianLinear(3, 2, prior=prior_class(), sigma_init=0.2, rngs=nnx.Rngs(0))
    per_weight = jax.jit(lambda model: [kl_per_weight(tensor) for tensor in weight_tensors(model)])
    total = sum(float(np.sum(kl)) for kl in per_weight(model))
    if model.has_closed_form_kl:
        np.testing.assert_allclose(total, jax.jit(lambda model: model.kl())(model), rtol=tolerances.SUMS["float32"])
    else:
        draws = np.asarray(jax.jit(jax.vmap(model.kl))(jax.random.split(key, 20_000)))
        error = tolerances.STANDARD_ERRORS * draws.std() / np.sqrt(draws.size)
        assert abs(total - draws.mean()) < error + 0.01 * abs(total)


def test_kl_per_weight_without_a_closed_form_and_with_one_prior_per_weight(x64):
    mean, sigma = jnp.array([0.0, 1.0, -2.0]), jnp.array([0.5, 0.1, 1.0])
    exact = kl_per_weight(*weight_tensors(linear(mean, sigma, dq.GaussianPrior(0.0, 0.5))))
    opaque = kl_per_weight(*weight_tensors(linear(mean, sigma, OpaquePrior())))
    np.testing.assert_allclose(opaque, exact, rtol=1e-9, atol=1e-12)
    centred = kl_per_weight(*weight_tensors(linear(mean, sigma, dq.GaussianPrior(mean[:, None], sigma[:, None]))))
    np.testing.assert_allclose(centred, 0.0, atol=1e-12)


class Centred(nnx.Module):
    """Weights whose prior lies around a given centre."""

    def __init__(self, mean, sigma, centre):
        self.posterior = nnx.Param(dq.MeanField.init({"w": mean}, sigma))
        self.prior, self.centre = nnx.static(dq.GaussianPrior(0.0, 0.5)), nnx.Variable({"w": centre})

    def __call__(self, x, *, key=None):
        q = self.posterior.get_value()
        return x @ (q.mean() if key is None else q.sample(key=key))["w"]

    def draw(self, *, key):
        return dq.bayesianize((lambda w, x: x @ w, self.posterior.get_value().sample(key=key)["w"]))

    def kl(self, key=None):
        q = self.posterior.get_value()
        moved = dataclasses.replace(q, mu={"w": q.mu["w"] - self.centre.get_value()["w"]})
        return moved.kl(self.prior, key=key)


def test_a_centred_prior_is_recognized_and_a_kl_with_other_terms_is_reported(key):
    model, x = Centred(jnp.ones((2, 1)), 0.2, jnp.full((2, 1), 1.3)), jnp.ones((4, 2))
    options = dict(key=key, n_samples=100, log_likelihood=dq.Gaussian(NOISE))
    health = dq.diagnose(model, x, x[:, :1], **options)
    np.testing.assert_allclose(health.layers[0].kl, model.kl(), rtol=1e-5)
    assert not any("adds up" in finding for finding in health.findings)
    model.centre = nnx.Variable({"w": jnp.zeros((2, 1))})
    plain = dq.diagnose(model, x, x[:, :1], **options)
    assert plain.kl > health.kl + 1

    class More(Centred):
        def kl(self, key=None):
            return super().kl(key) + 3.0

    more = dq.diagnose(More(jnp.ones((2, 1)), 0.2, jnp.ones((2, 1))), x, x[:, :1], **options)
    assert "adds up" in more.findings[0]


def test_paths_of_every_kind_of_model():
    def paths(model):
        return [tensor.path for tensor in weight_tensors(model)]

    assert paths(dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0))) == ["kernel", "bias"]
    net = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(3, 1, rngs=nnx.Rngs(0)))
    assert paths(dq.bayesianize(net)) == [f"layers.{i}.{name}" for i in (0, 2) for name in ("bias", "kernel")]
    assert paths(TwoHeads(dq.GaussianPrior())) == [f"heads.{h}.{name}" for h in "ab" for name in ("kernel", "bias")]
    inner = dq.Sequential(dq.BayesianLinear(2, 2, rngs=nnx.Rngs(0)), jnp.tanh)
    nested = dq.Sequential(inner, dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0)))
    assert [tensor.layer for tensor in weight_tensors(nested)] == ["layers.0.layers.0"] * 2 + ["layers.1"] * 2
    with pytest.raises(ValueError, match="mean-field posterior"):
        weight_tensors(nnx.Linear(2, 1, rngs=nnx.Rngs(0)))
