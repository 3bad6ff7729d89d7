"""The defaults of `fit`: the optimizer, the number of steps, and the weight of the KL."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.datasets import make_friedman1

import deepuq_jax as dq
from deepuq_jax.tests.profiles import small_profile
from deepuq_jax.tests.test_fit import SHARED, data, parabola, with_square
from deepuq_jax.training import _defaults


class WithoutLength:
    """An iterable without a length."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def classified():
    """Build a classifier with one layer for `data`, whose labels are the signs of its targets."""
    return dq.Sequential(with_square, dq.BayesianLinear(2, 2, rngs=nnx.Rngs(0)), likelihood=dq.Categorical())


def own_objective(model, x, y, *, key, step=0):
    return dq.ELBO(256)(model, x, y, key=key)


ADAM = optax.adam(optax.cosine_decay_schedule(5e-3, 6))
NATURAL = dq.natural_gradient(optax.cosine_decay_schedule(0.2, 6), beta2=1 - 4 / 6, initial_precision=1.0, rest=ADAM)
# Each objective with its default optimizer in classification.
DEFAULTS = {
    "ELBO": (dq.ELBO(), NATURAL),
    "ELBO with class weights": (dq.ELBO(log_likelihood=dq.Categorical(class_weights=(1.0, 2.0))), NATURAL),
    "own function": (own_objective, ADAM),
    "DocumentedELBO": (dq.DocumentedELBO(2), ADAM),
}


@pytest.fixture
def short(monkeypatch):
    """Let `fit` train for three epochs of two steps by default, and return the data."""
    monkeypatch.setattr(_defaults, "STEPS", 6)
    monkeypatch.setattr(_defaults, "EPOCHS", 3)
    x, y = data(256)
    return x, (y[:, 0] > 0).astype(np.int32)


@pytest.mark.slow
@pytest.mark.parametrize("name", small_profile(DEFAULTS, ["ELBO", "own function"]))
def test_in_classification_the_default_optimizer_depends_on_the_objective(name, key, short):
    objective, optimizer = DEFAULTS[name]
    default = dq.fit(classified(), *short, key=key, objective=objective)
    named = dq.fit(classified(), *short, key=key, objective=objective, optimizer=optimizer, epochs=3)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(default.model), nnx.state(named.model))


@pytest.mark.slow
def test_by_default_the_weight_of_the_kl_is_one_in_classification(key, short):
    assert dq.fit(classified(), *short, key=key).history["kl_weight"].tolist() == [1.0] * 3


@pytest.mark.slow
def test_natural_gradients_train_a_classifier_for_an_unknown_number_of_steps(key, short):
    x, y = short
    # If the length of an epoch is unknown, neither the rate nor the decay depends on the number of steps.
    constant = dq.natural_gradient(0.2, beta2=0.9995, initial_precision=1.0, rest=optax.adam(5e-3))
    batches, objective = [(x[:128], y[:128]), (x[128:], y[128:])], dq.ELBO(256)
    unsized = dq.fit(classified(), WithoutLength(batches), key=key, objective=objective)
    named = dq.fit(classified(), WithoutLength(batches), key=key, objective=objective, optimizer=constant, epochs=3)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(unsized.model), nnx.state(named.model))


@pytest.mark.slow
def test_by_default_the_number_of_steps_is_fixed_and_the_rate_falls_to_zero(key, monkeypatch):
    monkeypatch.setattr(_defaults, "STEPS", 6)
    monkeypatch.setattr(_defaults, "EPOCHS", 3)
    x, y = data(256)  # These are two batches of the default size.
    default = dq.fit(parabola(), x, y, key=key)
    assert len(default.history["loss"]) == 3
    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, 6))
    named = dq.fit(parabola(), x, y, key=key, optimizer=optimizer, epochs=3)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(default.model), nnx.state(named.model))
    batches = [(x[:128], y[:128]), (x[128:], y[128:])]
    sized = dq.fit(parabola(), batches, key=key, objective=dq.ELBO(256))
    assert len(sized.history["loss"]) == 3
    unsized = dq.fit(parabola(), WithoutLength(batches), key=key, objective=dq.ELBO(256))

    # Without a length, the number of steps is unknown, so the learning rate does not fall and later steps are larger.
    def moved(fitted):
        return np.abs(fitted.model.layers[1].kernel_posterior.mu - parabola().layers[1].kernel_posterior.mu).sum()

    assert len(unsized.history["loss"]) == 3
    assert moved(unsized) > moved(sized)


