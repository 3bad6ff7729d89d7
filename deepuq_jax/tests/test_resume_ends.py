"""How a `fit` with checkpoints ends early and resumes, and how training continues from a `TrainState`."""

import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deepuq_jax as dq
from deepuq_jax.tests.resuming import ADAM, KEY, SMALL, X, Y, assert_same, parabola, steps_in
from deepuq_jax.training import _data, _epochs

pytestmark = pytest.mark.slow

BATCHES = [(X[:10], Y[:10]), (X[10:], Y[10:])]
ITERABLE = {"key": KEY, "objective": dq.ELBO(20), "optimizer": ADAM, "epochs": 4}


class Iterator:
    """An iterator that reports its position, as those of grain do, and can be interrupted before a batch."""

    def __init__(self, stop_at, told=lambda position: {"next": position}):
        self.position, self.stop_at, self.told = 0, stop_at, told

    def __iter__(self):
        return self

    def __next__(self):
        if self.stop_at[0] == 0:
            raise KeyboardInterrupt
        self.stop_at[0] -= 1
        if self.position == len(BATCHES):
            raise StopIteration
        self.position += 1
        return BATCHES[self.position - 1]

    def get_state(self):
        return self.told(self.position)

    def set_state(self, state):
        assert state == self.told(self.position) or self.position == 0
        self.position = next(i for i in range(3) if self.told(i) == state)


class Loader:
    """Batches that start anew each epoch, with an interruption after a number of calls."""

    def __init__(self, make_iterator, stop_at=-1):
        self.make_iterator, self.stop_at, self.passes = make_iterator, [stop_at], 0

    def __iter__(self):
        self.passes += 1
        return self.make_iterator(self.stop_at)


class SizedLoader(Loader):
    """A loader that knows the number of its batches."""

    def __len__(self):
        return len(BATCHES)


@pytest.mark.parametrize("told", [lambda i: {"next": i}, lambda i: bytes([i, 255])], ids=["JSON", "bytes"])
def test_iterators_that_report_their_position_resume_there(told, tmp_path):
    def loader(stop_at=-1):
        return Loader(lambda left: Iterator(left, told), stop_at)

    whole = dq.fit(parabola(), loader(), **ITERABLE)
    # An epoch takes three calls of the iterator, so the second batch of the third epoch is never fetched.
    with pytest.raises(KeyboardInterrupt):
        dq.fit(parabola(), loader(7), **ITERABLE, checkpoint=tmp_path)
    assert steps_in(tmp_path) == [4, 5]
    assert_same(dq.fit(parabola(), loader(), **ITERABLE, checkpoint=tmp_path), whole)


def test_other_iterables_start_the_epoch_anew(tmp_path):
    def stopped(left):
        for batch in BATCHES:
            if left[0] == 0:
                raise OSError("disk")
            left[0] -= 1
            yield batch

    whole = dq.fit(parabola(), BATCHES, **ITERABLE)
    loader = SizedLoader(stopped, 5)
    with pytest.raises(OSError, match="disk") as caught:
        dq.fit(parabola(), loader, **ITERABLE, checkpoint=tmp_path, save_every=3)
    assert int(caught.value.result.state.step) == 5
    # Two epochs were complete, and are saved although a checkpoint is due after the third.
    assert steps_in(tmp_path) == [4]
    assert_same(dq.fit(parabola(), BATCHES, **ITERABLE, checkpoint=tmp_path), whole)


class Shuffled:
    """Batches in an order that differs from epoch to epoch."""

    def __init__(self):
        self.random = np.random.default_rng(0)

    def __iter__(self):
        return (BATCHES[i] for i in self.random.permutation(2))

    def get_state(self):
        return self.random.bit_generator.state

    def set_state(self, state):
        self.random.bit_generator.state = state


def test_batches_that_differ_from_epoch_to_epoch_resume(tmp_path):
    whole = dq.fit(parabola(), Shuffled(), **ITERABLE)
    dq.fit(parabola(), Shuffled(), **(ITERABLE | {"epochs": 2}), checkpoint=tmp_path)
    assert_same(dq.fit(parabola(), Shuffled(), **ITERABLE, checkpoint=tmp_path), whole)


