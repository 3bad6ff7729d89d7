"""How a fit ends: its history is right, and after any interruption the model can be recovered."""

import signal

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
X = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
Y = X**2
BATCHES = [(X[:10], Y[:10]), (X[10:], Y[10:])]
ADAM = optax.adam(1e-2)


def model():
    return dq.BayesByBackpropMLP(1, (4,), 1, likelihood=dq.Gaussian(0.5), rngs=nnx.Rngs(0))


class Interrupted:
    """Batches for two epochs, and an error in the middle of the third epoch."""

    def __init__(self, error):
        self.error, self.passes = error, 0

    def __iter__(self):
        self.passes += 1
        yield BATCHES[0]
        if self.passes == 3:
            raise self.error
        yield BATCHES[1]


class PressesCtrlC(Interrupted):
    """Batches with Ctrl-C at the start of the third epoch, as the operating system delivers it."""

    def __iter__(self):
        self.passes += 1
        if self.passes == 3:
            signal.raise_signal(signal.SIGINT)
        yield from BATCHES


@pytest.mark.parametrize(
    ("batches", "kind"),
    [(Interrupted(KeyboardInterrupt()), KeyboardInterrupt), (Interrupted(OSError("disk")), OSError)],
)
def test_an_interrupted_fit_leaves_its_result(batches, kind):
    with pytest.raises(kind) as caught:
        dq.fit(model(), batches, key=KEY, objective=dq.ELBO(20), optimizer=ADAM, epochs=9)
    result = caught.value.result
    assert int(result.state.step) == 5
    whole = dq.fit(model(), BATCHES, key=KEY, objective=dq.ELBO(20), optimizer=ADAM, epochs=2)
    for name, values in whole.history.items():
        np.testing.assert_allclose(result.history[name], values, rtol=1e-6)
    assert np.isfinite(result.model(X)).all()
    assert "result" in caught.value.__notes__[0]


def test_ctrl_c_leaves_the_result():
    with pytest.raises(KeyboardInterrupt) as caught:
        dq.fit(model(), PressesCtrlC(None), key=KEY, objective=dq.ELBO(20), optimizer=ADAM, epochs=9)
    assert int(caught.value.result.state.step) == 4
    assert np.isfinite(caught.value.result.model(X)).all()


def test_ctrl_c_waits_for_the_end_of_a_step():
    from deepuq_jax.training._interrupt import deferred_interrupt

    done = []

    def step():
        with deferred_interrupt():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_best_model_survives_an_interruption():
    """With patience, the result of an interrupted fit has the model of the best epoch."""
    batches = Interrupted(KeyboardInterrupt())
    options = {"key": KEY, "objective": dq.ELBO(20), "optimizer": ADAM, "validation_data": (X, -10 - Y)}
    with pytest.raises(KeyboardInterrupt) as caught:
        dq.fit(model(), batches, epochs=9, patience=9, **options)
    best = int(np.argmin(caught.value.result.history["val_nll"])) + 1
    whole = dq.fit(model(), BATCHES, epochs=best, patience=9, **options)
    np.testing.assert_allclose(caught.value.result.model(X), whole.model(X), rtol=1e-6)


@pytest.mark.parametrize("as_batches", [False, True], ids=["arrays", "batches"])
def test_the_history_holds_the_weight_and_the_elbo(as_batches):
    """The KL has a rising weight in the loss, and the weight 1 in the ELBO."""
    objective = dq.ELBO(20, dq.schedules.linear(8))
    data = (BATCHES, None) if as_batches else (X, Y)
    options = {} if as_batches else {"batch_size": 10}
    history = dq.fit(model(), *data, key=KEY, objective=objective, optimizer=ADAM, epochs=6, **options).history
    np.testing.assert_allclose(history["kl_weight"], np.minimum((2 * np.arange(6) + 0.5) / 8, 1), rtol=1e-6)
    np.testing.assert_allclose(history["elbo"], -(history["nll"] + history["kl"] / 20), rtol=1e-5)
    steady = history["kl_weight"] == 1
    np.testing.assert_allclose(history["elbo"][steady], -history["loss"][steady], rtol=1e-5)


def test_the_documented_objective_reports_its_weight_and_no_elbo():
    history = dq.fit(model(), X, Y, key=KEY, objective=dq.DocumentedELBO(1, 0.5), optimizer=ADAM, epochs=2).history
    assert set(history) == {"loss", "nll", "kl", "kl_weight"}
    np.testing.assert_allclose(history["loss"], history["nll"] + 0.5 * history["kl"], rtol=1e-5)
