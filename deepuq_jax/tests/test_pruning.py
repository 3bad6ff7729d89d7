"""Pruned weights: 0 in every draw and at the means, nothing in the KL, no gradient, and so through training."""

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

ADAM = optax.adam(1e-2)


def posteriors_of(model):
    is_one = lambda node: isinstance(node, dq.MeanField)
    return [node for node in jax.tree.leaves(model, is_leaf=is_one) if is_one(node)]


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


@pytest.mark.parametrize("name", MODELS)
def test_pruned_weights_are_zero_and_add_nothing(name, key):
    make, x = MODELS[name]
    model = make()
    pruned = dq.prune(model, 0.6)
    masks = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(nnx.state(pruned, PruneMask))])
    assert (~masks).sum() == int(0.6 * masks.size)
    # Which: exactly those of the least signal to noise.
    # By path, since a copy may hold its posteriors in another order.
    masked = {tensor.path: tensor.mask for tensor in weight_tensors(pruned)}
    pairs = [(tensor, masked[tensor.path]) for tensor in weight_tensors(model)]
    ratios = jnp.concatenate([tensor.signal_to_noise.ravel() for tensor, _ in pairs])
    kept = jnp.concatenate([mask.ravel() for _, mask in pairs])
    assert ratios[~kept].max() <= ratios[kept].min()
    # A draw: 0 where pruned, elsewhere what it was.
    before, after = (jax.tree.leaves(nnx.state(dq.draw(m, key=key), FixedWeight)) for m in (model, pruned))
    before, after = (jnp.concatenate([leaf.ravel() for leaf in leaves]) for leaves in (before, after))
    assert (after == 0).sum() == (~masks).sum()
    np.testing.assert_array_equal(after[after != 0], before[after != 0])
    np.testing.assert_allclose(dq.draw(pruned, key=key)(x), pruned(x, key=key), rtol=1e-5, atol=1e-6)
    assert not np.allclose(pruned(x), model(x))
    # The KL: the sum over the weights that are kept, by the closed form entry by entry.
    entries = [np.asarray(kl_per_weight(tensor), float)[np.asarray(mask)] for tensor, mask in pairs]
    np.testing.assert_allclose(pruned.kl(), sum(part.sum() for part in entries), rtol=1e-4)
    assert float(pruned.kl()) < float(model.kl())
    # No gradient for what is pruned, one for all that is kept.
    grads = nnx.grad(lambda m: jnp.sum(m(x, key=key) ** 2) + m.kl())(pruned)
    of_posteriors = [leaf for path, leaf in nnx.to_flat_state(grads) if str(path[-1]).startswith(("mu", "rho"))]
    total = sum(int((leaf[...] == 0).sum()) for leaf in of_posteriors)
    assert total == 2 * int((~masks).sum())


@pytest.mark.parametrize("estimator", estimators.__all__)
def test_every_estimator_has_pruned_weights_at_zero(estimator, key):
    """With all but the bias pruned the outputs are constant over x; the bias stays random."""
    layer = dq.BayesianLinear(3, 2, estimator=getattr(estimators, estimator), sigma_init=0.3, rngs=nnx.Rngs(0))
    layer.bias_posterior.mu.set_value(jnp.full(2, 100.0))
    pruned = dq.prune(layer, 6 / 8)
    np.testing.assert_array_equal(pruned(X), np.full((5, 2), 100.0))
    outputs = pruned(X, key=key)
    assert outputs.std() > 0.01
    grads = nnx.grad(lambda m: jnp.sum(m(X, key=key)))(pruned)
    for part in ("mu", "rho"):
        np.testing.assert_array_equal(grads["kernel_posterior"][part][...], 0.0)
    # The same outputs as of a layer without the kernel: the law of the bias alone.
    bias = layer.bias_posterior.get_value()
    draws = np.asarray(jax.jit(jax.vmap(lambda k: pruned(X[:1], key=k)))(jax.random.split(key, 4000)))[:, 0]
    np.testing.assert_allclose(draws.std(axis=0), bias.sigma, rtol=5 / np.sqrt(2 * 4000))