def test_a_position_that_json_cannot_hold_is_refused(tmp_path):
    loader = Loader(lambda left: Iterator(left, lambda i: (i,)), 4)
    with pytest.raises(KeyboardInterrupt) as caught:
        dq.fit(parabola(), loader, **ITERABLE, checkpoint=tmp_path)
    assert any("get_state" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("save_every", [2, 9])
def test_ctrl_c_saves_before_it_raises(save_every, tmp_path, monkeypatch):
    """A Ctrl-C during a compiled call is held back until the epochs of that call are saved."""
    options = {**SMALL, "optimizer": ADAM, "epochs": 6}
    whole = dq.fit(parabola(), X, Y, **options)
    monkeypatch.setattr(_data, "_STEPS_PER_CALL", 8)
    run = _epochs._run_in_a_loop

    def interrupted(*arguments, **keywords):
        signal.raise_signal(signal.SIGINT)
        return run(*arguments, **keywords)

    monkeypatch.setattr(_epochs, "_run_in_a_loop", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        dq.fit(parabola(), X, Y, **options, checkpoint=tmp_path, save_every=save_every)
    monkeypatch.setattr(_epochs, "_run_in_a_loop", run)
    assert steps_in(tmp_path) == [8]
    assert len(caught.value.result.history["loss"]) == 2
    assert_same(dq.fit(parabola(), X, Y, **options, checkpoint=tmp_path), whole)


@pytest.mark.filterwarnings("ignore::deepuq_jax.training._scale.ScaleWarning")
def test_the_last_good_checkpoint_survives_a_step_that_is_not_finite(tmp_path):
    exploding = optax.sgd(lambda step: jnp.where(step < 9, 1e-3, jnp.inf))
    options = {**SMALL, "optimizer": exploding, "epochs": 6, "checkpoint": tmp_path}
    for _ in range(2):  # The same call again ends in the same way.
        with pytest.raises(dq.NonFiniteError, match="at step 9"):
            dq.fit(parabola(), X, Y, **options)
        assert steps_in(tmp_path) == [4, 8]


def test_training_continues_from_a_state_without_files():
    first = dq.fit(parabola(), X, Y, **SMALL, optimizer=ADAM, epochs=2)
    before = jax.tree.map(np.array, first.state.params)
    second = dq.fit(first.state, X, Y, **SMALL, optimizer=ADAM, epochs=3)
    assert int(second.state.step) == 20
    assert int(second.state.opt_state[0].count) == 20
    assert len(second.history["loss"]) == 3
    np.testing.assert_array_equal(second.history["kl_weight"], 1.0)
    jax.tree.map(np.testing.assert_array_equal, first.state.params, before)


@pytest.mark.long
def test_training_continues_from_a_state_of_natural_gradients():
    optimizer = dq.natural_gradient(0.05)
    first = dq.fit(parabola(), X, Y, **SMALL, optimizer=optimizer, epochs=2)
    second = dq.fit(first.state, X, Y, **SMALL, optimizer=optimizer, epochs=2)
    assert int(second.state.opt_state.count) == 16


def test_training_continues_from_a_state_after_a_step_that_was_not_finite():
    state = replace(dq.TrainState.create(parabola(), ADAM), bad_step=jnp.asarray(3, jnp.int32))
    result = dq.fit(state, X, Y, **SMALL, optimizer=ADAM, epochs=1)
    assert int(result.state.step) == 4
    assert int(result.state.bad_step) == -1


@pytest.mark.parametrize(
    ("before", "optimizer", "message"),
    [
        (ADAM, None, "Expected optimizer to be given with a TrainState"),
        (ADAM, optax.sgd(0.1), "Expected optimizer to be the optimizer that the state was created with"),
        (
            dq.natural_gradient(0.1),
            dq.natural_gradient(),
            "Expected learning_rate to be set with a TrainState, as in natural_gradient",
        ),
    ],
    ids=["none", "another", "natural gradients"],
)
def test_a_state_needs_its_optimizer(before, optimizer, message):
    state = dq.TrainState.create(parabola(), before)
    with pytest.raises(ValueError, match=message):
        dq.fit(state, X, Y, **SMALL, epochs=1, optimizer=optimizer)


def test_training_from_a_state_resumes_with_checkpoints(tmp_path):
    first = dq.fit(parabola(), X, Y, **SMALL, optimizer=ADAM, epochs=2)
    options = {**SMALL, "optimizer": ADAM}
    whole = dq.fit(first.state, X, Y, **options, epochs=3)
    dq.fit(first.state, X, Y, **options, epochs=1, checkpoint=tmp_path)
    assert_same(dq.fit(first.state, X, Y, **options, epochs=3, checkpoint=tmp_path), whole)
