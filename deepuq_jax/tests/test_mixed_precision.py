"""Mixed precision: which operations are in bfloat16, what stays in float32, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.model.precision import in_compute_dtype
from deepuq_jax.objectives.precision import InComputeDtype
from deepuq_jax.tests.networks import NETWORKS, ConvNet
from deepuq_jax.tests.profiles import small_profile

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)
BFLOAT16 = jnp.dtype(jnp.bfloat16)
QUICK = ["layers", "frozen features", "NNX conv net with BatchNorm", "Equinox with state"]


def classifier(**options):
    return dq.BayesByBackpropMLP(3, (4,), 2, likelihood=dq.Categorical(), rngs=nnx.Rngs(0), **options)


def last_layer():
    net = nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.BatchNorm(4, rngs=nnx.Rngs(1)))
    return dq.LastLayerVariationalInference(net, 4, 2, task="classification", rngs=nnx.Rngs(0))


def frozen_features():
    net = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    return dq.LastLayerVariationalInference(net, 4, 2, task="classification", frozen=True, rngs=nnx.Rngs(0))


def mixed():
    first, last = nnx.Linear(3, 4, rngs=nnx.Rngs(0)), dq.BayesianLinear(4, 2, rngs=nnx.Rngs(1))
    return dq.Sequential(first, nnx.relu, last, likelihood=dq.Categorical())


def standardized():
    return dq.Standardized(classifier(), X, Y)


MODELS = {
    "layers": (classifier, X),
    "local reparameterization": (lambda: classifier(estimator=dq.local_reparameterization), X),
    "flipout": (lambda: classifier(estimator=dq.flipout), X),
    "a last layer": (last_layer, X),
    "frozen features": (frozen_features, X),
    "layers of Flax between": (mixed, X),
    "standardized": (standardized, X),
}


def of_network(name):
    net, _, x = NETWORKS[name]()
    return dq.bayesianize(net), x


def dtypes_of_products(jaxpr):
    """Return the dtypes that products and convolutions take, in a program and in those that it calls."""
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            found |= {var.aval.dtype for var in equation.invars}
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            found |= dtypes_of_products(inner) if hasattr(inner, "eqns") else set()
    return found


@pytest.mark.parametrize("name", small_profile([*MODELS, *NETWORKS], QUICK))
def test_products_are_in_bfloat16(name):
    if name in MODELS:
        model, x = MODELS[name][0](), MODELS[name][1]
    else:
        model, x = of_network(name)

    def outputs(model, x, key):
        return in_compute_dtype(model, BFLOAT16)(x, key=key)

    program = jax.make_jaxpr(outputs)(model, x, KEY)
    assert dtypes_of_products(program.jaxpr) == {BFLOAT16}


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_in_float32(name):
    make, x = MODELS[name]
    params, rest = dq.partition(make())
    objective = InComputeDtype(dq.ELBO(num_data=16), BFLOAT16, dq.ELBO.measures)

    def loss(params):
        return objective(dq.combine(params, rest), x, Y, key=KEY)

    (value, terms), grads = jax.eval_shape(jax.value_and_grad(loss, has_aux=True), params)
    found = {leaf.dtype for leaf in jax.tree.leaves((value, terms._replace(state=None), grads))}
    assert found == {jnp.dtype("float32")}
    carried = [leaf for leaf in jax.tree.leaves(rest.carried) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    after = [leaf for leaf in jax.tree.leaves(terms.state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in after} <= {leaf.dtype for leaf in carried}


def test_a_dtype_of_the_call_and_one_of_the_layers_give_the_same_predictions():
    options = {"key": KEY, "n_samples": 4}
    of_the_call = dq.predict_vi_uq(classifier(), X, **options, compute_dtype="bfloat16")
    of_the_layers = dq.predict_vi_uq(classifier(dtype=jnp.bfloat16), X, **options)
    np.testing.assert_array_equal(of_the_call.probs, of_the_layers.probs)
    assert of_the_call.probs.dtype == jnp.float32


@pytest.mark.parametrize("density", [dq.log_predictive_density, dq.log_density_with_error])
def test_log_densities_compute_in_bfloat16(density):
    def of_model(model, key):
        return density(model, X, Y, key=key, n_samples=4, compute_dtype=jnp.bfloat16)

    program = jax.make_jaxpr(of_model)(classifier(), KEY)
    assert dtypes_of_products(program.jaxpr) == {BFLOAT16}
    assert {found.dtype for found in program.out_avals} == {jnp.dtype("float32")}


def test_a_layer_keeps_a_dtype_of_its_own():
    layers = dq.BayesianLinear(3, 4, rngs=nnx.Rngs(0)), dq.BayesianLinear(4, 2, dtype=jnp.float32, rngs=nnx.Rngs(1))
    model = in_compute_dtype(dq.Sequential(*layers), BFLOAT16)
    assert [layer.dtype for layer in model.layers] == [BFLOAT16, jnp.float32]
    assert layers[0].dtype is None


@pytest.mark.parametrize("train", [dq.train_step, partial(dq.train_epoch, batch_size=16)])
def test_a_step_and_an_epoch_compute_in_bfloat16_and_keep_their_state(train):
    adam = optax.adam(1e-2)
    state = dq.TrainState.create(classifier(), adam)

    def trained(state, dtype):
        return train(state, X, Y, key=KEY, objective=dq.ELBO(16), optimizer=adam, compute_dtype=dtype)

    found = [
        dtypes_of_products(jax.make_jaxpr(partial(trained, dtype=dtype))(state).jaxpr) for dtype in (None, "bfloat16")
    ]
    # The sums of the KL and of the check are products with ones, in float32.
    assert found == [{jnp.dtype("float32")}, {jnp.dtype("float32"), BFLOAT16}]
    after, terms = jax.eval_shape(partial(trained, dtype=BFLOAT16), state)
    assert [leaf.dtype for leaf in jax.tree.leaves(after)] == [leaf.dtype for leaf in jax.tree.leaves(state)]
    assert terms.loss.dtype == jnp.float32


@pytest.mark.slow
def test_fit_keeps_parameters_optimizer_and_statistics_in_float32():
    class Rows(nnx.Module):
        def __init__(self):
            self.first = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
            self.norm = nnx.BatchNorm(4, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.norm(self.first(x))[:, :2]

    model = dq.bayesianize(Rows(), likelihood=dq.Categorical())
    options = {"key": KEY, "optimizer": optax.adam(1e-2), "objective": dq.ELBO(), "epochs": 4, "batch_size": 8}
    low = dq.fit(model, X, Y, **options, compute_dtype=jnp.bfloat16)
    for one, other in ((low.state, dq.TrainState.create(model, options["optimizer"])), (low.model, model)):
        assert jax.tree.structure(one) == jax.tree.structure(other)
        assert [leaf.dtype for leaf in jax.tree.leaves(one)] == [leaf.dtype for leaf in jax.tree.leaves(other)]
    assert low.history["loss"][-1] < low.history["loss"][0]


@pytest.mark.parametrize("dtype", [jnp.float16, "float8_e4m3fn", jnp.int32])
def test_a_dtype_without_the_range_of_float32_is_refused(dtype):
    with pytest.raises(ValueError, match="Expected compute_dtype to be bfloat16, float32 or float64"):
        dq.fit(classifier(), X, Y, key=KEY, compute_dtype=dtype)
    with pytest.raises(ValueError, match="Expected compute_dtype to be bfloat16, float32 or float64"):
        dq.predict_vi_uq(classifier(), X, key=KEY, compute_dtype=dtype)


def test_a_compute_dtype_without_effect_is_refused():
    with pytest.raises(ValueError, match="Expected compute_dtype to be None with method='moments'"):
        dq.predict_vi_uq(classifier(), X, method="moments", key=KEY, compute_dtype=jnp.bfloat16)

    @jax.tree_util.register_pytree_node_class
    class Own:
        def __init__(self, posterior):
            self.posterior = posterior

        def tree_flatten(self):
            return (self.posterior,), None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

        def __call__(self, x, *, key=None):
            return x @ (self.posterior.mean() if key is None else self.posterior.sample(key=key))

        def kl(self, key=None):
            return self.posterior.kl(dq.GaussianPrior())

    own = Own(dq.MeanField.init(jnp.ones((3, 1)), 0.1))
    with pytest.raises(ValueError, match="Expected model to hold layers of Flax or of this library"):
        dq.predict_vi_uq(own, X, key=KEY, compute_dtype=jnp.bfloat16)


def test_a_network_with_dropout_keeps_its_statistics_in_float32():
    model = dq.bayesianize(ConvNet(), likelihood=dq.Categorical())
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype(np.float32)
    outputs = in_compute_dtype(model, BFLOAT16).call_with_state
    found, state = jax.eval_shape(lambda key: outputs(images, key=key), KEY)
    assert found.dtype == BFLOAT16
    statistics = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in statistics} == {jnp.dtype("float32")}
