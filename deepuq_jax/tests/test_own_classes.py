"""Classes of a user's own: each layer has noise of its own, and a draw is the model at its key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq

X, Y = jnp.linspace(-1, 1, 20).reshape(5, 4), jnp.zeros((5, 4))


class Two(nnx.Module):
    """Two layers of one shape."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        # The attributes are not in the order of the calls.
        self.second = dq.BayesianLinear(4, 4, sigma_init=1.0, rngs=rngs)
        self.first = dq.BayesianLinear(4, 4, sigma_init=1.0, rngs=rngs)


class Split(Two):
    def __call__(self, x, *, key=None):
        first, second = (None, None) if key is None else jax.random.split(key)
        return self.second(jnp.tanh(self.first(x, key=first)), key=second)


class Shared(Two):
    def __call__(self, x, *, key=None):
        return self.second(self.first(x, key=key), key=key)


class SharedInACheckpoint(Two):
    def __call__(self, x, *, key=None):
        hidden = jax.checkpoint(lambda x: self.first(x, key=jax.random.fold_in(key, 0)))(x)
        return self.second(hidden, key=jax.random.fold_in(key, 0))


class SharedInACompiledFunction(Two):
    def __call__(self, x, *, key=None):
        call = jax.jit(lambda layer, x, key: layer(x, key=key))
        return call(self.second, call(self.first, x, key), key)


class SharedInALoop(Two):
    def __call__(self, x, *, key=None):
        def step(x, _):
            return self.second(self.first(x, key=key), key=key), None

        return jax.lax.scan(step, x, None, length=2)[0]


class Forgetful(Two):
    def __call__(self, x, *, key=None):
        return self.second(self.first(x), key=key)


class Recurrent(Two):
    """A cell is one draw, so it is reached with one key at every step."""

    def __call__(self, x, *, key=None):
        first, second = (None, None) if key is None else jax.random.split(key)
        hidden, _ = jax.lax.scan(lambda h, _: (jnp.tanh(self.first(h, key=first)), None), x, None, length=3)
        return self.second(hidden, key=second)


class Fresh(Two):
    """A layer that is drawn anew at each of its calls."""

    def __call__(self, x, *, key=None):
        keys = [None] * 3 if key is None else jax.random.split(key, 3)
        return self.second(self.first(self.first(x, key=keys[0]), key=keys[1]), key=keys[2])


class OnlyOne(Two):
    """The KL of the layer that is not called counts."""

    def __call__(self, x, *, key=None):
        return self.first(x, key=key)


class OneOfTwo(Two):
    """Only one branch of a condition runs, so its layers may share a key."""

    def __call__(self, x, *, key=None):
        return jax.lax.cond(x.sum() > 0, lambda: self.first(x, key=key), lambda: self.second(x, key=key))


class Derivative(Split):
    """A derivative with respect to the input, example by example."""

    def __call__(self, x, *, key=None):
        return jax.vmap(jax.grad(lambda x: jnp.sum(Split.__call__(self, x[None], key=key))))(x)


class Nested(nnx.Module):
    """Own classes inside of own classes, beside a network of another library."""

    def __init__(self):
        self.inner = Split()
        self.net = dq.bayesianize(nnx.Linear(4, 4, rngs=nnx.Rngs(1)))

    def __call__(self, x, *, key=None):
        inner, net = (None, None) if key is None else jax.random.split(key)
        return self.net(self.inner(x, key=inner), key=net)


class SplitAndFoldedIn(Two):
    """`split(key, n)[i]` is `fold_in(key, i)`."""

    def __call__(self, x, *, key=None):
        hidden = self.first(x, key=jax.random.split(key, 3)[1])
        return self.second(hidden, key=jax.random.fold_in(key, 1))


class NestedShared(Nested):
    def __call__(self, x, *, key=None):
        first = None if key is None else jax.random.split(key)[0]
        return self.net(self.inner(x, key=key), key=first)


class Stack(nnx.Module):
    """Layers stacked along an axis."""

    has_own_keys, is_mapped = False, False

    def __init__(self):
        keys = jax.random.split(jax.random.key(0), 3)
        self.layers = jax.vmap(lambda key: dq.BayesianLinear(4, 4, rngs=nnx.Rngs(key)))(keys)

    def __call__(self, x, *, key=None):
        if self.is_mapped:
            return jax.vmap(lambda layer: layer(x, key=key))(self.layers).sum(0)
        keys = jax.random.split(key, 3) if self.has_own_keys else jnp.stack([key] * 3)

        def with_own_key(x, layer_and_key):
            layer, own = layer_and_key
            return layer(x, key=own), None

        def with_one_key(x, layer):
            return layer(x, key=key), None

        if self.has_own_keys:
            return jax.lax.scan(with_own_key, x, (self.layers, keys))[0]
        return jax.lax.scan(with_one_key, x, self.layers)[0]


