"""A model trained in one package predicts alike in the other.

It also trains on there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

import deepuq_jax as dj
import deepuq_torch as dt
from parity_tests import bridge
from parity_tests.harness import error_of, precisely

_STEPS, _DRAWS = 20, 9
_PARTS = [f"{posterior}_posterior.{part}" for posterior in ("weight", "bias") for part in ("mu", "rho")]
_KEYS = {f"layers.{i}.{part}" for i in (0, 2) for part in _PARTS}


@pytest.fixture(autouse=True)
def _precise():
    """Switch off the short formats of an accelerator."""
    with precisely("float32"):
        yield


def _data(task: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(32, 3)).astype(np.float32)
    score = x[:, :1] - x[:, 1:2] ** 2
    return x, (score[:, 0] > -0.5).astype(np.int64) if task == "classification" else score


def _outputs(task: str) -> int:
    return 2 if task == "classification" else 1


def _jax_model(task: str) -> dj.BayesByBackpropMLP:
    # This is the default prior of deepuq_torch; the bridge carries posteriors, not priors.
    return dj.BayesByBackpropMLP(3, (6,), _outputs(task), prior=dj.GaussianPrior(), rngs=nnx.Rngs(2))


def _torch_model(task: str) -> dt.BayesByBackpropMLP:
    return dt.BayesByBackpropMLP(3, [6], _outputs(task))


def _jax_criterion(task: str):
    return None if task == "classification" else dj.functional.mean_squared_error


def _torch_criterion(task: str):
    return None if task == "classification" else torch.nn.MSELoss()


def _train_in_torch(task: str) -> dt.BayesByBackpropMLP:
    model, generator = _torch_model(task), torch.Generator().manual_seed(0)
    x, y = map(torch.tensor, _data(task))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(_STEPS):
        how: dict[str, Any] = dict(
            num_batches=1, criterion=_torch_criterion(task), kl_weight=1 / len(x), generator=generator
        )
        loss, _, _ = dt.vi_elbo_step(model, x, y, **how)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def _train_in_jax(task: str, model: dj.BayesByBackpropMLP | None = None) -> dj.BayesByBackpropMLP:
    start: Any = model or _jax_model(task)
    optimizer = optax.adam(0.05)
    x, y = map(jnp.asarray, _data(task))

    def loss_of(model, key):
        how: dict[str, Any] = dict(num_batches=1, criterion=_jax_criterion(task), kl_weight=1 / len(x), key=key)
        return dj.vi_elbo_step(model, x, y, **how)[0]

    def step(carry, key):
        model, state = carry
        updates, state = optimizer.update(jax.grad(loss_of)(model, key), state)
        return (optax.apply_updates(model, updates), state), None

    keys = jax.random.split(jax.random.key(0), _STEPS)
    return jax.jit(lambda carry: jax.lax.scan(step, carry, keys))((start, optimizer.init(start)))[0][0]


def _agree(task: str, ours: Any, theirs: Any) -> None:
    """Compare predictions on the same noise, and the KL."""
    x, generator = _data(task)[0], torch.Generator().manual_seed(1)
    noise = dt.functional.stack_noise([theirs.draw_noise(generator=generator) for _ in range(_DRAWS)])
    how: dict[str, Any] = dict(n_samples=_DRAWS, apply_softmax=task == "classification")
    one = dj.predict_vi_uq(ours, jnp.asarray(x), noise=bridge.noise_to_jax(noise), **how)
    other = dt.predict_vi_uq(theirs, torch.tensor(x), noise=noise, **how)
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in ("mean", "epistemic_var", "total_var")}
    for name, (a, b) in (pairs | {"kl": (ours.kl(), theirs.kl())}).items():
        assert error_of(np.asarray(a), b.detach().numpy(), "float32").share <= 1.0, name


def _through_file(folder: Path, trained: Any) -> dict[str, np.ndarray]:
    """Write the weights of a model, and read them."""
    bridge.save_npz(folder / "weights.npz", trained)
    weights = bridge.load_npz(folder / "weights.npz")
    assert weights.keys() == _KEYS
    return weights


def _moved(before: dict, after: dict) -> bool:
    """Return whether training moved every tensor, by more than roundings."""
    return all(np.abs(np.asarray(after[name]) - np.asarray(before[name])).max() > 0.01 for name in _KEYS)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_trained_in_torch_it_predicts_in_jax(tmp_path, task: str):
    trained = _train_in_torch(task)
    weights = _through_file(tmp_path, trained)
    assert _moved(_torch_model(task).state_dict(), weights)
    _agree(task, bridge.torch_to_jax(weights, _jax_model(task)), trained)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_trained_in_jax_it_predicts_in_torch(tmp_path, task: str):
    trained = _train_in_jax(task)
    weights = _through_file(tmp_path, trained)
    assert _moved(bridge.jax_to_torch(_jax_model(task)), weights)
    _agree(task, trained, bridge.load_into_torch(weights, _torch_model(task)))


@pytest.mark.slow
def test_trained_in_both_by_turns(tmp_path):
    """The way back into the first package changes no bit."""
    first = _train_in_torch("regression")
    second = bridge.torch_to_jax(first.state_dict(), _jax_model("regression"))
    third = _train_in_jax("regression", second)
    weights = _through_file(tmp_path, third)
    assert _moved(first.state_dict(), weights)
    back = bridge.load_into_torch(weights, _torch_model("regression")).state_dict()
    assert all(np.array_equal(back[name].numpy(), weights[name]) for name in _KEYS)
    _agree("regression", third, bridge.load_into_torch(weights, _torch_model("regression")))
