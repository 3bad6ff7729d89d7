"""`fit` as a user sees it: compilations, early stopping, iterables, and bad data."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.training import _data

GAUSSIAN = dq.Gaussian(0.3)
ADAM = optax.adam(1e-2)
# Tests that share these options, the data and the model share a compiled program.
SHARED = dict(optimizer=ADAM, batch_size=25)


def data(n=50):
    x = np.linspace(-1, 1, n, dtype=np.float32)[:, None]
    return x, x**2


def with_square(x):
    return jnp.concatenate([x, jnp.square(x)], axis=1)


def parabola():
    """Build a model that fits the data with one layer, since a training program costs compile time per tensor."""
    return dq.Sequential(with_square, dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0)), likelihood=GAUSSIAN)


class Counting:
    """A likelihood that records each time it is traced."""

    def __init__(self):
        self.traces = []

    def __call__(self, outputs, y):
        if isinstance(outputs, jax.core.Tracer):
            self.traces.append(outputs.shape)
        return GAUSSIAN(outputs, y)


@pytest.mark.slow
def test_one_compilation_for_the_whole_run_and_for_a_second_run(key):
    x, y = data()
    counting = Counting()
    options = dict(key=key, optimizer=ADAM, batch_size=16)
    dq.fit(parabola(), x, y, objective=dq.ELBO(log_likelihood=counting), epochs=1, **options)
    first = list(counting.traces)
    # The check of the targets traces all 50 examples. The program traces only a full batch and the remainder.
    assert set(first) == {(50, 1), (16, 1), (2, 1)}
    counting.traces.clear()
    dq.fit(parabola(), x, y, objective=dq.ELBO(kl_weight=0.5, log_likelihood=counting), epochs=3, **options)
    assert counting.traces == [(50, 1)]


def test_a_schedule_compiles_once(key):
    x, y = data()
    counting, schedule = Counting(), optax.linear_schedule(0.0, 1.0, 10)
    objective = dq.ELBO(kl_weight=schedule, log_likelihood=counting)
    options = dict(key=key, objective=objective, **SHARED)
    dq.fit(parabola(), x, y, epochs=1, **options)
    counting.traces.clear()
    dq.fit(parabola(), x, y, epochs=4, **options)
    assert counting.traces == [(50, 1)]


def test_history_is_arrays_by_epoch_and_the_loss_falls(key):
    x, y = data()
    result = dq.fit(parabola(), x, y, key=key, objective=dq.ELBO(), epochs=150, **SHARED)
    assert set(result.history) == {"loss", "nll", "kl", "kl_weight", "elbo"}
    assert all(isinstance(v, np.ndarray) and v.shape == (150,) for v in result.history.values())
    assert result.history["loss"][-1] < 0.5 * result.history["loss"][0]
    np.testing.assert_allclose(
        result.history["loss"], result.history["nll"] + result.history["kl"] / 50, rtol=1e-4, atol=1e-4
    )


def test_same_key_same_result_and_the_callers_model_is_unchanged(key):
    x, y = data()
    model = parabola()
    before = jax.tree.map(np.array, nnx.state(model))
    one = dq.fit(model, x, y, key=key, epochs=3, **SHARED)
    two = dq.fit(model, x, y, key=key, epochs=3, **SHARED)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(one.model), nnx.state(two.model))
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model), before)
    other = dq.fit(model, x, y, key=jax.random.key(1), epochs=3, **SHARED)
    assert not np.array_equal(one.model.layers[1].kernel_posterior.mu, other.model.layers[1].kernel_posterior.mu)


@pytest.mark.slow
def test_fit_equals_a_loop_over_the_pure_functions(key):
    x, y = data()
    result = dq.fit(parabola(), x, y, key=key, objective=dq.ELBO(), epochs=2, batch_size=16, optimizer=ADAM)
    train_key, _ = jax.random.split(key)
    state = dq.TrainState.create(parabola(), ADAM)
    train_epoch = jax.jit(lambda state, key: dq.train_epoch(state, x, y, key=key, batch_size=16, optimizer=ADAM)[0])
    for epoch in range(2):
        state = train_epoch(state, jax.random.fold_in(train_key, epoch))
    for a, b in zip(jax.tree.leaves(result.model), jax.tree.leaves(state.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_early_stopping_returns_the_best_model(key):
    x, y = data()
    # Training moves away from these validation targets, so an early epoch is the best.
    result = dq.fit(
        parabola(), x, y, key=key, epochs=200, patience=3, validation_data=(x, -y - 1), optimizer=optax.adam(3e-2)
    )
    scores = result.history["val_nll"]
    assert len(scores) < 200
    assert len(scores) - 1 - int(np.argmin(scores)) == 3
    _, score_key = jax.random.split(key)
    density = dq.log_predictive_density(result.model, x, -y - 1, key=score_key, n_samples=10)
    np.testing.assert_allclose(-float(density.mean()), scores.min(), rtol=1e-5)


def test_validation_without_patience_only_scores(key):
    x, y = data()
    result = dq.fit(parabola(), x, y, key=key, epochs=4, validation_data=(x, y), **SHARED)
    assert result.history["val_nll"].shape == (4,)


def test_progress_shows_epochs(key, capsys):
    pytest.importorskip("tqdm")
    x, y = data()
    dq.fit(parabola(), x, y, key=key, epochs=3, progress=True, **SHARED)
    assert "3/3" in capsys.readouterr().err


class Loader:
    """Batches that start anew each epoch, like those of a torch DataLoader."""

    def __init__(self, x, y, batch_size):
        self.x, self.y, self.batch_size = x, y, batch_size

    def __iter__(self):
        for i in range(0, len(self.x), self.batch_size):
            yield self.x[i : i + self.batch_size], self.y[i : i + self.batch_size]


@pytest.mark.slow
def test_batches_from_an_iterable_compile_once_per_shape(key):
    x, y = data()
    counting = Counting()
    options = dict(key=key, objective=dq.ELBO(50, log_likelihood=counting), optimizer=ADAM)
    result = dq.fit(parabola(), Loader(x, y, 16), epochs=10, **options)
    # The check of the targets traces each batch that comes. Besides, there are two programs, for 16 and for 2 examples.
    checks = 10 * 4
    assert len(counting.traces) - checks <= 2 * 2
    assert result.history["loss"][-1] < result.history["loss"][0]
    assert result.history["loss"].shape == (10,)


def test_an_iterator_that_ends_after_one_epoch_is_refused(key):
    x, y = data()
    with pytest.raises(ValueError, match="start anew each epoch"):
        dq.fit(parabola(), iter([(x, y)]), key=key, objective=dq.ELBO(50), epochs=2, optimizer=ADAM)


def test_a_bad_batch_is_refused_as_it_comes(key):
    x, y = data()
    batches = [(x, y), (x * np.nan, y)]
    with pytest.raises(ValueError, match="Expected x to be finite"):
        dq.fit(parabola(), batches, key=key, objective=dq.ELBO(50), epochs=1, optimizer=ADAM)


@pytest.mark.filterwarnings("ignore::deepuq_jax.training._scale.ScaleWarning")
def test_a_loss_that_blows_up_stops_with_the_step_and_the_last_good_model(key):
    x, y = data()

    def exploding(outputs, y):
        return GAUSSIAN(outputs, y) + jnp.where(jnp.abs(outputs[:, 0]) > 3.0, jnp.nan, 0.0)

    objective = dq.ELBO(kl_weight=dq.schedules.linear(188), log_likelihood=exploding)
    with pytest.raises(dq.NonFiniteError, match="at step") as caught:
        dq.fit(
            parabola(), x, y * 1e4, key=key, objective=objective, epochs=50, batch_size=10, optimizer=optax.sgd(1e-3)
        )
    error = caught.value
    assert error.step >= 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(error.result.model))
    assert len(error.result.history["loss"]) == error.step // 5 + 1
    assert np.isfinite(np.asarray(error.result.model(x))).all()


def test_a_dict_of_inputs_goes_through(key):
    class TwoInputs(nnx.Module):
        def __init__(self):
            self.layer = dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0))
            self.likelihood = GAUSSIAN

        def __call__(self, x, *, key=None):
            return self.layer(jnp.concatenate([x["a"], x["b"]], axis=1), key=key)

        def kl(self, key=None):
            return self.layer.kl(key)

    x, y = data()
    result = dq.fit(TwoInputs(), {"a": x, "b": x**2}, y, key=key, epochs=2)
    assert dq.predict_vi_uq(result.model, {"a": x, "b": x}, key=key, n_samples=3, batch_size=20).mean.shape == (50, 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": data()[0] * np.nan}, ValueError, "Expected x to be finite"),
        ({"y": data()[1] * np.inf}, ValueError, "Expected y to be finite"),
        ({"y": data()[1][:, 0]}, ValueError, r"Expected y of shape \[50, 1\]"),
        ({"y": data()[1][:10]}, ValueError, "to hold 50 examples"),
        ({"x": np.zeros((0, 1)), "y": np.zeros((0, 1))}, ValueError, "at least one example"),
        ({"x": np.zeros((50, 2))}, ValueError, "Expected x to have shape"),
        ({"objective": dq.ELBO(log_likelihood=dq.Categorical())}, TypeError, "integer labels"),
        (
            {"objective": dq.ELBO(log_likelihood=dq.Categorical()), "y": np.full(50, 3)},
            ValueError,
            "at least two classes",
        ),
        ({"batch_size": 2.0}, ValueError, "Expected batch_size"),
        ({"epochs": 0}, ValueError, "Expected epochs"),
        ({"patience": 3}, ValueError, "Expected validation_data"),
        ({"patience": 0, "validation_data": data()}, ValueError, "Expected patience"),
        ({"validation_data": (data()[0], data()[1] * np.nan)}, ValueError, "Expected y to be finite"),
        ({"objective": "elbo"}, TypeError, "Expected objective to be a callable"),
        ({"objective": dq.ELBO}, TypeError, "Expected objective to be an instance, such as ELBO()"),
        ({"key": 0}, TypeError, "Expected key"),
        ({"y": None}, ValueError, "Expected y"),
        ({"x": [data()], "y": None}, ValueError, r"Expected objective .* as in ELBO\(num_data=N\)"),
        ({"x": [data()], "y": None, "objective": dq.ELBO()}, ValueError, "Expected num_data"),
        ({"x": [data()], "y": None, "objective": dq.ELBO(50), "batch_size": 5}, ValueError, "Expected batch_size"),
    ],
)
def test_bad_input_is_refused_before_training(change, error, message, key):
    x, y = data()
    arguments = dict(x=x, y=y, key=key, epochs=1) | change
    with pytest.raises(error, match=message):
        dq.fit(parabola(), arguments.pop("x"), arguments.pop("y"), **arguments)


@pytest.mark.slow
def test_convolutions_on_a_cpu_run_one_step_per_call_and_match_the_loop(key, monkeypatch):
    images = np.random.default_rng(0).standard_normal((10, 6, 6, 1)).astype(np.float32)
    labels = np.arange(10) % 3
    rngs = nnx.Rngs(0)
    members = (dq.BayesianConv(1, 2, (3, 3), rngs=rngs), lambda h: h.mean((1, 2)), dq.BayesianLinear(2, 3, rngs=rngs))
    model = dq.Sequential(*members, likelihood=dq.Categorical())
    assert _data.is_slow_in_a_loop(model, images) == (jax.default_backend() == "cpu")
    assert not _data.is_slow_in_a_loop(parabola(), data()[0])
    options = dict(key=key, epochs=3, batch_size=4, optimizer=ADAM)
    fitted = {}
    for is_slow in (True, False):
        monkeypatch.setattr(_data, "is_slow_in_a_loop", lambda *_, is_slow=is_slow: is_slow)
        fitted[is_slow] = dq.fit(model, images, labels, **options)
    for a, b in zip(jax.tree.leaves(fitted[True]), jax.tree.leaves(fitted[False]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
