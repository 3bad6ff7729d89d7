"""Pruned weights are 0 in every draw and at the means, add nothing to the KL, and stay so in training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax import estimators
from deepuq_jax.diagnostics.weights import kl_per_weight, weight_tensors
from deepuq_jax.model.variables import FixedWeight, PruneMask
from deepuq_jax.tests import tolerances
from deepuq_jax.tests.profiles import small_profile

ADAM = optax.adam(1e-2)


def net(params, x):
    return jnp.tanh(x @ params["w"]) @ params["v"]


def weights():
    rng = np.random.default_rng(0)
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in {"w": (3, 6), "v": (6, 2)}.items()
    }


PRIOR = dq.GaussianPrior(0.1, 0.5)
X = jnp.linspace(-1, 1, 15).reshape(5, 3)
MODELS = {
    "MLP": (lambda **o: dq.BayesByBackpropMLP(3, (6,), 2, prior=PRIOR, rngs=nnx.Rngs(0), **o), X),
    "conv": (lambda **o: dq.BayesianConv(3, 2, (3,), prior=PRIOR, rngs=nnx.Rngs(0), **o), X.reshape(1, 5, 3)),
    "embed": (lambda **o: dq.BayesianEmbed(7, 4, prior=PRIOR, rngs=nnx.Rngs(0), **o), jnp.arange(7)),
    "bayesianize": (lambda **o: dq.bayesianize((net, weights()), prior=PRIOR, **o), X),
    "moped": (lambda **o: dq.moped((net, weights()), prior=PRIOR, **o), X),
    "last layer": (
        lambda **o: dq.LastLayerVariationalInference(jnp.tanh, 3, 2, prior=PRIOR, rngs=nnx.Rngs(0), **o),
        X,
    ),
}


def flat(leaves):
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def masks_of(model):
    return flat(jax.tree.leaves(nnx.state(model, PruneMask)))


# One compiled program per model and fraction.
prune = jax.jit(dq.prune, static_argnums=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", small_profile(MODELS, ["MLP", "conv", "bayesianize", "last layer"]))
def test_pruned_weights_are_zero_and_add_nothing(name, key):
    make, x = MODELS[name]
    model = make()
    pruned = prune(model, 0.6)
    masks = masks_of(pruned)
    assert (~masks).sum() == int(0.6 * masks.size)

    @jax.jit
    def look_at(model, pruned):
        tensors = {tensor.path: (tensor.signal_to_noise, kl_per_weight(tensor)) for tensor in weight_tensors(model)}
        kept = {tensor.path: tensor.mask for tensor in weight_tensors(pruned)}
        draws = [dq.draw(m, key=key) for m in (model, pruned)]
        weights = [jax.tree.leaves(nnx.state(drawn, FixedWeight)) for drawn in draws]
        outputs = {"model": model(x), "pruned": pruned(x), "by key": pruned(x, key=key), "of draw": draws[1](x)}
        kls = [m.kl() for m in (model, pruned)]
        grads = nnx.grad(lambda m: jnp.sum(m(x, key=key) ** 2) + m.kl())(pruned)
        slopes = [leaf[...] for path, leaf in nnx.to_flat_state(grads) if str(path[-1]).startswith(("mu", "rho"))]
        return tensors, kept, weights, outputs, kls, slopes

    tensors, kept, weights, outputs, (kl, pruned_kl), slopes = look_at(model, pruned)
    # The pruned weights are those with the least signal to noise. Tensors are matched by path, since the order of the
    # posteriors in a copy may differ.
    ratios = flat(ratio for ratio, _ in tensors.values())
    is_kept = flat(kept[path] for path in tensors)
    assert ratios[~is_kept].max() <= ratios[is_kept].min()
    # In a draw they are 0, and every other weight is what it was, up to the rounding of two compiled programs.
    before, after = map(flat, weights)
    assert (after == 0).sum() == (~masks).sum()
    np.testing.assert_allclose(after[after != 0], before[after != 0], rtol=4 * tolerances.ulp(np.float32))
    np.testing.assert_allclose(outputs["of draw"], outputs["by key"], rtol=1e-5, atol=1e-6)
    assert not np.allclose(outputs["pruned"], outputs["model"])
    # The KL is the sum of the closed form over the kept weights.
    entries = flat(each for _, each in tensors.values()).astype(float)
    np.testing.assert_allclose(pruned_kl, entries[is_kept].sum(), rtol=1e-4)
    assert float(pruned_kl) < float(kl)
    # The pruned weights alone have no gradient.
    assert (flat(slopes) == 0).sum() == 2 * (~masks).sum()


@pytest.mark.parametrize("estimator", estimators.__all__)
def test_every_estimator_has_pruned_weights_at_zero(estimator, key):
    """With everything pruned but the bias, outputs do not depend on x, and the bias stays random."""
    layer = dq.BayesianLinear(3, 2, estimator=getattr(estimators, estimator), sigma_init=0.3, rngs=nnx.Rngs(0))
    layer.bias_posterior.mu.set_value(jnp.full(2, 100.0))
    pruned = prune(layer, 6 / 8)

    @jax.jit
    def look_at(pruned):
        grads = nnx.grad(lambda m: jnp.sum(m(X, key=key)))(pruned)["kernel_posterior"]
        draws = jax.vmap(lambda k: pruned(X[:1], key=k))(jax.random.split(key, 4000))
        return pruned(X), pruned(X, key=key), [grads[part][...] for part in ("mu", "rho")], draws[:, 0]

    at_means, outputs, grads, draws = look_at(pruned)
    np.testing.assert_array_equal(at_means, np.full((5, 2), 100.0))
    assert outputs.std() > 0.01
    for grad in grads:
        np.testing.assert_array_equal(grad, 0.0)
    # The outputs have the law of the bias alone.
    bias = layer.bias_posterior.get_value()
    np.testing.assert_allclose(np.std(draws, axis=0), bias.sigma, rtol=5 / np.sqrt(2 * 4000))


@pytest.mark.slow
@pytest.mark.parametrize("name", small_profile(["MLP", "bayesianize"], ["bayesianize"]))
def test_training_continues_with_the_mask(name, key):
    make, x = MODELS[name]
    y = jnp.stack([x.sum(axis=1), x[:, 0]], axis=1)
    pruned = prune(make(likelihood=dq.Gaussian(0.3)), 0.5)
    objective = dq.ELBO(kl_weight=dq.schedules.linear(15), sticking_the_landing=name == "MLP")
    options = dict(key=key, epochs=20, optimizer=ADAM, objective=objective)
    trained = dq.fit(pruned, x, y, **options).model
    assert jax.tree.structure(trained) == jax.tree.structure(pruned)
    for tensor, old in zip(weight_tensors(trained), weight_tensors(pruned), strict=True):
        mask, pairs = np.asarray(tensor.mask), [(tensor.mu, old.mu), (tensor.rho, old.rho)]
        np.testing.assert_array_equal(mask, old.mask)
        for new, before in pairs:
            np.testing.assert_array_equal(np.asarray(new)[~mask], np.asarray(before)[~mask])
        assert not mask.any() or (np.asarray(tensor.mu) != np.asarray(old.mu))[mask].any()
    result = dq.predict_vi_uq(trained, x, key=key, n_samples=20)
    draws = jax.jit(jax.vmap(lambda i: trained(x, key=jax.random.fold_in(key, i))))(jnp.arange(20))
    np.testing.assert_allclose(result.mean, draws.mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_pruning_a_pruned_model_counts_the_weights_that_are_pruned():
    model = MODELS["MLP"][0]()
    once, direct = prune(model, 0.3), prune(model, 0.7)
    twice = prune(once, 0.7)

    def count(m):
        return int((~masks_of(m)).sum())

    assert count(once) == int(0.3 * 38)
    assert count(twice) == count(direct) == int(0.7 * 38)
    np.testing.assert_array_equal(masks_of(twice), masks_of(direct))
    assert count(prune(twice, 0.1)) == count(twice)  # A pruned weight stays pruned.
    whole = prune(model, 0.0)
    assert count(whole) == 0
    np.testing.assert_allclose(whole.kl(), model.kl(), rtol=1e-5)
    assert not jax.tree.leaves(nnx.state(model, PruneMask))  # The model given is left as it is.


def test_the_curve_says_which_weights_are_pruned():
    model = MODELS["MLP"][0]()
    fractions, ratio = dq.signal_to_noise_curve(model, points=39)
    ratios = np.sort(np.concatenate([np.ravel(t.signal_to_noise) for t in weight_tensors(model)]))
    np.testing.assert_allclose(ratio, np.quantile(ratios, fractions), rtol=1e-5)
    pruned = prune(model, 0.5)
    kept = np.concatenate([np.ravel(t.signal_to_noise)[np.ravel(t.mask)] for t in weight_tensors(pruned)])
    assert kept.min() >= np.quantile(ratios, 0.5)
    np.testing.assert_allclose(dq.signal_to_noise_curve(pruned, points=2)[1], [0.0, ratios[-1]], rtol=1e-6)


def test_priors_of_every_kind_see_the_kept_weights_alone():
    q = dq.GaussianPosterior(jnp.array([0.5, -1.0, 2.0]), jnp.array([-1.0, 0.0, 1.0]))
    mask = jnp.array([True, False, True])
    noise = jnp.array([0.3, 9.0, -1.0])
    closed = (dq.GaussianPrior(), dq.LaplacePrior(), dq.EmpiricalGaussianPrior(), dq.LearnedPrior())
    by_draw = (dq.StudentTPrior(), dq.ScaleMixturePrior())
    each = dq.GaussianPrior(sigma=jnp.array([0.1, 0.2, 0.3]))

    @jax.jit
    def look_at(q):
        masked, kept = q.masked(mask), dq.GaussianPosterior(q.mu[::2], q.rho[::2])
        pairs = [(masked.kl(prior), kept.kl(prior)) for prior in closed]
        pairs += [(masked.kl(prior, noise=noise), kept.kl(prior, noise=noise[::2])) for prior in by_draw]
        pairs.append((masked.kl(each), kept.kl(dq.GaussianPrior(sigma=each.sigma[::2]))))
        pairs.append((masked.log_prob(q.mu), kept.log_prob(kept.mu)))

        def nothing(mu, prior):
            return dq.GaussianPosterior(mu, q.rho).masked(jnp.zeros(3, bool)).kl(prior)

        zeros = [jax.value_and_grad(nothing)(q.mu, prior) for prior in (closed[0], closed[2])]
        return pairs, zeros, masked.sample(noise=noise)[1]

    pairs, zeros, pruned_weight = look_at(q)
    for masked, kept in pairs:
        np.testing.assert_allclose(masked, kept, rtol=1e-5)
    for value, grad in zeros:
        assert float(value) == 0.0
        np.testing.assert_array_equal(grad, 0.0)
    assert float(pruned_weight) == 0.0


@pytest.mark.slow
def test_prune_works_compiled_and_diagnose_takes_its_model(key):
    model = MODELS["MLP"][0](likelihood=dq.Gaussian(0.3))
    compiled = prune(model, 0.5)
    for a, b in zip(jax.tree.leaves(compiled), jax.tree.leaves(dq.prune(model, 0.5)), strict=True):
        np.testing.assert_array_equal(a, b)
    health = dq.diagnose(compiled, X, jnp.zeros((5, 2)), key=key, n_samples=100)
    np.testing.assert_allclose(health.kl, compiled.kl(), rtol=1e-5)
    assert health.signal_to_noise[0] == 0.0


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match="Expected fraction"):
        dq.prune(MODELS["MLP"][0](), fraction)


def test_what_cannot_be_pruned_is_refused():
    class Own(nnx.Module):
        def __init__(self):
            self.posterior = nnx.Param(dq.MeanField.init(jnp.ones((3, 1))))
            self.prior = nnx.static(dq.GaussianPrior())

        def __call__(self, x, *, key=None):
            return x @ self.posterior.get_value().mu

        def kl(self, key=None):
            return self.posterior.get_value().kl(self.prior)

    with pytest.raises(ValueError, match="to take a prune mask; got Own"):
        dq.prune(Own(), 0.5)
    with pytest.raises(TypeError, match="Expected fraction"):
        dq.prune(MODELS["MLP"][0](), "half")
    with pytest.raises(ValueError, match="mean-field posterior"):
        dq.prune(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), 0.5)
