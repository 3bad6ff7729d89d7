"""A `fit` that is stopped and called again ends as one that was never stopped, bit for bit."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.tests.profiles import small_profile
from deepuq_jax.tests.resuming import ADAM, SMALL, X, Y, assert_same, killed_after, parabola, steps_in
from deepuq_jax.training import _data, _epochs

pytestmark = pytest.mark.slow


def decay():
    return optax.cosine_decay_schedule(0.1, 16)


OPTIMIZERS = {
    "default": lambda: None,
    "natural gradients": dq.natural_gradient,
    "natural gradients with a start": lambda: dq.natural_gradient(0.1, initial_precision=1.0),
    "momentum": lambda: optax.sgd(decay(), momentum=0.9, nesterov=True),
    "chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(decay())),
    "hyperparameters": lambda: optax.inject_hyperparams(optax.adam)(decay()),
    "noise": lambda: optax.chain(optax.add_noise(0.1, 0.5, 7), optax.sgd(0.01)),
    "moments in bfloat16": lambda: optax.adam(1e-2, mu_dtype=jnp.bfloat16),
    "several steps": lambda: optax.MultiSteps(optax.adam(1e-2), 3),
    "line search": lambda: optax.lbfgs(),
    "plateau": lambda: optax.chain(optax.adam(1e-2), optax.contrib.reduce_on_plateau(patience=2)),
    "schedule free": lambda: optax.contrib.schedule_free_adamw(1e-2),
    "partition": lambda: optax.partition(
        {"mu": optax.adam(1e-2), "rho": optax.sgd(1e-2)},
        lambda params: {name: name.rsplit(".", 1)[-1] for name in params},
    ),
    "ignores what is not finite": lambda: optax.apply_if_finite(optax.adam(1e-2), 3),
}


@pytest.mark.parametrize(
    "name",
    small_profile(OPTIMIZERS, ["hyperparameters"]),
)
def test_a_run_with_any_kind_of_optimizer_resumes(name, tmp_path):
    optimizer = OPTIMIZERS[name]()
    options = {**SMALL, "optimizer": optimizer, "epochs": 4}
    if name == "default":
        options["objective"] = None
    whole = dq.fit(parabola(), X, Y, **options)
    killed_after(1, parabola(), X, Y, **options, checkpoint=tmp_path, save_every=2)
    # The optimizer is made anew, as in another process.
    options["optimizer"] = OPTIMIZERS[name]()
    assert_same(dq.fit(parabola(), X, Y, **options, checkpoint=tmp_path, save_every=2), whole)


class Rows(nnx.Module):
    """A small network with BatchNorm and dropout."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(1, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(3, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))


def with_state():
    return dq.bayesianize(Rows(), likelihood=dq.Gaussian(0.3))


@pytest.mark.long
def test_a_run_with_batch_norm_and_dropout_resumes(tmp_path):
    """The statistics, the typed key of the dropout stream and its count are part of the run."""
    options = {**SMALL, "optimizer": ADAM, "epochs": 3}
    whole = dq.fit(with_state(), X, Y, **options)
    assert any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(whole.state.carried))
    killed_after(1, with_state(), X, Y, **options, checkpoint=tmp_path)
    assert_same(dq.fit(with_state(), X, Y, **options, checkpoint=tmp_path), whole)


def test_early_stopping_resumes_with_its_best_model(tmp_path):
    options = {**SMALL, "optimizer": optax.adam(3e-2), "epochs": 50, "patience": 3, "validation_data": (X, -Y - 1)}
    whole = dq.fit(parabola(), X, Y, **options)
    epochs = len(whole.history["val_nll"])
    assert 4 <= epochs < 50
    killed_after(epochs - 2, parabola(), X, Y, **options, checkpoint=tmp_path)
    again = dq.fit(parabola(), X, Y, **options, checkpoint=tmp_path)
    assert_same(again, whole)
    # The folder keeps the last two checkpoints and that of the best epoch. An epoch has four steps.
    best = int(np.argmin(whole.history["val_nll"])) + 1
    assert steps_in(tmp_path) == sorted({4 * best, 4 * epochs - 4, 4 * epochs})
    assert_same(dq.fit(parabola(), X, Y, **options, checkpoint=tmp_path), whole)


