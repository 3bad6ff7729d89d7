"""The choice of a prior by held-out data, by name and as a default of `fit`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.priors.defaults import LayerDefault
from deepuq_jax.tests.profiles import small_profile
from deepuq_jax.training import _automatic, _defaults, prior_choice

SHORT = {"epochs": 3, "batch_size": 32}


@pytest.fixture
def key():
    return jax.random.key(3)


def classifier(**options):
    return dq.BayesByBackpropMLP(2, (4,), 2, likelihood=dq.Categorical(), rngs=nnx.Rngs(0), **options)


def labels(size=100):
    x = np.random.default_rng(0).normal(size=(size, 2)).astype(np.float32)
    return x, (x.sum(1) > 0).astype(np.int32)


def priors_of(model):
    return [layer.prior for layer in model.layers if isinstance(layer, dq.BayesianLinear)]


@pytest.mark.slow
def test_scores_are_those_of_fit_on_a_part_and_of_the_density_of_the_others(key):
    x, y = labels()
    priors = {"narrow": dq.GaussianPrior(sigma=0.1), "wide": dq.fan_in_gaussian(6.0)}
    choice = dq.choose_prior(classifier(), x, y, key=key, priors=priors, held_out=0.25, divisions=2, **SHORT)
    expected = dict.fromkeys(priors, 0.0)
    for own in (jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)):
        rows = np.asarray(jax.random.permutation(jax.random.fold_in(own, prior_choice._DIVISION), 100))
        scored, rest = np.sort(rows[:25]), np.sort(rows[25:])
        for name, prior in priors.items():
            model = dq.fit(classifier(prior=prior), x[rest], y[rest], key=own, **SHORT).model
            density = dq.log_predictive_density(model, x[scored], y[scored], key=own, n_samples=50)
            expected[name] -= float(density.mean()) / 2
    assert choice.scores == pytest.approx(expected, rel=1e-5)
    assert choice.best == min(expected, key=expected.get)
    untrained = classifier(prior=priors[choice.best])
    jax.tree.map(np.testing.assert_array_equal, nnx.state(choice.model), nnx.state(untrained))


@pytest.mark.slow
def test_priors_of_arrays_share_a_program(key, compilations):
    x, y = labels()

    def choose(*gains):
        priors = {str(gain): dq.fan_in_gaussian(jnp.asarray(gain)) for gain in gains}
        dq.choose_prior(classifier(), x, y, key=key, priors=priors, **SHORT)
        return len(compilations)

    before = choose(2.0)
    assert choose(3.0, 4.0, 5.0) == before


@pytest.mark.slow
def test_a_training_that_is_not_finite_is_never_the_best(key):
    x, y = labels()
    priors = {"0": LayerDefault(jnp.asarray(4.0)), "1": LayerDefault(jnp.asarray(1e-20))}
    options = {"key": key, "objective": dq.ELBO(), "epochs": 1, "batch_size": 80}
    choice = dq.choose_prior(classifier(), x, y, priors=priors, **options)
    assert (choice.best, choice.scores["1"]) == ("0", float("inf"))
    with pytest.raises(dq.NonFiniteError):
        dq.choose_prior(classifier(), x, y, priors={"1": priors["1"]}, **options)


def test_priors_that_each_fail_in_another_division_are_all_refused(key, monkeypatch):
    failing = iter([True, False, False, True])  # The first prior in the first division, the second in the second.

    def score(*_, **__):
        if next(failing):
            raise dq.NonFiniteError(0, None)
        return 0.5

    monkeypatch.setattr(prior_choice, "_score", score)
    priors = {"a": dq.GaussianPrior(), "b": dq.GaussianPrior()}
    with pytest.raises(dq.NonFiniteError):
        dq.choose_prior(classifier(), *labels(), key=key, priors=priors, divisions=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"priors": {}}, "Expected priors to have at least one prior; got none."),
        ({"priors": [dq.GaussianPrior()]}, "Expected priors to be a mapping of names to priors"),
        ({"priors": {"a": 1.0}}, "Expected prior"),
        ({"held_out": 0.0}, "Expected held_out to leave examples on both sides of a division of 100; got 0.0."),
        ({"held_out": 1.0}, "Expected held_out to leave examples on both sides"),
        ({"held_out": "much"}, "Expected held_out"),
        ({"x": np.zeros((3, 2), np.float32)}, "Expected"),
    ],
)
def test_bad_arguments_are_refused(change, message, key):
    x, y = labels()
    options = {"x": x, "y": y, "priors": {"a": dq.GaussianPrior()}} | change
    with pytest.raises((ValueError, TypeError), match=message):
        dq.choose_prior(classifier(), key=key, **options)


@pytest.fixture
def chosen(monkeypatch):
    """Shorten trainings to three steps, and record the scores by which `fit` chooses."""
    monkeypatch.setattr(_defaults, "STEPS", 3)
    gains = []

    def spy(*args, **options):
        choice = prior_choice.choose_prior(*args, **options)
        gains.append(choice.scores)
        return choice

    monkeypatch.setattr(_automatic, "choose_prior", spy)
    return gains


@pytest.mark.slow
def test_fit_with_nothing_set_takes_the_gain_with_the_best_score(key, chosen):
    x, y = labels()
    model = dq.fit(classifier(), x, y, key=key).model
    (scores,) = chosen
    assert list(scores) == [str(gain) for gain in _automatic.GAINS]
    best = LayerDefault(float(min(scores, key=scores.get)))
    assert priors_of(model) == [best.of_kernel((2, 4)), best.of_kernel((4, 2))]
    named = dq.fit(classifier(prior=best), x, y, key=key, objective=dq.ELBO()).model
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model), nnx.state(named))


SETTINGS = {"objective": dq.ELBO(), "epochs": 1, "batch_size": 32}


@pytest.mark.slow
@pytest.mark.parametrize("name", small_profile(SETTINGS, ["objective"]))
def test_fit_with_a_setting_keeps_the_prior(name, key, chosen):
    model = dq.fit(classifier(), *labels(), key=key, **{name: SETTINGS[name]}).model
    assert (priors_of(model), chosen) == (priors_of(classifier()), [])


def test_fit_chooses_a_scale_only_for_default_priors_in_a_classification_of_medium_size():
    x, y = labels()
    data = _automatic.Arrays(x, y, None, None)
    likelihood = dq.Categorical()
    assert _automatic.can_choose(classifier(), data, likelihood)
    assert not _automatic.can_choose(classifier(), data, dq.Gaussian(1.0))
    assert not _automatic.can_choose(classifier(), data, None)
    assert not _automatic.can_choose(classifier(prior=dq.GaussianPrior(sigma=1.0)), data, likelihood)
    assert not _automatic.can_choose(classifier(prior=dq.LearnedPrior()), data, likelihood)
    assert not _automatic.can_choose(dq.bayesianize(nnx.Linear(2, 2, rngs=nnx.Rngs(0))), data, likelihood)
    for size in (99, 10_001):
        assert not _automatic.can_choose(classifier(), _automatic.Arrays(*labels(size), None, None), likelihood)
