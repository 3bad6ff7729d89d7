"""A posterior as the next prior: exactness, paths, refusals, and files."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax import functional

NOISE, PRIOR_SIGMA, N, FEATURES = 0.4, 0.8, 16, 3


def halves():
    """Return two halves of a data set, each with an orthogonal design, so that every posterior is diagonal."""
    rng = np.random.default_rng(0)
    scales = np.array([[1.0, 0.5, 2.0, 0.8], [0.3, 1.5, 0.7, 1.2]])
    parts = []
    for scale in scales:
        # The columns are also orthogonal to the constant column, which stands for the bias.
        ones = np.ones((N, 1))
        columns = np.linalg.qr(np.hstack([ones, rng.normal(size=(N, FEATURES))]))[0][:, 1:] * scale[:FEATURES] * 3
        y = columns @ np.array([0.7, -0.4, 0.2]) + 0.3 + rng.normal(0, NOISE, N)
        parts.append((columns, y[:, None]))
    return parts


def closed_form(x, y):
    """Return the means and the standard deviations of the exact posterior, with the bias last."""
    design = np.column_stack([x, np.ones(len(x))])
    precision = design.T @ design / NOISE**2 + np.eye(FEATURES + 1) / PRIOR_SIGMA**2
    off = precision - np.diag(np.diag(precision))
    np.testing.assert_allclose(off, 0.0, atol=1e-10)
    return np.linalg.solve(precision, design.T @ y[:, 0]) / NOISE**2, np.diag(precision) ** -0.5


@jax.jit
def optimum(model, x, y):
    """Maximise the exact ELBO. The loss is quadratic in the noise, so its mean over these eight points is exact."""
    points = 2.0 * np.concatenate([np.eye(4), -np.eye(4)])
    noise = {"kernel": jnp.asarray(points[:, :FEATURES, None]), "bias": jnp.asarray(points[:, FEATURES:])}
    objective = dq.ELBO(len(x), log_likelihood=dq.Gaussian(NOISE), mc_samples=8)
    params, rest = dq.partition(model)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 2000))

    def step(carry, _):
        params, state = carry
        gradient = jax.grad(lambda params: objective(dq.combine(params, rest), x, y, noise=noise)[0])(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, 2000)
    return params


def trained(model, x, y):
    return dq.combine(optimum(model, x, y), dq.partition(model)[1])


def mean_and_sigma(layer):
    parts = layer.kernel_posterior, layer.bias_posterior
    return [np.concatenate([np.ravel(getattr(part, name)) for part in parts]) for name in ("mu", "sigma")]


@pytest.mark.slow
def test_two_halves_in_turn_equal_all_data_at_once(x64):
    (x1, y1), (x2, y2) = halves()
    # The prior of the first model is an array, so that all three trainings share their structure.
    arrays = {"kernel": jnp.full((FEATURES, 1), PRIOR_SIGMA), "bias": jnp.full(1, PRIOR_SIGMA)}

    def prior(path, leaf):
        return dq.GaussianPrior(jnp.zeros(leaf.shape), arrays[path])

    options = dict(param_dtype=jnp.float64, sigma_init=0.2)
    start = dq.BayesianLinear(FEATURES, 1, prior=prior, rngs=nnx.Rngs(0), **options)
    first = trained(start, x1, y1)
    warm = trained(dq.with_prior(first, dq.as_prior(first)), x2, y2)
    cold = trained(dq.BayesianLinear(FEATURES, 1, prior=dq.as_prior(first), rngs=nnx.Rngs(1), **options), x2, y2)
    for found in (warm, cold):
        for value, exact in zip(
            mean_and_sigma(found), closed_form(np.vstack([x1, x2]), np.vstack([y1, y2])), strict=True
        ):
            np.testing.assert_allclose(value, exact, rtol=1e-6)


def networks():
    def mlp(prior, seed):
        return dq.BayesByBackpropMLP(2, (4,), 1, prior=prior, rngs=nnx.Rngs(seed))

    def regressor(prior, seed):
        return dq.HomoscedasticBayesByBackpropRegressor(2, (4,), prior=prior, rngs=nnx.Rngs(seed))

    def last_layer(prior, seed):
        body = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.relu)
        return dq.LastLayerVariationalInference(body, 3, 1, prior=prior, rngs=nnx.Rngs(seed))

    def any_network(prior, seed):
        net = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(seed)), nnx.relu, nnx.Linear(3, 1, rngs=nnx.Rngs(seed)))
        return dq.bayesianize(net, where="kernels", prior=prior)

    return [mlp, regressor, last_layer, any_network]


@pytest.mark.slow
@pytest.mark.parametrize("build", networks(), ids=lambda build: build.__name__)
def test_the_prior_is_the_posterior_of_every_weight(build):
    first = build(dq.GaussianPrior(sigma=1.0), 0)
    second = build(dq.as_prior(first), 1)
    assert second.has_closed_form_kl
    # At the posterior of the first model, the second model's KL is 0.
    own = dq.with_prior(first, dq.as_prior(first))
    np.testing.assert_allclose(own.kl(), 0.0, atol=1e-6)
    params, rest = dq.partition(second)
    np.testing.assert_allclose(dq.combine(dq.partition(first)[0], rest).kl(), 0.0, atol=1e-6)
    by_hand = 0.0
    old, new = (
        [q for _, owner in dq.model.owners.weight_owners(model) for q in dq.model.owners.posteriors_of(owner).values()]
        for model in (first, second)
    )
    for q, p in zip(new, old, strict=True):
        for mu, rho, m, r in zip(*(jax.tree.leaves(part) for part in (q.mu, q.rho, p.mu, p.rho)), strict=True):
            by_hand += functional.gaussian_kl(mu, rho, m, functional.sigma_from_rho(r)).sum()
    np.testing.assert_allclose(second.kl(), by_hand, rtol=1e-5)
    x = jnp.ones((3, 2))
    np.testing.assert_array_equal(own(x), first(x))
    assert {path: leaf.shape for path, leaf in params.items()}.keys() == dq.partition(first)[0].keys()


def test_a_model_of_another_shape_is_refused_by_name():
    first = dq.BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0))
    rule = dq.as_prior(first)
    with pytest.raises(ValueError, match=r"the parameter 'layers.0.bias' of shape \[4\], as in the model"):
        dq.BayesByBackpropMLP(2, (5,), 1, prior=rule, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"every path of the new model to be in the model of as_prior .*; got 'bias'"):
        dq.BayesianLinear(2, 4, prior=rule, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="every path of the new model"):
        dq.with_prior(dq.BayesianLinear(2, 4, rngs=nnx.Rngs(0)), rule)


def test_what_has_no_posterior_is_refused():
    with pytest.raises(ValueError, match="to have a mean-field posterior"):
        dq.as_prior(dq.draw(dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0)), key=jax.random.key(0)))
    with pytest.raises(TypeError, match="model"):
        dq.with_prior(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), dq.GaussianPrior())
    layer = dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0))
    layer.bias_posterior.mu[...] = jnp.full(1, jnp.nan)
    with pytest.raises(ValueError, match="Expected the posterior at bias to be finite"):
        dq.as_prior(layer)
    with pytest.raises(TypeError, match="Expected prior to have a method log_prob"):
        dq.with_prior(dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0)), 1.0)


def test_a_centred_prior_is_not_centred_twice():
    net = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    first = dq.moped(net)
    with pytest.raises(ValueError, match="Expected prior to be over the deviation from the network's weights"):
        dq.moped(net, prior=dq.as_prior(first))
    again = dq.with_prior(first, dq.as_prior(first))
    assert again.centre is None
    np.testing.assert_allclose(again.kl(), 0.0, atol=1e-6)
    assert first.centre is not None


@pytest.mark.slow
def test_pruned_weights_stay_pruned():
    pruned = dq.prune(dq.BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0)), 0.5)
    again = dq.with_prior(pruned, dq.as_prior(pruned))
    np.testing.assert_array_equal(again(jnp.ones((3, 2))), pruned(jnp.ones((3, 2))))
    np.testing.assert_allclose(again.kl(), 0.0, atol=1e-6)


def test_another_prior_leaves_the_model_as_it_was():
    """A learned prior has Params of its own, which are removed with it."""
    first = dq.BayesByBackpropMLP(2, (4,), 1, prior=dq.LearnedPrior(), rngs=nnx.Rngs(0))
    before = first.kl()
    second = dq.with_prior(first, dq.as_prior(first))
    names = {*dq.partition(first)[0]} - {*dq.partition(second)[0]}
    assert len(names) == 2
    assert all("prior" in name for name in names)
    assert first.kl() == before
    plain = dq.with_prior(second, dq.GaussianPrior(sigma=1.0))
    fresh = dq.BayesByBackpropMLP(2, (4,), 1, prior=dq.GaussianPrior(sigma=1.0), rngs=nnx.Rngs(0))
    assert jax.tree.structure(plain) == jax.tree.structure(fresh)


def test_a_model_in_the_units_of_its_data_continues():
    """`Standardized` keeps its scaling. A model without it is refused the posterior as a prior."""
    x = np.linspace(0, 100, 32)[:, None]
    model = dq.HomoscedasticBayesByBackpropRegressor(1, (4,), rngs=nnx.Rngs(0))
    first = dq.Standardized(model, x, 3 * x)
    second = dq.with_prior(first, dq.as_prior(first))
    np.testing.assert_allclose(second.kl(), 0.0, atol=1e-6)
    np.testing.assert_array_equal(second(x), first(x))
    with pytest.raises(ValueError, match=r"model.layers.0.kernel"):
        dq.HomoscedasticBayesByBackpropRegressor(1, (4,), prior=dq.as_prior(first), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("build", networks()[:2], ids=lambda build: build.__name__)
def test_a_posterior_as_prior_is_saved_like_any_other_prior(build, tmp_path):
    first = build(dq.GaussianPrior(sigma=1.0), 0)
    second = build(dq.as_prior(first), 1)
    dq.save(tmp_path / "model.safetensors", second)
    loaded = dq.load(tmp_path / "model.safetensors")
    assert float(loaded.kl()) == float(second.kl())
    assert jax.tree.structure(loaded) == jax.tree.structure(second)
