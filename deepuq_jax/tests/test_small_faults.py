"""Tests for small faults in the code that no test had found. `python -m benchmarks mutants` makes such faults."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

import deepuq_jax as dq
from deepuq_jax import metrics
from deepuq_jax.estimators.base import Estimator
from deepuq_jax.functional.counts import negative_binomial_cdf, poisson_cdf
from deepuq_jax.functional.moments import empty_moments, merge_moments, update_moments, variance
from deepuq_jax.functional.student_t import student_t_cdf
from deepuq_jax.likelihoods.mixture import PredictiveMixture
from deepuq_jax.likelihoods.rescaled import Rescaled
from deepuq_jax.noise import noise_source, normal_like
from deepuq_jax.noise.threefry import threefry_normal
from deepuq_jax.objectives.objective import VariationalObjective
from deepuq_jax.priors.base import OwnPrior
from deepuq_jax.priors.defaults import LayerDefault
from deepuq_jax.priors.rules import below
from deepuq_jax.priors.tree import priors_for

LIKELIHOODS = (dq.Gaussian(0.5), dq.LogNormal(0.5), dq.StudentT(), dq.Poisson())


class CallablePrior:
    """A prior that is also callable, as the distributions of NumPyro are."""

    def log_prob(self, w):
        return -0.5 * jnp.sum(w**2)

    def __call__(self, *_):
        raise AssertionError("a prior is not a rule")


def test_a_callable_with_a_density_is_a_prior_and_not_a_rule():
    prior: Any = CallablePrior()
    assert below(prior, "layers.0") is prior
    held = priors_for(prior, {"kernel": jnp.zeros(2)})
    assert float(held.log_prob(jnp.ones(2))) == -1.0


@pytest.mark.parametrize("prior", [0.1, dq.GaussianPrior])
def test_numbers_and_classes_are_no_priors(prior):
    with pytest.raises(TypeError, match=r"Expected prior to have a method log_prob\(w\)"):
        priors_for(prior, {"kernel": jnp.zeros(2)})


def test_a_posterior_asks_an_own_prior_for_its_closed_form():
    posterior = dq.MeanField.init({"w": jnp.zeros(2)}, 0.1)
    assert not posterior.has_closed_form_kl(CallablePrior())
    assert posterior.has_closed_form_kl(dq.GaussianPrior())


def test_an_estimator_defines_both_methods():
    class Half(Estimator):
        def __call__(self, op, x, kernel, bias, noise):
            return x

    class OtherHalf(Estimator):
        def draw_noise(self, op, x, kernel, bias, *, key):
            return None

    for kind in (Half, OtherHalf):
        with pytest.raises(TypeError, match="abstract"):
            kind()


def test_an_objective_defines_its_call():
    class Uncallable(VariationalObjective):
        """An objective that lacks its call."""

    with pytest.raises(TypeError, match="abstract"):
        Uncallable()


def test_distribution_functions_of_large_counts(x64):
    mean = 1e6
    t = np.asarray([mean - 2 * mean**0.5, mean + mean**0.5, mean + 3 * mean**0.5])
    log_mean = jnp.log(jnp.full(3, mean))
    np.testing.assert_allclose(poisson_cdf(log_mean, t), scipy.stats.poisson.cdf(t, mean), rtol=1e-6)
    found = negative_binomial_cdf(log_mean, jnp.full(3, 1e-6), t)
    np.testing.assert_allclose(found, scipy.stats.nbinom.cdf(t, 1e6, 1 / (1 + 1e-6 * mean)), rtol=1e-6)


@pytest.mark.parametrize("z", [0.0, 1e-25, 1e-8, 1e-3])
def test_the_distribution_function_of_student_t_is_smooth_at_its_centre(z):
    slope = jax.grad(lambda z: student_t_cdf(z, jnp.float32(4.0)))(jnp.float32(z))
    np.testing.assert_allclose(slope, scipy.stats.t.pdf(z, 4.0), rtol=1e-4)


def test_labels_out_of_range_are_found_where_outputs_have_several_axes():
    """The number of classes is the size of the last axis, so the label 4 of five classes is in range."""
    outputs = jnp.zeros((2, 3, 5))
    inside = jax.jit(dq.Categorical().log_prob)(outputs, jnp.full((2, 3), 4))
    assert bool(jnp.isfinite(inside).all())


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("method", ["moments", "sample", "cdf", "log_prob_per_target"])
def test_outputs_without_axes_are_refused(likelihood, method, key):
    zero = jnp.zeros(())
    arguments = {"sample": {"key": key}, "cdf": {"t": zero}, "log_prob_per_target": {"y": zero}}.get(method, {})
    with pytest.raises(ValueError, match="Expected outputs"):
        getattr(likelihood, method)(jnp.zeros(()), **arguments)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("name", ["outputs", "y"])
def test_a_density_of_complex_numbers_is_refused(likelihood, name):
    arguments = {"outputs": jnp.ones((2, 3)), "y": jnp.ones((2, 3)), name: jnp.ones((2, 3), jnp.complex64)}
    with pytest.raises(TypeError, match=f"Expected {name} to be a number or an array of real numbers"):
        likelihood.log_prob_per_target(**arguments)


def test_moments_of_outputs_with_one_axis():
    mean, var = dq.Gaussian(0.5).moments(jnp.arange(3.0))
    assert mean.shape == var.shape == (3,)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_targets_of_outputs_with_one_axis(likelihood, key):
    outputs = jnp.full(3, 0.5)
    drawn = likelihood.sample(outputs, key=key)
    assert drawn.shape == likelihood.moments(outputs)[0].shape
    assert likelihood.cdf(outputs, drawn).shape == drawn.shape


def test_the_state_of_an_objective_is_that_of_its_last_draw(key):
    class Counted(nnx.Module):
        """A network whose state is the last word of the key that it was called with."""

        def __init__(self):
            self.layer = dq.BayesianLinear(1, 1, rngs=nnx.Rngs(0))
            self.seen = nnx.BatchStat(jnp.zeros((), jnp.uint32))

        def __call__(self, x, *, key=None):
            if key is not None:
                self.seen[...] = jax.random.key_data(key)[-1]
            return self.layer(x, key=key)

    objective = dq.ELBO(2, log_likelihood=dq.Gaussian(1.0), mc_samples=3)
    _, terms = objective(Counted(), jnp.ones((2, 1)), jnp.ones((2, 1)), key=key)
    last = jax.random.key_data(jax.random.fold_in(key, 2))[-1]
    assert [int(leaf) for leaf in jax.tree.leaves(terms.state)] == [int(last)]


def test_rescaled_targets_are_divided_by_their_scale():
    targets = np.asarray([[1.0], [2.0], [4.5]], np.float32)
    model = dq.BayesByBackpropMLP(1, (), 1, likelihood=dq.Gaussian(0.5), rngs=nnx.Rngs(0))
    rescaled = dq.Standardized(model, targets, targets).likelihood
    z = (targets - targets.mean()) / targets.std()
    expected = dq.Gaussian(0.5).log_prob(jnp.zeros((3, 1)), z) - np.log(targets.std())
    np.testing.assert_allclose(rescaled.log_prob(jnp.zeros((3, 1)), targets), expected, rtol=1e-5)


def test_moments_of_a_model_of_unknown_noise_need_no_key():
    model = dq.MultiOutputBayesByBackpropRegressor(2, 1, (3,), rngs=nnx.Rngs(0))
    result = dq.predict_vi_uq(model, jnp.ones((4, 2)), method="moments")
    assert result.aleatoric_var is None
    assert bool(jnp.isfinite(result.epistemic_var).all())


def test_only_likelihoods_that_are_not_gaussian_keep_a_mixture(key):
    x = jnp.ones((4, 2))
    for likelihood, keeps in ((dq.Gaussian(0.5), False), (dq.StudentT(), True)):
        model = dq.BayesByBackpropMLP(2, (3,), 3, likelihood=likelihood, rngs=nnx.Rngs(0))
        mixture = dq.predict_vi_uq(model, x, key=key, n_samples=4).mixture
        assert (mixture is not None) == keeps


def test_a_single_array_is_no_pair_of_moments():
    with pytest.raises(TypeError, match=r"Expected prediction to be a UQResult or a pair \(mean, var\)"):
        dq.metrics.crps((jnp.zeros(2),), jnp.zeros(2))


def test_the_ends_belong_to_an_interval():
    certain = jnp.arange(3.0), jnp.zeros(3)
    assert float(dq.metrics.interval_coverage(certain, jnp.arange(3.0))) == 1.0


@pytest.mark.slow
def test_an_own_objective_gets_the_number_of_the_step(key):
    def loss(model, x, y, *, key, step):
        value = jnp.asarray(step, jnp.float32)
        return value, dq.ELBOTerms(loss=value, nll=value, kl=model.kl())

    model = dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0))
    optimizer = dq.natural_gradient(num_data=4)
    state = dq.TrainState.create(model, optimizer)
    for step in range(2):
        state, terms = dq.train_step(
            state, jnp.ones((4, 2)), jnp.ones((4, 1)), key=key, objective=loss, optimizer=optimizer
        )
        assert float(terms.loss) == step


def test_merged_moments_are_those_of_all_numbers():
    numbers = np.asarray([[1.0, 2.0], [4.0, -1.0], [0.5, 3.0], [2.0, 2.5], [7.0, 0.0]])

    def moments_of(rows):
        moments = empty_moments((2,), jnp.float32)
        for row in rows:
            moments = update_moments(moments, jnp.asarray(row, jnp.float32))
        return moments

    merged = merge_moments(moments_of(numbers[:2]), moments_of(numbers[2:]))
    np.testing.assert_allclose(merged.mean, numbers.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance(merged), numbers.var(0), rtol=1e-6)


def test_log_normal_checks_its_arrays():
    with pytest.raises(TypeError, match="Expected y to be a number or an array of real numbers"):
        dq.LogNormal(0.5).log_prob_per_target(jnp.zeros((1, 1)), [[1.0]])


def test_the_distribution_function_of_log_normal_is_flat_below_zero():
    slope = jax.grad(lambda t: dq.LogNormal(0.5).cdf(jnp.zeros((1, 1)), t).sum())
    np.testing.assert_array_equal(slope(jnp.asarray([[-1.0]])), [[0.0]])


def test_a_mask_that_is_known_goes_with_targets_that_are_traced():
    mask = np.asarray([[True, False], [True, True]])
    masked = dq.Masked(dq.Gaussian(1.0))

    def total(y):
        return masked.log_prob(jnp.zeros((2, 2)), (y, mask)).sum()

    y = jnp.asarray([[0.5, jnp.nan], [1.0, 2.0]])
    expected = scipy.stats.norm.logpdf([0.5, 1.0, 2.0]).sum()
    np.testing.assert_allclose([total(y), jax.jit(total)(y)], [expected] * 2, rtol=1e-6)


def test_rescaled_targets_of_several_positions_count_each_position():
    rescaled = Rescaled(dq.Gaussian(0.5), (1.0, 2.0), (3.0, 4.0))
    y = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    outputs = jnp.zeros((2, 3, 2))
    np.testing.assert_allclose(
        rescaled.log_prob(outputs, y), rescaled.log_prob_per_target(outputs, y).sum((1, 2)), rtol=1e-6
    )


def test_a_mixture_whose_variance_has_another_shape_than_its_mean_has_quantiles():
    class OneVariance(dq.LogNormal):
        """A likelihood that gives one variance for all targets of an example."""

        def moments(self, outputs):
            mean, var = super().moments(outputs)
            return mean, var.mean(-1, keepdims=True)

    mixture = PredictiveMixture(jnp.zeros((4, 2, 3)), OneVariance(0.5))
    np.testing.assert_allclose(mixture.quantile(0.5), np.ones((4, 3)), rtol=1e-4)


def test_arrays_in_an_own_prior_are_leaves():
    sigma = jnp.asarray(0.5)
    assert [float(leaf) for leaf in jax.tree.leaves(OwnPrior(dq.GaussianPrior(sigma=sigma)))] == [0.5]


def test_the_default_prior_of_a_layer_cannot_be_changed():
    rule: Any = LayerDefault(4.0)
    with pytest.raises(FrozenInstanceError):
        rule.gain = 2.0


def test_antithetic_draws_come_in_pairs(key):
    with pytest.raises(ValueError, match="Expected the number of draws to be even with antithetic=True; got 3"):
        noise_source(key, None, 3, antithetic=True)


def test_noise_is_computed_by_threefry_from_the_words_of_its_key(key):
    expected = threefry_normal(jax.random.key_data(key), shape=(2, 3), tag=0)
    np.testing.assert_array_equal(normal_like(key, jnp.zeros((2, 3))), expected)


def test_an_interval_is_that_of_95_percent_by_default():
    prediction = jnp.zeros((3, 1)), jnp.ones((3, 1))
    width = metrics.interval_width(prediction)
    np.testing.assert_array_equal(width, metrics.interval_width(prediction, level=0.95))


@pytest.mark.parametrize(("fair", "least"), [(False, 1), (True, 2)])
def test_scores_of_draws_say_how_many_they_need(fair, least):
    with pytest.raises(ValueError, match=f"Expected draws to hold at least {least}; got {least - 1}"):
        metrics.crps_from_draws(jnp.zeros((least - 1, 2)), jnp.zeros(2), fair=fair)