def test_by_default_the_weight_of_the_kl_rises_over_three_quarters_of_the_steps(key):
    x, y = data()
    options = dict(key=key, epochs=8, **SHARED)
    default = dq.fit(parabola(), x, y, **options)
    named = dq.fit(parabola(), x, y, objective=dq.ELBO(kl_weight=dq.schedules.linear(12)), **options)
    for a, b in zip(jax.tree.leaves(default.model), jax.tree.leaves(named.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    loss, nll, kl = (default.history[name] for name in ("loss", "nll", "kl"))
    weight = (loss - nll) / (kl / 50)
    # An epoch has two steps, so each entry of the history is a mean of two weights.
    np.testing.assert_allclose(weight[:6], (4 * np.arange(6) + 1) / 24, atol=1e-3)
    np.testing.assert_allclose(weight[6:], 1.0, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Homoscedastic", "Heteroscedastic"])
def test_the_regressors_with_learned_noise_train_by_natural_gradients(name, key):
    x, y = data()
    regressor = getattr(dq, f"{name}BayesByBackpropRegressor")(1, (4,), rngs=nnx.Rngs(0))
    options = dict(key=key, epochs=8, batch_size=32)  # An epoch has two steps.
    default = dq.fit(regressor, x, y, **options)
    adam = optax.adam(optax.cosine_decay_schedule(5e-3, 16))
    natural = dq.natural_gradient(initial_precision=0.3, mean_limit=0.1, rest=adam)
    pooled = dq.schedules.linear(8) if name == "Heteroscedastic" else None
    objective = dq.ELBO(kl_weight=dq.schedules.linear(4), heteroscedasticity=pooled)
    named = dq.fit(regressor, x, y, optimizer=natural, objective=objective, **options)
    for a, b in zip(jax.tree.leaves(default.model), jax.tree.leaves(named.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("sampled", [(0, 2), (2,)])
def test_a_regressor_that_samples_weights_in_some_layer_trains_by_adam(sampled, key):
    x, y = data()
    regressor = dq.HomoscedasticBayesByBackpropRegressor(1, (4,), rngs=nnx.Rngs(0))
    for i in sampled:
        regressor.layers[i].estimator = nnx.static(dq.weight_sampling)
    options = dict(key=key, epochs=2, batch_size=32)
    default = dq.fit(regressor, x, y, **options)
    named = dq.fit(regressor, x, y, optimizer=optax.adam(optax.cosine_decay_schedule(5e-3, 4)), **options)
    for a, b in zip(jax.tree.leaves(default.model), jax.tree.leaves(named.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_weight_of_the_kl_is_always_one_if_early_stopping_may_end_the_fit(key):
    x, y = data()
    options = dict(key=key, epochs=2, **SHARED)
    history = dq.fit(parabola(), x, y, patience=2, validation_data=(x, y), **options).history
    np.testing.assert_allclose(history["loss"], history["nll"] + history["kl"] / 50, rtol=1e-5)


@pytest.mark.long
def test_the_warm_up_improves_the_held_out_density(key):
    """Without a warm-up, the KL prunes units that this regression needs."""
    x, y = make_friedman1(400, 10, noise=0.1, random_state=0)
    x, y = np.float32((x - x.mean(0)) / x.std(0)), np.float32((y - y.mean()) / y.std())[:, None]

    def held_out_density(**options):
        model = dq.HomoscedasticBayesByBackpropRegressor(10, (50,), estimator=dq.weight_sampling, rngs=nnx.Rngs(0))
        model = dq.fit(model, x[:300], y[:300], key=key, epochs=500, **options).model
        return float(dq.log_predictive_density(model, x[300:], y[300:], key=key, n_samples=50).mean())

    assert held_out_density() > held_out_density(objective=dq.ELBO()) + 0.2