@pytest.mark.parametrize("name", ["MLP", "bayesianize"])
def test_training_goes_on_with_the_mask(name, key):
    make, x = MODELS[name]
    y = jnp.stack([x.sum(axis=1), x[:, 0]], axis=1)
    pruned = dq.prune(make(likelihood=dq.Gaussian(0.3)), 0.5)
    objective = dq.ELBO(kl_weight=dq.schedules.linear(15), sticking_the_landing=name == "MLP")
    options = dict(key=key, epochs=20, optimizer=ADAM, objective=objective)
    trained = dq.fit(pruned, x, y, **options).model
    assert jax.tree.structure(trained) == jax.tree.structure(pruned)
    for tensor, old in zip(weight_tensors(trained), weight_tensors(pruned), strict=True):
        np.testing.assert_array_equal(tensor.mask, old.mask)
        np.testing.assert_array_equal(tensor.mu[~tensor.mask], old.mu[~tensor.mask])
        np.testing.assert_array_equal(tensor.rho[~tensor.mask], old.rho[~tensor.mask])
        assert not tensor.mask.any() or (tensor.mu != old.mu)[tensor.mask].any()
    result = dq.predict_vi_uq(trained, x, key=key, n_samples=20)
    draws = jnp.stack([trained(x, key=jax.random.fold_in(key, i)) for i in range(20)])
    np.testing.assert_allclose(result.mean, draws.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_pruning_a_pruned_model_counts_what_is_pruned():
    model = MODELS["MLP"][0]()
    once, twice = dq.prune(model, 0.3), dq.prune(dq.prune(model, 0.3), 0.7)
    direct = dq.prune(model, 0.7)
    count = lambda m: sum(int((~leaf).sum()) for leaf in jax.tree.leaves(nnx.state(m, PruneMask)))
    assert count(once) == int(0.3 * 38)
    assert count(twice) == count(direct) == int(0.7 * 38)
    for a, b in zip(*(jax.tree.leaves(nnx.state(m, PruneMask)) for m in (twice, direct)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert count(dq.prune(twice, 0.1)) == count(twice)  # what is pruned stays so
    assert count(dq.prune(model, 0.0)) == 0
    np.testing.assert_allclose(dq.prune(model, 0.0).kl(), model.kl(), rtol=1e-5)
    assert not jax.tree.leaves(nnx.state(model, PruneMask))  # the model given is left as it is


def test_the_curve_says_which_weights_go():
    model = MODELS["MLP"][0]()
    fractions, ratio = dq.signal_to_noise_curve(model, points=39)
    ratios = np.sort(np.concatenate([np.ravel(t.signal_to_noise) for t in weight_tensors(model)]))
    np.testing.assert_allclose(ratio, np.quantile(ratios, fractions), rtol=1e-5)
    pruned = dq.prune(model, 0.5)
    kept = np.concatenate([np.ravel(t.signal_to_noise)[np.ravel(t.mask)] for t in weight_tensors(pruned)])
    assert kept.min() >= np.quantile(ratios, 0.5)
    np.testing.assert_allclose(dq.signal_to_noise_curve(pruned, points=2)[1], [0.0, ratios[-1]], rtol=1e-6)


def test_priors_of_every_kind_see_the_kept_weights_alone(key):
    q = dq.GaussianPosterior(jnp.array([0.5, -1.0, 2.0]), jnp.array([-1.0, 0.0, 1.0]))
    mask = jnp.array([True, False, True])
    kept = dq.GaussianPosterior(q.mu[mask], q.rho[mask])
    for prior in (dq.GaussianPrior(), dq.LaplacePrior(), dq.EmpiricalGaussianPrior(), dq.LearnedPrior()):
        np.testing.assert_allclose(q.masked(mask).kl(prior), kept.kl(prior), rtol=1e-5)
    noise = jnp.array([0.3, 9.0, -1.0])
    for prior in (dq.StudentTPrior(), dq.ScaleMixturePrior()):
        np.testing.assert_allclose(q.masked(mask).kl(prior, noise=noise), kept.kl(prior, noise=noise[mask]), rtol=1e-5)
    np.testing.assert_array_equal(q.masked(mask).sample(noise=noise)[1], 0.0)
    np.testing.assert_allclose(q.masked(mask).log_prob(q.mu), kept.log_prob(kept.mu), rtol=1e-6)
    nothing = q.masked(jnp.zeros(3, bool))
    for prior in (dq.GaussianPrior(), dq.EmpiricalGaussianPrior()):
        assert float(nothing.kl(prior)) == 0.0
        assert not np.any(
            jax.grad(lambda mu, p=prior: dq.GaussianPosterior(mu, q.rho).masked(nothing.mask).kl(p))(q.mu)
        )
    each = dq.GaussianPrior(sigma=jnp.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(
        q.masked(mask).kl(each), kept.kl(dq.GaussianPrior(sigma=jnp.array([0.1, 0.3]))), rtol=1e-5
    )


def test_prune_works_compiled_and_diagnose_takes_its_model(key):
    model = MODELS["MLP"][0](likelihood=dq.Gaussian(0.3))
    compiled = jax.jit(lambda m: dq.prune(m, 0.5))(model)
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
