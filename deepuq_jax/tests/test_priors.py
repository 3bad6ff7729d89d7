"""Priors against 60 digits, a prior per parameter, and scales set by the posterior or by training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax import priors
from deepuq_jax.tests import reference, tolerances


def terms(function, *args):
    """Return values and slopes, entry by entry, of a function that returns sums."""
    return jax.jit(jax.vmap(jax.value_and_grad(function, argnums=tuple(range(len(args))))))(*args)


def test_laplace_kl_and_gradient_against_60_digits(dtype):
    mu = np.array([0.0, 1e-30, 0.3, -5.0, 1e3, 0.2, 0.0, 2e-4], dtype)
    sigma = np.array([0.1, 1e-3, 0.3, 0.01, 50.0, 1e-12, 1e-12, 1e-4], dtype)
    rho = np.asarray(dq.functional.rho_from_sigma(sigma))
    prior = dq.LaplacePrior(0.25, 0.5)
    value, (by_mu, by_rho) = terms(prior.kl, mu, rho)
    exact = (mu, rho, 0.25, 0.5)
    rtol = 4 * tolerances.CLOSED_FORM[dtype.name]
    np.testing.assert_allclose(value, reference.laplace_kl(*exact), rtol=rtol)
    np.testing.assert_allclose(by_mu, reference.laplace_kl_gradient_mu(*exact), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(by_rho, reference.laplace_kl_gradient_rho(*exact), rtol=rtol, atol=rtol)


def test_laplace_kl_where_sigma_underflows():
    value, (by_mu, by_rho) = terms(dq.LaplacePrior(scale=0.5).kl, jnp.array([0.0, 2.0]), jnp.array([-1e4, -1e4]))
    np.testing.assert_allclose(value, [1e4 - np.log(np.sqrt(2 * np.pi * np.e)), 1e4 + 4 - 1.4189385], rtol=1e-6)
    np.testing.assert_array_equal(by_mu, [0.0, 2.0])
    np.testing.assert_allclose(by_rho, [-1.0, -1.0], rtol=1e-6)


@pytest.mark.parametrize(("sigma1", "sigma2"), [(1.0, 0.0009765625), (1.0, 0.9921875), (0.0078125, 4.0)])
def test_scale_mixture_far_in_the_tails_against_60_digits(dtype, sigma1, sigma2):
    """The log density is right up to 10^4 sigma of the wide component; the naive density is 0 beyond 38 sigma."""
    wide = max(sigma1, sigma2)
    w = np.concatenate([[0.0], np.geomspace(1e-6, 1e4, 61) * wide]).astype(dtype)
    w = np.concatenate([w, -w])
    value, (slope,) = terms(dq.ScaleMixturePrior(0.25, sigma1, sigma2).log_prob, w)
    rtol = tolerances.CLOSED_FORM[dtype.name]
    np.testing.assert_allclose(value, reference.scale_mixture_log_prob(w, 0.25, sigma1, sigma2), rtol=rtol, atol=rtol)
    # The share of a component is the exponential of a rounded number. Its relative error is the number's absolute
    # error.
    shares = 200 * np.finfo(dtype).eps
    np.testing.assert_allclose(slope, reference.scale_mixture_gradient(w, 0.25, sigma1, sigma2), rtol=shares)


@pytest.mark.parametrize("df", [1.0, 4.0, 1048576.0])
def test_student_t_against_60_digits(dtype, df):
    w = np.concatenate([[0.0], np.geomspace(1e-6, 1e6, 25)]).astype(dtype)
    value, (slope,) = terms(dq.StudentTPrior(df, scale=0.125).log_prob, w)
    rtol = tolerances.CLOSED_FORM[dtype.name]
    np.testing.assert_allclose(value, reference.student_t_log_prob(w, df, 0.125), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(slope, reference.student_t_gradient(w, df, 0.125), rtol=rtol)


def posterior():
    return dq.GaussianPosterior(jnp.array([0.5, -1.0, 2.0]), dq.functional.rho_from_sigma(jnp.array([0.1, 0.5, 1.0])))


def test_the_empirical_scale_is_the_best_one():
    q, prior = posterior(), dq.EmpiricalGaussianPrior(0.25)
    sigma = dq.functional.sigma_from_rho
    factors = jnp.array([0.9, 0.99, 1.01, 1.1])

    def profile(mu, rho):
        return 1.5 * jnp.log(jnp.mean(sigma(rho) ** 2 + (mu - 0.25) ** 2)) - jnp.log(sigma(rho)).sum()

    @jax.jit
    def look_at(q):
        best = prior.resolve(q.mu, q.rho).sigma
        others = jax.vmap(lambda factor: q.kl(dq.GaussianPrior(0.25, factor * best)))(factors)
        kl, grads = jax.value_and_grad(lambda q: q.kl(prior))(q)
        return best, kl, others, (grads.mu, grads.rho), jax.grad(profile, argnums=(0, 1))(q.mu, q.rho)

    best, kl, others, grads, expected_grads = look_at(q)
    expected = np.sqrt(np.mean(np.square([0.1, 0.5, 1.0]) + np.square(np.array([0.5, -1.0, 2.0]) - 0.25)))
    np.testing.assert_allclose(best, expected, rtol=1e-6)
    np.testing.assert_allclose(kl, np.log(expected / np.array([0.1, 0.5, 1.0])).sum(), rtol=1e-5)
    assert (others > kl).all()
    # At the minimum, the scale adds nothing to the gradient, which is that of the sum of log ratios.
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(grad, expected_grad, rtol=1e-5)


def test_the_empirical_scale_of_extreme_posteriors():
    prior = dq.EmpiricalGaussianPrior()
    for size in (1e-30, 1e30):
        np.testing.assert_allclose(prior.resolve(jnp.full(3, size), jnp.full(3, -1e4)).sigma, size, rtol=1e-6)
    zero = dq.GaussianPosterior(jnp.zeros(3), jnp.full(3, -1e4))
    assert np.isfinite(jax.grad(lambda q: q.kl(prior))(zero).mu).all()


def data():
    x = jnp.linspace(-1, 1, 32)[:, None]
    return x, 2 * x


@pytest.mark.slow
def test_scales_follow_the_posterior_and_training_under_fit_and_vmap(key):
    """After a fit, the scales of tensors differ, the learned ones have moved, and the KL is taken at them."""
    x, y = data()
    for prior in (dq.EmpiricalGaussianPrior(), dq.LearnedPrior(dq.GaussianPrior(sigma=0.1))):

        def net(seed, prior=prior):
            return dq.BayesByBackpropMLP(1, (8,), 1, prior=prior, likelihood=dq.Gaussian(0.1), rngs=nnx.Rngs(seed))

        model = dq.fit(net(0), x, y, key=key, epochs=60, optimizer=optax.adam(3e-2)).model
        scales = [float(tensor.prior.sigma) for tensor in dq.diagnostics.weights.weight_tensors(model)]
        assert np.ptp(scales) > 0.01
        assert abs(scales[0] - 0.1) > 0.05

        @jax.jit
        def both(model):
            tensors = dq.diagnostics.weights.weight_tensors(model)
            return model.kl(), sum(dq.GaussianPosterior(t.mu, t.rho).kl(t.prior) for t in tensors)

        np.testing.assert_allclose(*both(model), rtol=1e-5)
    models = jax.jit(jax.vmap(net))(jax.random.split(key, 2))

    def step(model, key):
        state = dq.TrainState.create(model, ADAM)
        return dq.train_step(state, x, y, key=key, objective=dq.ELBO(32), optimizer=ADAM)[0].model

    trained = jax.jit(jax.vmap(step))(models, jax.random.split(key, 2))
    before, after = (m.layers[0].prior.get_value().log_scales["sigma"] for m in (models, trained))
    assert before.shape == (2,)
    assert (after != before).all()


ADAM = optax.adam(1e-2)


def test_a_learned_scale_reaches_the_minimum_in_closed_form():
    q, start = posterior(), dq.LearnedPrior(dq.GaussianPrior(0.25, 0.1))
    step = jax.jit(lambda p: jax.tree.map(lambda v, g: v - 0.1 * g, p, jax.grad(lambda p: q.kl(p))(p)))
    learned = start
    for _ in range(200):
        learned = step(learned)
    np.testing.assert_allclose(
        learned.at_present().sigma, dq.EmpiricalGaussianPrior(0.25).resolve(q.mu, q.rho).sigma, rtol=1e-4
    )


def test_learned_scales_of_every_prior_and_of_each_weight(key):
    @jax.jit
    def both(learned, prior):
        return [posterior().kl(p, key=key) for p in (learned, prior)]

    for prior in (dq.LaplacePrior(), dq.StudentTPrior(), dq.ScaleMixturePrior()):
        learned = dq.LearnedPrior(prior)
        np.testing.assert_allclose(*both(learned, prior), rtol=1e-5)
        assert len(jax.tree.leaves(learned)) == len(prior.SCALES)
    each = dq.LearnedPrior(dq.GaussianPrior(sigma=jnp.array([0.1, 0.2, 0.3])))
    np.testing.assert_allclose(*both(each, each.at_present()), rtol=1e-6)
    own = dq.bayesianize(
        (lambda p, x: x, {"a": jnp.ones(2), "b": jnp.ones(3)}), prior=lambda path, leaf: dq.LearnedPrior()
    )
    assert len(jax.tree.leaves(nnx.state(own, nnx.Param))) == 4 + 2
    shared = dq.bayesianize((lambda p, x: x, {"a": jnp.ones(2), "b": jnp.ones(3)}), prior=dq.LearnedPrior())
    assert len(jax.tree.leaves(nnx.state(shared, nnx.Param))) == 4 + 1


def kl_of(q, prior):
    return float(unwrap(q).kl(prior))


def unwrap(variable):
    return variable.get_value()


def test_a_prior_for_each_parameter_by_path():
    wide, narrow, laplace = dq.GaussianPrior(sigma=1.0), dq.GaussianPrior(sigma=0.2), dq.LaplacePrior()
    rule = dq.by_path({"layers.0.kernel": narrow, "*.bias": laplace, "*": wide})
    model = dq.BayesByBackpropMLP(3, (4,), 2, prior=rule, rngs=nnx.Rngs(0))
    first, last = model.layers[0], model.layers[2]
    parts = [(first.kernel_posterior, narrow), (last.kernel_posterior, wide)]
    parts += [(layer.bias_posterior, laplace) for layer in (first, last)]
    np.testing.assert_allclose(model.kl(), sum(kl_of(*part) for part in parts), rtol=1e-5)
    again = dq.BayesByBackpropMLP(3, (4,), 2, prior=rule, rngs=nnx.Rngs(0))
    assert jax.tree.structure(again) == jax.tree.structure(model)  # Equal priors need no second compilation.
    rule = dq.by_path({"layers.0.*": narrow, "*": dq.GaussianPrior(sigma=jnp.asarray(1.0))})
    net = nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(4, 2, rngs=nnx.Rngs(0)))
    model = dq.bayesianize(net, where="kernels", prior=rule)
    mu, rho = unwrap(model.posterior).mu["layers"], unwrap(model.posterior).rho["layers"]
    expected = narrow.kl(mu[0]["kernel"], rho[0]["kernel"]) + wide.kl(mu[2]["kernel"], rho[2]["kernel"])
    np.testing.assert_allclose(model.kl(), expected, rtol=1e-5)
    head = dq.LastLayerVariationalInference(
        jnp.tanh, 3, 2, prior=dq.by_path({"head.kernel": wide, "head.bias": narrow}), rngs=nnx.Rngs(0)
    ).head
    np.testing.assert_allclose(
        head.kl(), kl_of(head.kernel_posterior, wide) + kl_of(head.bias_posterior, narrow), rtol=1e-5
    )


@pytest.mark.slow
def test_a_prior_without_a_closed_form_beside_one_that_has_it(key):
    """The closed form stays exact, and the other KL is taken at the draw of the likelihood."""
    wide, mixture = dq.GaussianPrior(sigma=1.0), dq.ScaleMixturePrior()
    layer = dq.BayesianLinear(3, 2, prior=dq.by_path({"kernel": mixture, "bias": wide}), rngs=nnx.Rngs(0))
    with pytest.raises(dq.KeyRequiredError, match="ScaleMixturePrior"):
        layer.kl()
    drawn = dq.draw(layer, key=key).kernel.get_value()
    q = unwrap(layer.kernel_posterior)
    x, y = jnp.ones((4, 3)), jnp.ones((4, 2))

    @jax.jit
    def pairs(layer):
        expected = q.log_prob(drawn) - mixture.log_prob(drawn) + unwrap(layer.bias_posterior).kl(wide)
        options = dict(key=key, num_data=4, log_likelihood=dq.Gaussian(1.0))
        _, terms = dq.negative_elbo(layer, x, y, **options)
        return (layer.kl(key), expected), (terms.kl, layer.kl(jax.random.fold_in(key, 0)))

    for actual, expected in pairs(layer):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
    health = dq.diagnose(layer, x, y, key=key, n_samples=100, log_likelihood=dq.Gaussian(1.0))
    assert np.isfinite(health.elbo)


def test_fan_in():
    rule = dq.fan_in_gaussian(2.0)
    for shape, fan_in in {(): 1, (5,): 1, (16, 5): 16, (3, 3, 4, 8): 36}.items():
        assert rule("", jnp.zeros(shape)).sigma == pytest.approx(2.0 / np.sqrt(fan_in))
    assert dq.fan_in_gaussian(out_axis=0)("", jnp.zeros((5, 16))).sigma == 0.25
    assert dq.fan_in_gaussian(out_axis=(-2, -1))("", jnp.zeros((16, 4, 2))).sigma == 0.25
    assert dq.fan_in_gaussian(out_axis=(-2, -1))("", jnp.zeros(8)).sigma == 1.0
    layer = dq.BayesianConv(4, 6, (2,), prior=dq.fan_in_gaussian(), rngs=nnx.Rngs(0))
    scales = [tensor.prior.sigma for tensor in dq.diagnostics.weights.weight_tensors(layer)]
    np.testing.assert_allclose(scales, [1 / np.sqrt(8), 1.0])

    # A gain that is an array can be swept like any other scale.
    def kl(gain):
        return dq.BayesianLinear(4, 2, prior=dq.fan_in_gaussian(gain), rngs=nnx.Rngs(0)).kl()

    np.testing.assert_allclose(jax.vmap(kl)(jnp.array([0.5, 2.0])), [kl(0.5), kl(2.0)], rtol=1e-5)


@jax.tree_util.register_pytree_node_class
class LookAlike:
    """A distribution like those of numpyro: callable, a pytree, with a log density per entry."""

    def __init__(self, loc, scale):
        self.loc, self.scale = loc, scale

    def __call__(self, key):
        raise AssertionError("a prior is not a rule")

    def log_prob(self, value):
        return jax.scipy.stats.norm.logpdf(value, self.loc, self.scale)

    def tree_flatten(self):
        return (self.loc, self.scale), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


class Closure:
    """A prior that holds an array, but is not a pytree."""

    scale = np.asarray(0.5, np.float32)

    def log_prob(self, value):
        return jax.scipy.stats.norm.logpdf(value, 0.0, self.scale)


@pytest.mark.slow
def test_any_object_with_a_log_prob_is_a_prior(key):
    x, y = data()

    def by_rule(prior):
        return dq.by_path({"*.bias": dq.LaplacePrior(), "*": prior})

    array = LookAlike(jnp.zeros(()), jnp.asarray(0.5))
    for prior in (LookAlike(0.0, 0.5), by_rule(array), by_rule(Closure())):
        model = dq.BayesByBackpropMLP(1, (), 1, prior=prior, likelihood=dq.Gaussian(0.1), rngs=nnx.Rngs(0))
        result = dq.fit(model, x, y, key=key, objective=dq.ELBO(), epochs=12, optimizer=ADAM)
        assert result.history["loss"][-1] < result.history["loss"][0]
    exact = dq.BayesianLinear(3, 2, prior=dq.GaussianPrior(sigma=0.5), rngs=nnx.Rngs(0)).kl()
    for prior in (LookAlike(0.0, 0.5), array, Closure()):
        layer = dq.BayesianLinear(3, 2, prior=prior, rngs=nnx.Rngs(0))
        kls = jax.jit(jax.vmap(layer.kl))(jax.random.split(key, 2000))
        error = float(kls.std()) / np.sqrt(2000)
        assert abs(float(kls.mean()) - float(exact)) < tolerances.STANDARD_ERRORS * error


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def log_prob(self, w):
        return jnp.zeros(())


def linear(**options):
    return dq.BayesianLinear(3, 2, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear(prior=dq.by_path({"kernel": dq.GaussianPrior()})), ValueError, "a pattern for 'bias'"),
        (lambda: dq.by_path({"kernel": 0.1}), TypeError, "the prior of 'kernel'"),
        (lambda: linear(prior=lambda path, leaf: 0.1), TypeError, "the prior of 'bias'"),
        (lambda: linear(prior=Unhashable()), TypeError, "hashable"),
        (lambda: dq.fan_in_gaussian(0.0), ValueError, "Expected gain"),
        (lambda: dq.LearnedPrior(0.1), TypeError, "a scale"),
        (lambda: dq.LearnedPrior(dq.EmpiricalGaussianPrior()), TypeError, "a scale"),
        (lambda: dq.LearnedPrior(dq.GaussianPrior(jnp.zeros(2), 1.0)), ValueError, "plain numbers"),
        (
            lambda: linear(
                prior=dq.by_path({"kernel": dq.LearnedPrior(), "*": dq.GaussianPrior(sigma=jnp.asarray(1.0))})
            ),
            ValueError,
            "beside a learned one",
        ),
        (lambda: dq.ScaleMixturePrior(pi=1.0), ValueError, "prior pi"),
        (lambda: dq.ScaleMixturePrior(pi=0.0), ValueError, "prior pi"),
        (lambda: dq.StudentTPrior(df=0.0), ValueError, "prior df"),
        (lambda: dq.LaplacePrior(mu="0"), TypeError, "prior mu"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_every_class_in_priors_is_a_prior_and_every_other_name_a_rule():
    for name in priors.__all__:
        thing = getattr(priors, name)
        if isinstance(thing, type):
            assert issubclass(thing, dq.Prior), name
        else:
            assert callable(thing), name
            assert not hasattr(thing, "log_prob"), name
