"""Natural gradients hold sigma in place of rho; models, results and user's code see ordinary posteriors."""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

import deepuq_jax as dq
from deepuq_jax._pytree import register
from deepuq_jax.functional import scale_step
from deepuq_jax.functional.gaussian import sigma_from_rho
from deepuq_jax.functional.scale import Scale, log_of_scale, rho_of_scale
from deepuq_jax.tests.test_natural_gradient import NOISE, N, data, ends_of_both_loops, every_prior, final, layer

OPTIMIZER = dq.natural_gradient()


def held(scale):
    return Scale(jnp.asarray(scale), is_normal=True)


@pytest.mark.parametrize("limit", [0.1, np.inf])
def test_a_step_of_sigma_agrees_with_sixty_digits(dtype, limit):
    sigma = np.repeat(np.array([1e-30, 1e-6, 0.05, 1.0, 50.0], dtype), 5)
    gradient = np.tile(np.array([-3.0, -0.01, 1e-5, 0.02, 5.0], dtype), 5)
    rate = np.dtype(dtype).type(0.1)
    step = scale_step(jnp.asarray(sigma), jnp.asarray(gradient), rate, limit)
    with mp.workdps(60):
        wanted = []
        for s, g in zip(sigma.tolist(), gradient.tolist(), strict=True):
            a = max(-mp.mpf(limit), min(mp.mpf(limit), mp.mpf(float(rate)) * g))
            wanted.append(float(mp.mpf(s) * (1 / mp.sqrt(1 + a + a**2 / 2) - 1)))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(step.change, wanted, rtol=8 * eps)
    np.testing.assert_allclose(step.sigma, sigma + np.array(wanted), rtol=2 * eps)


def test_an_infinite_gradient_is_not_a_long_step():
    assert jnp.isnan(scale_step(jnp.ones(1), jnp.full(1, jnp.inf), 0.1, 0.1).sigma).all()


def test_a_step_without_a_limit_keeps_sigma_positive():
    step = scale_step(jnp.full(3, 0.05), jnp.array([1e4, 1e9, -1e9]), 1.0)
    np.testing.assert_allclose(step.sigma, [5e-5, 5e-5, 5e-5], rtol=1e-3)


def test_the_inverse_of_a_scale_and_its_logarithm_have_the_right_tangents(x64):
    rho = jnp.linspace(-40.0, 30.0, 29)
    sigma = sigma_from_rho(rho)
    np.testing.assert_allclose(rho_of_scale(held(sigma)), rho, rtol=1e-12, atol=1e-12)
    one = held(jnp.ones_like(rho))
    # d rho / d log sigma = sigma / (d sigma / d rho)
    slope = sigma * (1.0 + jnp.exp(-rho))
    np.testing.assert_allclose(jax.jvp(rho_of_scale, (held(sigma),), (one,))[1], slope, rtol=1e-12)
    np.testing.assert_allclose(jax.jvp(log_of_scale, (held(sigma),), (one,)), (jnp.log(sigma), jnp.ones_like(rho)))


class Case(NamedTuple):
    """A layer and an objective, for steps that the state and a loop over rho take alike."""

    options: dict
    elbo: dict = MappingProxyType({})
    is_pruned: bool = False


CASES = {
    **{f"{type(prior).__name__}": Case(dict(prior=prior)) for prior in every_prior()},
    "local reparameterization": Case(dict(estimator=dq.local_reparameterization)),
    "flipout": Case(dict(estimator=dq.flipout)),
    "sticking the landing": Case({}, dict(sticking_the_landing=True)),
    "four draws": Case({}, dict(mc_samples=4, antithetic=True)),
    "pruned": Case({}, {}, True),
    "a wide prior": Case(dict(prior=dq.GaussianPrior(0.0, 1e9))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_step_is_the_step_of_a_loop_over_rho(name, x64):
    case = CASES[name]
    x, y = (jnp.asarray(part, jnp.float64) for part in data())
    model = layer(**case.options, param_dtype=jnp.float64)
    model = dq.prune(model, 0.25) if case.is_pruned else model
    objective = dq.ELBO(N, log_likelihood=NOISE, **case.elbo)
    state, params = ends_of_both_loops(model, x, y, objective, jax.random.split(jax.random.key(0), 4))
    before, after = final(model), final(state.model)
    assert any((before[name] != after[name]).any() for name in before)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), after, params)


def test_the_model_of_a_new_state_is_the_model():
    means = {"slope": jnp.full((2, 1), 0.3, jnp.bfloat16)}
    half = Line(dq.MeanField(means, {"slope": jnp.full((2, 1), -5.0, jnp.bfloat16)}), jnp.zeros(()))
    for model in (layer(sigma_init=1e-4), half):
        again = dq.TrainState.create(model, OPTIMIZER).model
        assert jax.tree.structure(model) == jax.tree.structure(again)
        for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(again), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(
                *(np.asarray(one, np.float32) for one in (a, b)), rtol=float(jnp.finfo(a.dtype).eps)
            )


