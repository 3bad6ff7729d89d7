"""Natural gradients: where training starts, and the settings and units that are refused."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.model.variables import VariableTree
from deepuq_jax.tests.test_natural_gradient import NOISE, N, data, layer
from deepuq_jax.training._scale import ScaleWarning


def test_no_posterior_starts_wider_than_the_initial_precision(key):
    """The precision is at least N * initial_precision, so sigma is at most 1 / sqrt(24 * 600) = 1 / 120."""
    x, y = data()
    model, optimizer = layer(), dq.natural_gradient(num_data=N, initial_precision=600.0)
    narrow = jnp.full(1, dq.functional.rho_from_sigma(1e-3))
    model.bias_posterior = VariableTree(dq.GaussianPosterior(model.bias_posterior.mu[...], narrow), nnx.Param)
    started = dq.TrainState.create(model, optimizer).model
    np.testing.assert_allclose(started.kernel_posterior.sigma, 1 / 120, rtol=1e-6)
    np.testing.assert_allclose(started.bias_posterior.sigma, 1e-3, rtol=1e-6)
    np.testing.assert_array_equal(started.kernel_posterior.mu, model.kernel_posterior.mu)
    with pytest.raises(ValueError, match=r"Expected initial_precision to be set by TrainState\.create"):
        dq.TrainState.create(model, optax.chain(optimizer))
    dq.TrainState.create(started, optax.chain(optimizer))
    open_size = dq.natural_gradient(initial_precision=600.0)
    with pytest.raises(ValueError, match="Expected num_data with initial_precision"):
        dq.TrainState.create(model, open_size)
    options = dict(key=key, objective=dq.ELBO(log_likelihood=NOISE), epochs=1)
    after = dq.fit(model, x, y, optimizer=open_size, **options).model
    np.testing.assert_allclose(after.kernel_posterior.sigma, 1 / 120, rtol=0.1)


def test_a_start_that_is_far_too_wide_is_warned_of():
    optimizer = dq.natural_gradient(num_data=100_000)
    with pytest.warns(ScaleWarning, match=r"sigma of 0\.05, wide for 100000 examples: .*initial_precision=1\.0"):
        dq.TrainState.create(layer(sigma_init=0.05), optimizer)
    dq.TrainState.create(layer(sigma_init=0.005), optimizer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(learning_rate=0.0), "Expected learning_rate to be above zero; got 0.0"),
        (dict(beta1=1.0), "Expected beta1 to be at least 0 and below 1; got 1.0"),
        (dict(beta2=-0.1), "Expected beta2 to be at least 0 and below 1; got -0.1"),
        (dict(mean_limit=0.0), "Expected mean_limit to be above zero; got 0.0"),
        (dict(precision_limit=-1.0), "Expected precision_limit to be above zero; got -1.0"),
        (dict(num_data=0), "Expected num_data"),
        (dict(initial_precision=-1.0), "Expected initial_precision"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dq.natural_gradient(**options)


def test_units_that_are_unknown_are_refused(key):
    x, y = data()
    params, _ = dq.partition(layer())
    optimizer = dq.natural_gradient()
    with pytest.raises(ValueError, match=r"Expected num_data .* natural_gradient\(num_data=N\); got None"):
        optimizer.update(params, optimizer.init(params), params)
    with pytest.raises(ValueError, match=r"Expected params in optimizer\.update"):
        optimizer.update(params, optimizer.init(params))
    objective = dq.DocumentedELBO(1, criterion=lambda outputs, y: jnp.mean(jnp.square(outputs - y)))
    options = dict(key=key, objective=objective, optimizer=dq.natural_gradient(num_data=N))
    with pytest.raises(ValueError, match="Expected objective to be an ELBO"):
        dq.fit(layer(), x, y, epochs=1, **options)
    with pytest.raises(ValueError, match="Expected params to hold a posterior"):
        optimizer.init(dq.partition(nnx.Linear(2, 1, rngs=nnx.Rngs(0)))[0])
