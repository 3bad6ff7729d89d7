"""Mistakes that once passed silently, or ended in an error that did not say what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq

N = 8


def classifier():
    return dq.BayesByBackpropMLP(2, (), 3, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))


def regression():
    model = dq.BayesByBackpropMLP(2, (), 1, likelihood=dq.Gaussian(0.5), rngs=nnx.Rngs(0))
    return model, jnp.ones((N, 2)), jnp.ones((N, 1))


def bernoulli(y):
    return dq.Bernoulli()(jnp.ones((N, 1)), y)


def poisson(y):
    return dq.Poisson()(jnp.ones((N, 1)), y[:, None])


def negative_binomial(y):
    return dq.NegativeBinomial(0.5)(jnp.ones((N, 1)), y[:, None])


@pytest.mark.parametrize("label", [3, -1])
@pytest.mark.parametrize("likelihood", [dq.Categorical(), dq.Categorical(label_smoothing=0.1)])
def test_labels_out_of_range_are_nan_under_jit(likelihood, label, key):
    """They once scored 0, like a perfect prediction. Outside of `jit` they are refused."""
    y = jnp.ones(N, int).at[0].set(label)
    scores = jax.jit(likelihood)(classifier()(jnp.ones((N, 2))), y)
    assert jnp.isnan(scores[0])
    assert jnp.isfinite(scores[1:]).all()


@pytest.mark.parametrize("score", [bernoulli, poisson, negative_binomial])
def test_targets_that_are_no_labels_or_counts_are_nan_under_jit(score):
    y = jnp.array([0, 1, 1, 0, 1, 0, 0, -1])
    found = jax.jit(score)(y)
    assert jnp.isnan(found[-1])
    np.testing.assert_allclose(found[:-1], score(y.at[-1].set(0))[:-1], rtol=1e-5)


@pytest.mark.parametrize(
    "objective", [dq.ELBO(N, dq.schedules.linear(9)), dq.DocumentedELBO(1, dq.schedules.linear(9))]
)
def test_a_scheduled_weight_without_a_step_is_refused(objective, key):
    """The weight once stayed at its first value, 0."""
    model, x, y = regression()
    with pytest.raises(ValueError, match=r"Expected step with a kl_weight that is a schedule, .* step=i\); got None"):
        objective(model, x, y, key=key)
    assert float(objective(model, x, y, key=key, step=9)[1].kl_weight) == 1.0


def test_fewer_examples_than_the_batch_holds_are_refused(key):
    model, x, y = regression()
    with pytest.raises(
        ValueError, match=r"Expected num_data to be the number of examples .* at least the 8 in x; got 7"
    ):
        dq.ELBO(N - 1)(model, x, y, key=key)


def test_model_and_data_in_the_wrong_order_are_refused(key):
    model, x, y = regression()
    for objective in (dq.ELBO(N), dq.DocumentedELBO(1)):
        with pytest.raises(TypeError, match="Pass the model first, then the data"):
            objective(x, model, y, key=key)


def test_a_prior_of_a_whole_model_is_refused_after_construction():
    """No layer would read such a prior."""
    model = dq.BayesByBackpropMLP(2, (3,), 1, rngs=nnx.Rngs(0))
    with pytest.raises(
        AttributeError, match=r"Expected prior in the constructor, or of a layer, .*; got an assignment"
    ):
        model.prior = dq.GaussianPrior(sigma=0.1)
    before = float(model.kl())
    model.layers[0].prior = dq.GaussianPrior(sigma=0.1)
    assert float(model.kl()) != before


def test_the_documented_name_of_the_prior_is_refused_with_the_name_to_use():
    with pytest.raises(TypeError, match=r"Expected prior as in prior=GaussianPrior\(sigma=0\.1\); got prior_sigma"):
        dq.BayesByBackpropMLP(2, (3,), 1, prior_sigma=1.0, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("rest", ["adam", optax.adam])
def test_the_inner_optimizer_of_natural_gradients_is_checked(rest):
    with pytest.raises(TypeError, match="Expected rest to be an optax optimizer"):
        dq.natural_gradient(rest=rest)


def test_natural_gradients_for_another_number_of_examples_are_refused(key):
    model, x, y = regression()
    with pytest.raises(ValueError, match="Expected num_data to be the 8 of the objective; got 10"):
        dq.fit(model, x, y, key=key, epochs=1, optimizer=dq.natural_gradient(num_data=10))


def test_other_types_are_refused_by_name(key):
    model, x, y = regression()
    with pytest.raises(TypeError, match=r"Expected validation_data to be a pair \(x, y\); got float 0\.2"):
        dq.fit(model, x, y, key=key, epochs=1, validation_data=0.2)
    with pytest.raises(TypeError, match=r"Expected state to be a TrainState, .*; got BayesByBackpropMLP"):
        dq.train_step(model, x, y, key=key, objective=dq.ELBO(N), optimizer=optax.sgd(0.1))


class WithoutKey(nnx.Module):
    """An own class whose call takes no key."""

    def __init__(self):
        self.layer = dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.layer(x)


def test_a_class_whose_call_takes_no_key_is_refused(key):
    _, x, y = regression()
    with pytest.raises(TypeError, match=r"Expected model to take a key, as in __call__\(self, x, \*, key=None\); got"):
        dq.fit(WithoutKey(), x, y, key=key, objective=dq.ELBO(log_likelihood=dq.Gaussian(1.0)))


def test_messages_say_how_to_reshape_and_which_entry_is_no_number():
    with pytest.raises(ValueError, match=r"got float32\[3\]\. Use y\[\.\.\., None\]\."):
        dq.metrics.interval_coverage(dq.UQResult(mean=jnp.ones((3, 1)), total_var=jnp.ones((3, 1))), jnp.ones(3))
    model, _, y = regression()
    with pytest.raises(TypeError, match="Expected x to hold numbers; got entries such as 'red'"):
        dq.fit(model, Frame(np.array([[0.5, "red"]] * N, object)), y, key=jax.random.key(0))


class Frame:
    """A data frame, with the one method that the package calls."""

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return np.asarray(self.values)


@pytest.mark.slow
def test_diagnose_takes_data_frames(key):
    model, x, y = regression()
    health = dq.diagnose(model, Frame(x), Frame(y), key=key, n_samples=100)
    assert health.num_data == N