class StackWithOwnKeys(Stack):
    has_own_keys = True


class MappedStack(Stack):
    is_mapped = True


def elbo(model):
    return dq.negative_elbo(model, X, Y, key=jax.random.key(0), num_data=5, log_likelihood=dq.Gaussian(1.0))


def predict(model):
    return dq.predict_vi_uq(model, X, key=jax.random.key(0), n_samples=3)


def traced(use, model):
    """The check reads the traced program, so nothing needs to be compiled."""
    return jax.eval_shape(use, model)


@pytest.mark.parametrize("use", [elbo, predict])
@pytest.mark.parametrize(
    "make",
    [Split, Recurrent, Fresh, OnlyOne, OneOfTwo, Derivative, Nested, StackWithOwnKeys],
    ids=lambda make: make.__name__,
)
def test_a_class_that_splits_its_key_is_accepted(make, use):
    traced(use, make())


@pytest.mark.parametrize("use", [elbo, predict])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Shared, "one key for 'first' and 'second'. Split the key"),
        (SharedInACheckpoint, "one key for 'first' and 'second'"),
        (SharedInACompiledFunction, "one key for 'first' and 'second'"),
        (SplitAndFoldedIn, "one key for 'first' and 'second'"),
        (SharedInALoop, "one key for 'first' and 'second'"),
        (NestedShared, "one key for 'inner.first' and 'net'"),
        (Forgetful, "got none for 'first'. Pass it a key"),
        (Stack, "the same key at each step of 'layers'. Split the key"),
        (MappedStack, "the same key at each step of 'layers'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_layers_that_share_noise_are_refused_by_name(make, message, use):
    with pytest.raises(ValueError, match="Expected") as error:
        traced(use, make())
    assert message in str(error.value)


def test_layers_that_share_noise_are_refused_outside_of_any_trace():
    for use in (elbo, predict):
        with pytest.raises(ValueError, match="one key for 'first' and 'second'"):
            use(Shared())


def test_an_own_class_inside_a_sequential_is_checked():
    class Block(Shared):
        def kl(self, key=None):
            return self.first.kl(key) + self.second.kl(key)

    with pytest.raises(ValueError, match=r"'layers\.1\.first' and 'layers\.1\.second'"):
        predict(dq.Sequential(nnx.relu, Block()))


def test_the_programs_that_run_hold_no_marks_of_the_check():
    program = jax.make_jaxpr(lambda model: elbo(model)[0])(Split())
    assert "noise_use" not in str(program)


@pytest.mark.slow
@pytest.mark.parametrize("make", [Split, Recurrent, Fresh, Nested, Derivative], ids=lambda make: make.__name__)
def test_a_draw_is_the_model_at_its_key(make):
    model, key = make(), jax.random.key(7)
    drawn = dq.draw(model, key=key)
    np.testing.assert_array_equal(drawn(X), model(X, key=key))
    np.testing.assert_array_equal(drawn(X, key=jax.random.key(8)), drawn(X))
    # Sums of terms that cancel keep fewer digits, so the tolerance is relative to the largest output.
    largest = float(jnp.abs(drawn(X)).max())
    np.testing.assert_allclose(jax.jit(lambda drawn: drawn(X))(drawn), drawn(X), rtol=1e-6, atol=1e-6 * largest)
    assert float(drawn.kl()) == 0
    assert not jax.tree.leaves(nnx.state(drawn, nnx.Param))


def test_draws_of_the_two_layers_are_independent():
    """With sigma = 1 and means of 0, the mean product of two layers with shared noise would be far from 0."""
    model = Split()
    for layer in (model.first, model.second):
        layer.kernel_posterior.mu[...] = jnp.zeros((4, 4))

    def product(key):
        noise = [
            layer.draw_noise(X, key=k)["kernel"]
            for layer, k in zip((model.first, model.second), jax.random.split(key), strict=True)
        ]
        return jnp.mean(noise[0] * noise[1])

    products = jax.jit(jax.vmap(product))(jax.random.split(jax.random.key(0), 500))
    assert abs(float(products.mean())) < 5 * float(products.std()) / 500**0.5


def test_diagnose_refuses_a_class_that_forgets_its_key():
    """Without the check, `diagnose` would report no problem."""
    pytest.importorskip("arviz_stats")
    model = Forgetful()
    model.likelihood = nnx.static(dq.Gaussian(1.0))
    with pytest.raises(ValueError, match="got none for 'first'"):
        dq.diagnose(model, X, Y, key=jax.random.key(0), n_samples=100)