def test_every_initial_precision_starts():
    """The narrowed sigma is exactly the one that the optimizer expects, whatever its rounding."""
    for num_data in range(1_000, 1_200):
        optimizer = dq.natural_gradient(num_data=num_data, initial_precision=1.0)
        state = dq.TrainState.create(layer(), optimizer)
        assert float(state.params["kernel_posterior.held_scale.value"].max()) <= (1.0 + 1e-6) * num_data**-0.5


def test_the_parts_of_a_state_make_a_model_too(key):
    x, _ = data()
    state = dq.TrainState.create(layer(), OPTIMIZER)
    model = dq.combine(state.params, state.rest)
    np.testing.assert_allclose(model(x, key=key), state.model(x, key=key), rtol=1e-5)
    np.testing.assert_allclose(model.kl(), state.model.kl(), rtol=1e-5)


def test_a_sigma_that_has_underflowed_trains(key):
    x, y = data()
    model = layer()
    model.kernel_posterior.rho.set_value(jnp.full((2, 1), -200.0))
    state = dq.TrainState.create(model, OPTIMIZER)
    for k in jax.random.split(key, 3):
        state, terms = dq.train_step(
            state, x, y, key=k, objective=dq.ELBO(N, log_likelihood=NOISE), optimizer=OPTIMIZER
        )
    assert int(state.bad_step) == -1
    assert np.isfinite(terms.kl)
    assert (final(state.model)["kernel_posterior.rho"] > -70.0).all()


class Line(NamedTuple):
    """A model of one's own: a pytree that holds a posterior, and a number that has none."""

    weights: dq.MeanField
    shift: jax.Array

    def __call__(self, x, *, key=None, noise=None):
        w = self.weights.mean() if key is None else self.weights.sample(key=key)
        return x @ w["slope"] + self.shift

    def kl(self, key=None, *, noise=None):
        return self.weights.kl(dq.GaussianPrior(0.0, 1.0))


@register(static=("kl_rule",))
@dataclass(frozen=True)
class Named(dq.MeanField):
    """A posterior of one's own, with a field more."""

    label: jax.Array = field(kw_only=True)


class Holder(nnx.Module):
    """A module of one's own that holds a posterior as the value of a Variable."""

    def __init__(self, posterior, kind):
        self.posterior = kind(posterior)

    def __call__(self, x, *, key=None, noise=None):
        w = self.posterior.get_value().sample(key=key)["slope"]
        return x @ w

    def kl(self, key=None, *, noise=None):
        return self.posterior.get_value().kl(dq.GaussianPrior(0.0, 1.0))


def test_posteriors_of_ones_own_train_too(key):
    x, y = data()
    plain = dq.MeanField.init({"slope": jnp.zeros((2, 1))})
    named = Named(plain.mu, plain.rho, label=jnp.ones(3))
    for model, stored in ((Holder(plain, nnx.Param), "held_scale"), (Line(named, jnp.zeros(())), "rho")):
        optimizer = dq.natural_gradient(num_data=N)
        state = dq.TrainState.create(model, optimizer)
        assert any(
            stored in jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state.params)
        )
        objective = dq.ELBO(N, log_likelihood=NOISE)
        after, _ = dq.train_step(state, x, y, key=key, objective=objective, optimizer=optimizer)
        assert int(after.bad_step) == -1
        assert jax.tree.structure(after.model) == jax.tree.structure(model)
        for old, new in zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True):
            assert (old != new).any() or old.shape == (3,)


def test_an_objective_of_ones_own_sees_rho_in_a_pytree(key):
    """Its gradient with respect to rho arrives at the held scales."""
    x, y = data()
    model = Line(dq.MeanField.init({"slope": jnp.zeros((2, 1))}), jnp.zeros(()))
    optimizer = dq.natural_gradient(num_data=N, beta2=0.5, precision_limit=np.inf)

    def objective(model, x, y, *, key, step):
        assert isinstance(model.weights, dq.MeanField)
        sigma = jnp.logaddexp(model.weights.rho["slope"], 0.0)
        loss = jnp.sum((sigma - 0.1) ** 2) + jnp.sum(model(x, key=key) ** 2) * 0.0
        return loss, dq.ELBOTerms(loss, loss, loss=loss)

    state = dq.TrainState.create(model, optimizer)
    assert jax.tree.structure(state.model) == jax.tree.structure(model)
    before = float(state.model.weights.sigma["slope"][0, 0])
    state, _ = dq.train_step(state, x, y, key=key, objective=objective, optimizer=optimizer)
    a = 0.5 * N * before * 2 * (before - 0.1)
    wanted = before / np.sqrt(1 + a + a**2 / 2)
    np.testing.assert_allclose(state.model.weights.sigma["slope"], wanted, rtol=1e-5)


