"""Natural gradients: the step in closed form, and the optimizer in every loop."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax import priors
from deepuq_jax.functional.natural_gradient import mean_step, precision_step
from deepuq_jax.tests import test_linear_regression as linear

N = 24
NOISE = dq.Gaussian(0.5)
OBJECTIVE = dq.ELBO(N, log_likelihood=NOISE)


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 2)).astype(np.float32)
    return x, x[:, :1] - 0.5 * x[:, 1:]


def layer(**options):
    return dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0), **options)


def exact_precision_step(rho, gradient, rate, limit):
    sigma = mp.log1p(mp.exp(rho))
    slope = 1 / (1 + mp.exp(-mp.mpf(rho)))
    a = max(-limit, min(limit, rate * gradient * sigma / slope))
    after = sigma / mp.sqrt(1 + a + a**2 / 2)
    return mp.log(mp.expm1(after)) - mp.log(mp.expm1(sigma)), after


@pytest.mark.parametrize("limit", [0.1, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_of_the_precision_agrees_with_sixty_digits(dtype, limit, x64):
    # With no limit, a single step can take a sigma above 80 to a thousandth, beyond the range of the exponential.
    starts = [-200.0, -80.0, -40.5, -39.5, -20.0, -5.0, -1.0, 0.0, 1.0, 3.0, 8.0, *([] if limit > 1 else [60.0, 1e3])]
    rho = np.repeat(np.array(starts, dtype), 5)
    gradient = np.tile(np.array([-3.0, -0.01, 1e-5, 0.02, 5.0], dtype), len(starts))
    step = precision_step(jnp.asarray(rho), jnp.asarray(gradient), dtype(0.1), limit)
    with mp.workdps(60 if dtype == np.float32 else 600):
        pairs = zip(rho.tolist(), gradient.tolist(), strict=True)
        exact = [exact_precision_step(r, g, mp.mpf(float(dtype(0.1))), mp.mpf(limit)) for r, g in pairs]
    change, sigma = (np.array([float(value) for value in column]) for column in zip(*exact, strict=True))
    eps = np.finfo(dtype).eps
    # The change is added to rho, which is stored to eps * |rho|.
    np.testing.assert_array_less(np.abs(step.rho - change), 4 * eps * np.maximum(np.abs(rho), 1.0))
    np.testing.assert_allclose(step.sigma, np.where(sigma < np.finfo(dtype).tiny, 0.0, sigma), rtol=8 * eps)


def test_an_infinite_gradient_is_not_a_long_step():
    rho, infinite = jnp.zeros(1), jnp.full(1, jnp.inf)
    assert jnp.isnan(precision_step(rho, infinite, 0.1, 0.1).rho).all()
    assert jnp.isnan(mean_step(infinite, jnp.ones(1), 0.1, 0.3)).all()


def test_a_step_of_the_mean_is_clipped_in_standard_deviations():
    gradient, sigma = jnp.array([-1e6, -1.0, 0.0, 1.0, 1e6]), jnp.full(5, 0.1)
    change = mean_step(gradient, sigma, 0.1, 0.3)
    np.testing.assert_allclose(change, [0.03, 0.001, 0.0, -0.001, -0.03], rtol=1e-6)


class Transcribed:
    """The update of `natural_gradient` in NumPy, in terms of the precision, for one tensor."""

    def __init__(self, rate, beta1, mean_limit, precision_limit):
        self.rate, self.beta1, self.mean_limit, self.precision_limit = rate, beta1, mean_limit, precision_limit
        self.average, self.step = 0.0, 0

    def __call__(self, mu, precision, grad_mu, grad_sigma):
        sigma = precision**-0.5
        a = 0.01 * N * sigma * grad_sigma
        a = np.clip(a, -self.precision_limit, self.precision_limit)
        precision = precision * (1 + a + a**2 / 2)
        self.average = self.beta1 * self.average + (1 - self.beta1) * grad_mu
        self.step += 1
        newton = N * self.average / (1 - self.beta1**self.step) / precision
        longest = self.mean_limit * precision**-0.5
        return mu - np.clip(self.rate * newton, -longest, longest), precision


@pytest.mark.parametrize("limits", [(0.3, 0.1), (np.inf, np.inf)], ids=["limits", "no limits"])
def test_two_hundred_steps_equal_a_transcription(limits, x64):
    """The gradients are written out, too: w = mu + sigma * noise, in regression with a Gaussian prior."""
    x, y = (np.asarray(part, np.float64) for part in data())
    model = layer(use_bias=False, sigma_init=0.2, prior=dq.GaussianPrior(sigma=1.0), param_dtype=jnp.float64)
    params, rest = dq.partition(model)
    mu, precision = np.asarray(params["kernel_posterior.mu"]), np.full((2, 1), 0.2**-2)
    optimizer = dq.natural_gradient(0.1, num_data=N, beta2=0.99, mean_limit=limits[0], precision_limit=limits[1])
    by_hand, state = Transcribed(0.1, 0.9, *limits), optimizer.init(params)

    @jax.jit
    def update(params, state, noise):
        def loss(params):
            return dq.negative_elbo(dq.combine(params, rest), x, y, noise=noise, num_data=N, log_likelihood=NOISE)[0]

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for noise in np.random.default_rng(1).normal(size=(200, 2, 1)):
        params, state = update(params, state, {"kernel": jnp.asarray(noise[None])})
        sigma = precision**-0.5
        grad_w = x.T @ (x @ (mu + sigma * noise) - y) / 0.5**2 / N
        mu, precision = by_hand(mu, precision, grad_w + mu / N, grad_w * noise + (sigma - 1 / sigma) / N)
    np.testing.assert_allclose(params["kernel_posterior.mu"], mu, rtol=1e-10)
    found = dq.functional.sigma_from_rho(params["kernel_posterior.rho"])
    np.testing.assert_allclose(found, precision**-0.5, rtol=1e-10)


@pytest.mark.slow
def test_linear_regression_is_solved_in_a_tenth_of_the_steps(x64, key):
    """`fit` under Adam takes 10,000 steps to these tolerances in `test_linear_regression.py`."""
    x, y, mean, sigma, _ = linear.problem()
    objective = dq.ELBO(log_likelihood=dq.Gaussian(linear.NOISE), mc_samples=16)
    options = dict(objective=objective, optimizer=dq.natural_gradient(), epochs=1000)
    mu, sd = linear.parameters(dq.fit(linear.layer(jnp.float64), x, y, key=key, **options).model)
    np.testing.assert_array_less(np.abs(mu - mean) / sigma, 0.1)
    np.testing.assert_allclose(sd, sigma, rtol=0.02)


def every_prior():
    made = [getattr(priors, name) for name in priors.__all__]
    return [kind() for kind in made if isinstance(kind, type) and issubclass(kind, dq.Prior) and kind is not dq.Prior]


@pytest.mark.slow
def test_every_prior_and_estimator_trains(key):
    """One layer for each prior, in a single program; their estimators alternate."""
    kinds = [dq.weight_sampling, dq.local_reparameterization, dq.flipout, dq.approximate_local_reparameterization]
    layers, known = [], every_prior()
    for i, prior in enumerate(known):
        options = dict(prior=prior, estimator=kinds[i % len(kinds)], rngs=nnx.Rngs(i))
        layers.append(dq.BayesianLinear(2, 2 if i < len(known) - 1 else 1, **options))
    assert len(layers) >= len(kinds)
    model = dq.Sequential(*layers, likelihood=NOISE)
    x, y = data()
    optimizer = dq.natural_gradient()
    history = dq.fit(model, x, y, key=key, optimizer=optimizer, epochs=400).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-20:].mean() < history["loss"][:5].mean()


def final(model):
    return jax.tree.map(np.asarray, dq.partition(model)[0])


def ends_of_both_loops(model, x, y, objective, keys):
    """Return the state after steps of `train_step`, and the parameters after those of a loop over mu and rho."""
    optimizer, own = dq.natural_gradient(), dq.natural_gradient(num_data=N)
    state = dq.TrainState.create(model, optimizer)
    params, rest = dq.partition(model)
    own_state = own.init(params)
    step = jax.jit(dq.train_step, static_argnames="optimizer")

    @jax.jit
    def gradient(params, key):
        return jax.grad(lambda params: objective(dq.combine(params, rest), x, y, key=key)[0])(params)

    for key in keys:
        state, _ = step(state, x, y, key=key, objective=objective, optimizer=optimizer)
        updates, own_state = own.update(gradient(params, key), own_state, params)
        params = optax.apply_updates(params, updates)
    assert int(state.bad_step) == -1
    return state, params


@pytest.mark.slow
def test_every_loop_takes_the_same_steps():
    state, params = ends_of_both_loops(layer(), *data(), OBJECTIVE, jax.random.split(jax.random.key(0), 5))
    ends = dq.partition(state.model)[0], params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *ends)


@pytest.mark.slow
def test_an_optimizer_of_flax_takes_the_same_steps():
    x, y = data()
    model, reference = layer(), layer()
    key = jax.random.key(0)
    with_flax = nnx.Optimizer(model, dq.natural_gradient(num_data=N), wrt=nnx.Param)
    optimizer = dq.natural_gradient()
    state = dq.TrainState.create(reference, optimizer)
    for _ in range(2):
        with_flax.update(model, nnx.grad(lambda model: OBJECTIVE(model, x, y, key=key)[0])(model))
        state, _ = dq.train_step(state, x, y, key=key, objective=OBJECTIVE, optimizer=optimizer)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), final(model), final(state.model))


@pytest.mark.slow
def test_other_parameters_are_trained_by_the_inner_optimizer(key):
    net = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Linear(3, 1, rngs=nnx.Rngs(1)))
    model = dq.bayesianize(net, where="layers.1.*", rest="trained", likelihood=NOISE)
    x, y = data()
    moved = {}
    for rest in (optax.adam(1e-2), optax.set_to_zero()):
        after = dq.fit(model, x, y, key=key, epochs=3, optimizer=dq.natural_gradient(rest=rest)).model
        changes = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), final(model), final(after))
        moved[rest] = {name for name, change in changes.items() if change > 0}
    adam, zero = moved.values()
    assert adam == set(final(model))
    assert zero == {name for name in adam if "mu" in name.split(".") or "rho" in name.split(".")}


def test_it_works_in_a_chain_with_a_schedule(key):
    x, y = data()
    schedule = optax.linear_schedule(0.1, 0.0, 3)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), dq.natural_gradient(schedule))
    result = dq.fit(layer(), x, y, key=key, epochs=3, objective=OBJECTIVE, optimizer=optimizer)
    still = dq.natural_gradient(lambda _: 0.0)
    after = dq.fit(result.model, x, y, key=key, epochs=1, objective=OBJECTIVE, optimizer=still).model
    np.testing.assert_array_equal(after.kernel_posterior.mu, result.model.kernel_posterior.mu)
    assert np.abs(after.kernel_posterior.rho - result.model.kernel_posterior.rho).max() > 0


@pytest.mark.slow
def test_injected_hyperparameters_can_be_changed_during_training(key):
    x, y = data()
    step = jax.jit(dq.train_step, static_argnames="optimizer")
    injected = optax.inject_hyperparams(dq.natural_gradient)(0.1)
    state = dq.TrainState.create(layer(), injected)
    with pytest.raises(TypeError, match=r'Expected mean_limit .* static_args=\("mean_limit", "precision_limit"\); got'):
        step(state, x, y, key=key, objective=OBJECTIVE, optimizer=injected)
    injected = optax.inject_hyperparams(dq.natural_gradient, static_args=("mean_limit", "precision_limit"))(0.1)
    state = dq.TrainState.create(layer(), injected)
    for rate in (0.1, 0.05):
        state.opt_state.hyperparams["learning_rate"] = jnp.asarray(rate)
        plain = dq.natural_gradient(rate)
        reference = dq.TrainState.create(layer(), plain)
        (after, _), (wanted, _) = (
            step(start, x, y, key=key, objective=OBJECTIVE, optimizer=optimizer)
            for start, optimizer in ((state, injected), (reference, plain))
        )
        ends = final(after.model), final(wanted.model)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *ends)


def test_equal_settings_share_a_compiled_program(key):
    x, y = data()
    state = dq.TrainState.create(layer(), dq.natural_gradient())
    traced = []

    def step(state, optimizer):
        traced.append(optimizer)
        return dq.train_step(state, x, y, key=key, objective=OBJECTIVE, optimizer=optimizer)[0]

    jitted = jax.jit(step, static_argnums=1)
    for optimizer in (dq.natural_gradient(), dq.natural_gradient(), dq.natural_gradient(0.2)):
        jitted(state, optimizer)
    assert len(traced) == 2


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [1e-6, 3.0], ids=["narrow", "wide"])
@pytest.mark.parametrize("rate", [0.1, 1.0])
@pytest.mark.filterwarnings("ignore::deepuq_jax.training._scale.ScaleWarning")
def test_no_start_and_no_rate_diverges(sigma, rate, key):
    """A precision that is too small for the rate makes plain natural gradients explode; the limits prevent it."""
    x, y = data()
    model = dq.BayesByBackpropMLP(2, (8,), 1, sigma_init=sigma, likelihood=dq.Gaussian(0.05), rngs=nnx.Rngs(0))
    schedule = dq.schedules.linear(100)  # It starts at a weight of 0, by which no step may divide.
    result = dq.fit(
        model, x, y, key=key, epochs=300, objective=dq.ELBO(kl_weight=schedule), optimizer=dq.natural_gradient(rate)
    )
    assert np.isfinite(result.history["loss"]).all()
    assert result.history["nll"][-50:].mean() < result.history["nll"][:5].mean()


@pytest.mark.slow
def test_the_kl_weight_changes_the_optimum_and_not_the_speed(x64):
    """For a quadratic loss, the first step of the means is about the same for a cold posterior."""
    x, y = data()
    steps = []
    for weight in (1.0, 0.1):
        model = layer(use_bias=False, sigma_init=0.1 * weight**0.5, param_dtype=jnp.float64)
        # The prior's part of the gradient is small here. The likelihood's part and the precision are both 1 / weight
        # times those at the weight 1, so the steps agree.
        optimizer, objective = dq.natural_gradient(mean_limit=np.inf), dq.ELBO(N, weight, log_likelihood=NOISE)
        state = dq.TrainState.create(model, optimizer)
        options = dict(key=jax.random.key(0), objective=objective, optimizer=optimizer)
        after, _ = dq.train_step(state, x, y, **options)
        steps.append(np.asarray(after.params["kernel_posterior.mu"] - state.params["kernel_posterior.mu"]))
    np.testing.assert_allclose(steps[1], steps[0], rtol=0.2)


def test_model_and_optimizer_take_the_memory_of_a_deterministic_network_under_adam():
    def size(tree):
        return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))

    state = dq.TrainState.create(dq.BayesByBackpropMLP(50, (40,), 10, rngs=nnx.Rngs(0)), dq.natural_gradient())
    means = {name: leaf for name, leaf in state.params.items() if name.endswith(".mu")}
    assert size((state.params, state.opt_state)) <= 1.05 * size((means, optax.adam(1e-3).init(means)))
