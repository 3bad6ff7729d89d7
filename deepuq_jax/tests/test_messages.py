"""Errors for wrong uses say what to do, and common kinds of input are accepted."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(12, 2)
LABELS = (X[:, 0] > 0).astype(np.int32)
ADAM = optax.adam(1e-2)


def classifier(**options):
    return dq.BayesByBackpropMLP(2, (4,), 2, likelihood=dq.Categorical(), rngs=nnx.Rngs(0), **options)


def regressor():
    return dq.BayesByBackpropMLP(2, (4,), 1, likelihood=dq.Gaussian(0.5), rngs=nnx.Rngs(0))


def fit(model, x, y, **options):
    return dq.fit(model, x, y, key=KEY, **{"epochs": 1, "optimizer": ADAM, **options})


def predict(model, x):
    return dq.predict_vi_uq(model, x, key=KEY, n_samples=2)


WRONG = {
    "the result of fit": (lambda: predict(fit(classifier(), X, LABELS), X), "its attribute `model`"),
    "a plain network": (lambda: fit(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), X, LABELS), "bayesianize"),
    "a plain network, predicted": (lambda: predict(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), X), "bayesianize"),
    "the data first": (lambda: fit(X, LABELS, classifier()), "model as the first argument"),
    "the inputs first": (lambda: predict(X, classifier()), "model as the first argument"),
    "a learning rate": (lambda: fit(classifier(), X, LABELS, optimizer=1e-3), r"optax\.adam\(1e-3\)"),
    "an optimizer's maker": (lambda: fit(classifier(), X, LABELS, optimizer=optax.adam), r"optax\.adam\(1e-3\)"),
    "a learning rate in a state": (lambda: dq.TrainState.create(classifier(), 0.1), r"optax\.adam\(1e-3\)"),
    "a seed as rngs": (lambda: dq.BayesianLinear(2, 2, rngs=0), r"nnx\.Rngs\(0\)"),
    "a key as rngs": (lambda: dq.BayesByBackpropMLP(2, (), 2, rngs=KEY), r"nnx\.Rngs\(0\)"),
    "streams as key": (lambda: dq.predict_vi_uq(classifier(), X, key=nnx.Rngs(0)), r"one key of jax\.random\.key"),
    "a likelihood's class": (lambda: dq.BayesianLinear and dq.Sequential(likelihood=dq.Gaussian), "an instance"),
    "a likelihood's name": (
        lambda: dq.bayesianize(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), likelihood="gaussian"),
        "callable",
    ),
    "1-D targets": (lambda: fit(regressor(), X, X[:, 0]), r"y\[:, None\]"),
    "one-hot labels": (lambda: fit(classifier(), X, np.eye(2, dtype=int)[LABELS]), r"argmax\(1\)"),
    "a batch of three": (lambda: fit(classifier(), [(X, LABELS, X)], None, objective=dq.ELBO(12)), r"pair \(x, y\)"),
    "a batch of names": (
        lambda: fit(classifier(), [{"x": X, "y": LABELS}], None, objective=dq.ELBO(12)),
        r"pair \(x, y\)",
    ),
    "a generator function": (
        lambda: fit(classifier(), lambda: iter([(X, LABELS)]), None, objective=dq.ELBO(12)),
        "an iterable of batches",
    ),
    "a generator for many epochs": (
        lambda: fit(classifier(), iter([(X, LABELS)]), None, objective=dq.ELBO(12), epochs=3),
        "start anew each epoch",
    ),
    "a Bayesian model made Bayesian": (lambda: dq.bayesianize(classifier()), "a Bayesian model already"),
    "a small num_data": (lambda: fit(classifier(), X, LABELS, objective=dq.ELBO(4)), "num_data"),
    "another optimizer than the state's": (
        lambda: dq.train_step(
            dq.TrainState.create(classifier(), optax.sgd(0.1)),
            X,
            LABELS,
            key=KEY,
            objective=dq.ELBO(12),
            optimizer=ADAM,
        ),
        "the optimizer that the state was created with",
    ),
    "a single example": (lambda: predict(classifier(), X[0]), r"batch"),
    "words": (lambda: fit(classifier(), [["a", "b"]], [0]), "to hold numbers"),
}


@pytest.mark.parametrize(("use", "message"), WRONG.values(), ids=WRONG)
def test_the_error_for_a_wrong_use_says_what_to_do(use, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        use()
    assert str(error.value).startswith("Expected")


class Frame:
    """A stand-in for a data frame."""

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return self.values


def torch_tensor(values):
    torch = pytest.importorskip("torch")
    return torch.tensor(values)


@pytest.mark.parametrize("kind", [np.ndarray.tolist, Frame, torch_tensor], ids=["list", "data frame", "torch"])
def test_other_kinds_of_inputs_are_taken_in_training_and_prediction(kind):
    result = fit(classifier(), kind(X), kind(LABELS), validation_data=(kind(X), kind(LABELS)))
    exact = fit(classifier(), X, LABELS, validation_data=(X, LABELS))
    np.testing.assert_allclose(result.history["val_nll"], exact.history["val_nll"], rtol=1e-5)
    np.testing.assert_allclose(predict(result.model, kind(X)).probs, predict(exact.model, X).probs, rtol=1e-5)
    density = dq.log_predictive_density(result.model, kind(X), kind(LABELS), key=KEY, n_samples=2)
    assert density.shape == (12,)


def test_bool_labels_and_numpy_numbers_are_taken():
    history = fit(classifier(), X, LABELS.astype(bool)).history
    np.testing.assert_array_equal(history["loss"], fit(classifier(), X, LABELS).history["loss"])
    assert dq.Gaussian(np.std(X)) == dq.Gaussian(float(np.std(X)))


def test_a_batch_size_beyond_the_data_takes_all_of_them():
    exact = fit(classifier(), X, LABELS, batch_size=12).history["loss"]
    np.testing.assert_array_equal(fit(classifier(), X, LABELS, batch_size=500).history["loss"], exact)


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(optax.lbfgs(), marks=pytest.mark.long),  # Its line search takes seconds to compile.
        optax.chain(optax.adam(5e-2), optax.contrib.reduce_on_plateau()),
    ],
    ids=["lbfgs", "reduce_on_plateau"],
)
def test_optimizers_with_extra_arguments_train(optimizer):
    """The noise is nearly 0, since a line search needs a deterministic function."""
    model = dq.BayesByBackpropMLP(2, (4,), 1, sigma_init=1e-4, likelihood=dq.Gaussian(0.5), rngs=nnx.Rngs(0))
    history = fit(model, X, X[:, :1], optimizer=optimizer, epochs=30, objective=dq.ELBO(kl_weight=0.0)).history
    assert history["nll"][-1] < history["nll"][0]


def test_models_can_be_pickled():
    model = fit(classifier(), X, LABELS).model
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model))(X, key=KEY), model(X, key=KEY))


def test_strict_dtype_promotion_is_no_obstacle():
    """Adam of optax itself fails in this mode, so this test uses SGD."""
    with jax.numpy_dtype_promotion("strict"):
        model = fit(classifier(), jnp.asarray(X), jnp.asarray(LABELS), optimizer=optax.sgd(0.1)).model
        predict(model, jnp.asarray(X))