def test_a_run_of_one_step_per_call_resumes_within_an_epoch(tmp_path, monkeypatch):
    """Convolutions train this way on a CPU. An interruption within an epoch saves the steps taken so far."""
    monkeypatch.setattr(_data, "is_slow_in_a_loop", lambda model, x: True)
    options = {**SMALL, "optimizer": ADAM, "epochs": 2}
    whole = dq.fit(parabola(), X, Y, **options)
    step, calls = _epochs._step_on_rows, []

    def interrupted(*arguments, **keywords):
        calls.append(None)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return step(*arguments, **keywords)

    monkeypatch.setattr(_epochs, "_step_on_rows", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        dq.fit(parabola(), X, Y, **options, checkpoint=tmp_path)
    assert int(caught.value.result.state.step) == 6
    assert steps_in(tmp_path) == [4, 6]
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert_same(dq.fit(parabola(), X, Y, **options, checkpoint=tmp_path), whole)
    # On a device where a call runs whole epochs, the interrupted epoch is still finished step by step.
    monkeypatch.setattr(_data, "is_slow_in_a_loop", lambda model, x: False)
    other = dq.fit(parabola(), X, Y, **options, checkpoint=tmp_path / "copy")
    assert int(other.state.step) == 8
    np.testing.assert_allclose(other.history["loss"], whole.history["loss"], rtol=1e-5)


def test_a_finished_run_returns_its_outcome_and_trains_nothing(tmp_path, monkeypatch):
    options = {**SMALL, "optimizer": ADAM, "epochs": 3, "checkpoint": tmp_path}
    first = dq.fit(parabola(), X, Y, **options)

    def train(*_):
        raise AssertionError

    monkeypatch.setattr(_epochs.InALoop, "run", train)
    assert_same(dq.fit(parabola(), X, Y, **options), first)


def test_saving_changes_no_number_and_bounds_the_epochs_per_call(tmp_path):
    options = {**SMALL, "optimizer": ADAM, "epochs": 5}
    whole = dq.fit(parabola(), X, Y, **options)
    result = dq.fit(parabola(), X, Y, **options, checkpoint=str(tmp_path / "new" / "run"), save_every=2, keep_last=9)
    assert_same(result, whole)
    assert steps_in(tmp_path / "new" / "run") == [8, 16, 20]


def test_a_run_continues_with_more_epochs_if_nothing_depends_on_their_number(tmp_path):
    options = {**SMALL, "optimizer": ADAM}
    dq.fit(parabola(), X, Y, **options, epochs=2, checkpoint=tmp_path)
    result = dq.fit(parabola(), X, Y, **options, epochs=5, checkpoint=tmp_path)
    assert_same(result, dq.fit(parabola(), X, Y, **options, epochs=5))
    with pytest.raises(ValueError, match="Expected epochs to be at least the 5 epochs of the checkpoint; got 4"):
        dq.fit(parabola(), X, Y, **options, epochs=4, checkpoint=tmp_path)


def test_a_copied_folder_is_a_run_of_its_own(tmp_path):
    """Neither a copy of the folder nor a copy within it is taken for a temporary folder."""
    options = {**SMALL, "optimizer": ADAM}
    first = tmp_path / "first"
    dq.fit(parabola(), X, Y, **options, epochs=2, checkpoint=first)
    copy = tmp_path / "copy.orbax-checkpoint-tmp-1"
    shutil.copytree(first / "8", first / "8.copy")
    shutil.copytree(first, copy)
    shutil.rmtree(first)
    result = dq.fit(parabola(), X, Y, **options, epochs=3, checkpoint=copy)
    assert_same(result, dq.fit(parabola(), X, Y, **options, epochs=3))
    assert steps_in(copy) == [8, 12]
    assert (copy / "8.copy").exists()