class Heads(nnx.Module):
    """Two heads under names of one's own."""

    def __init__(self, first, second):
        self.names = nnx.static((first, second))
        for i, name in enumerate((first, second)):
            setattr(self, name, dq.BayesianLinear(2, 1, rngs=nnx.Rngs(i)))

    def __call__(self, x, *, key=None, noise=None):
        keys = (None, None) if key is None else jax.random.split(key)
        first, second = (getattr(self, name)(x, key=k) for name, k in zip(self.names, keys, strict=True))
        return first + jnp.tanh(second)

    def kl(self, key=None, *, noise=None):
        return sum(getattr(self, name).kl() for name in self.names)


class Value(nnx.Module):
    """A network with one weight, under a name of one's own."""

    def __init__(self, name):
        self.name = nnx.static(name)
        setattr(self, name, nnx.Param(jnp.ones((2, 1))))

    def __call__(self, x):
        return x @ getattr(self, self.name)[...]


@pytest.mark.parametrize("kind", ["heads", "weight"])
def test_names_of_ones_own_change_nothing(kind, key):
    x, y = data()
    objective = dq.ELBO(N, log_likelihood=NOISE)
    if kind == "heads":
        models = [Heads(*names) for names in (("a", "b"), ("mu", "scale"), ("mu", "rho"), ("a", "held_scale"))]
    else:
        models = [dq.bayesianize(Value(name)) for name in ("weight", "value", "mu", "rho")]
    ends = []
    for model in models:
        state = dq.TrainState.create(model, OPTIMIZER)
        for k in jax.random.split(key, 3):
            state, _ = dq.train_step(state, x, y, key=k, objective=objective, optimizer=OPTIMIZER)
        assert int(state.bad_step) == -1
        assert not jax.tree.leaves(state.opt_state.rest[0].mu)
        ends.append(float(state.model.kl()))
    np.testing.assert_allclose(ends, ends[0], rtol=1e-6)


PENALTIES = {
    "parameters": lambda model: jax.tree.leaves(nnx.state(model, nnx.Param)),
    "partition": lambda model: list(dq.partition(model)[0].values()),
    "leaves": jax.tree.leaves,
    "rho": lambda model: [model.kernel_posterior.rho.get_value()],
}


@pytest.mark.parametrize("name", PENALTIES)
def test_an_objective_of_ones_own_sees_the_parameters(name, key):
    """Its step is that of a loop over mu and rho."""
    x, y = data()
    elbo, own = dq.ELBO(N, log_likelihood=NOISE), dq.natural_gradient(num_data=N)

    def objective(model, x, y, *, key, step):
        loss, terms = elbo(model, x, y, key=key, step=step)
        loss = loss + 0.01 * sum(jnp.sum(value**2) for value in PENALTIES[name](model))
        return loss, terms._replace(loss=loss)

    state = dq.TrainState.create(layer(), own)
    params, rest = dq.partition(layer())
    state, _ = dq.train_step(state, x, y, key=key, objective=objective, optimizer=own)
    gradient = jax.grad(lambda params: objective(dq.combine(params, rest), x, y, key=key, step=0)[0])(params)
    updates, _ = own.update(gradient, own.init(params), params)
    wanted = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), final(state.model), wanted)


def test_a_held_scale_lies_over_the_mesh_as_rho_does():
    mesh = jax.make_mesh((1,), ("model",))
    annotated = nnx.with_partitioning(nnx.initializers.lecun_normal(), (None, "model"), mesh=mesh)
    model = layer(kernel_init=annotated)
    state = dq.TrainState.create(model, OPTIMIZER)
    over = NamedSharding(mesh, PartitionSpec(None, "model"))
    assert state.params["kernel_posterior.held_scale.value"].sharding.is_equivalent_to(over, 2)
    metadata = [one.kernel_posterior.rho.get_metadata() for one in (model, state.model)]
    assert metadata[0]["out_sharding"] == metadata[1]["out_sharding"] == (None, "model")


def test_a_learning_rate_that_is_not_finite_changes_nothing(key):
    x, y = data()
    optimizer = dq.natural_gradient(lambda step: jnp.where(step == 1, jnp.nan, 0.1))
    state = dq.TrainState.create(layer(), optimizer)
    ends = []
    for k in jax.random.split(key, 2):
        state, _ = dq.train_step(state, x, y, key=k, objective=dq.ELBO(N, log_likelihood=NOISE), optimizer=optimizer)
        ends.append(state)
    assert int(state.bad_step) == 1
    jax.tree.map(np.testing.assert_array_equal, ends[0].params, ends[1].params)
    jax.tree.map(np.testing.assert_array_equal, ends[0].opt_state, ends[1].opt_state)
