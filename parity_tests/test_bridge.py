"""Weights and noise cross both ways."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import deepuq_jax as dj
import deepuq_torch as dt
from parity_tests import bridge
from parity_tests.harness import error_of, precisely

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def _precise():
    """Switch off the short formats of an accelerator."""
    with precisely("float32"):
        yield


def jax_mlp(outputs: int = 2, **how):
    return dj.BayesByBackpropMLP(3, (5, 4), outputs, rngs=nnx.Rngs(1), **how)


def torch_mlp():
    model = dt.BayesByBackpropMLP(3, [5, 4], 2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def agree(jax_result, torch_result):
    for name in ("mean", "epistemic_var", "total_var"):
        one, other = np.asarray(getattr(jax_result, name)), getattr(torch_result, name).numpy()
        assert error_of(one, other, "float32").share <= 1.0, name


@pytest.mark.slow
def test_a_torch_model_predicts_in_jax_through_a_file(tmp_path):
    model = torch_mlp()
    bridge.save_npz(tmp_path / "weights.npz", model)
    twin = bridge.torch_to_jax(bridge.load_npz(tmp_path / "weights.npz"), jax_mlp())
    draws = [model.draw_noise() for _ in range(9)]
    noise = dt.functional.stack_noise(draws)
    found = dj.predict_vi_uq(twin, jnp.asarray(X), n_samples=9, noise=bridge.noise_to_jax(noise))
    agree(found, dt.predict_vi_uq(model, torch.tensor(X), n_samples=9, noise=noise))


@pytest.mark.slow
def test_a_jax_model_predicts_in_torch_through_a_file(tmp_path):
    model = jax_mlp()
    bridge.save_npz(tmp_path / "weights.npz", model)
    twin = bridge.load_into_torch(bridge.load_npz(tmp_path / "weights.npz"), dt.BayesByBackpropMLP(3, [5, 4], 2))
    noise = jax.vmap(lambda key: model.draw_noise(jnp.asarray(X), key=key))(jax.random.split(jax.random.key(0), 9))
    found = dt.predict_vi_uq(twin, torch.tensor(X), n_samples=9, noise=bridge.noise_to_torch(noise))
    agree(dj.predict_vi_uq(model, jnp.asarray(X), n_samples=9, noise=noise), found)


def test_the_file_has_the_documented_names(tmp_path):
    bridge.save_npz(tmp_path / "jax.npz", jax_mlp())
    bridge.save_npz(tmp_path / "torch.npz", torch_mlp().state_dict())
    from_jax, from_torch = (bridge.load_npz(tmp_path / f"{side}.npz") for side in ("jax", "torch"))
    shapes = {name: values.shape for name, values in from_torch.items()}
    assert {name: values.shape for name, values in from_jax.items()} == shapes
    assert shapes["layers.2.weight_posterior.rho"] == (4, 5)


def test_there_and_back_changes_nothing():
    model = torch_mlp()
    twin = bridge.torch_to_jax(model.state_dict(), jax_mlp())
    back = bridge.jax_to_torch(twin)
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())
    noise = model.draw_noise()
    assert all(
        torch.equal(one, other)
        for pair, again in zip(noise, bridge.noise_to_torch(bridge.noise_to_jax(noise)), strict=True)
        for one, other in zip(pair, again, strict=True)
    )


def test_the_model_given_is_left_alone():
    like = jax_mlp()
    before = np.array(like.layers[0].kernel_posterior.mu)
    bridge.torch_to_jax(torch_mlp().state_dict(), like)
    assert np.array_equal(before, like.layers[0].kernel_posterior.mu)


def test_regressors_with_the_later_names():
    model = dt.HeteroscedasticBayesByBackpropRegressor(3, (5, 4), 1, activation="relu")
    twin = bridge.torch_to_jax(model.state_dict(), jax_mlp(likelihood=dj.HeteroscedasticGaussian()))
    again = bridge.jax_to_torch(twin, like=model)
    assert again.keys() == model.state_dict().keys()
    model.load_state_dict(again)
    noise = dt.functional.stack_noise([model.draw_noise() for _ in range(4)])
    found = dj.predict_vi_uq(twin, jnp.asarray(X), n_samples=4, noise=bridge.noise_to_jax(noise))
    agree(found, dt.predict_vi_uq(model, torch.tensor(X), n_samples=4, noise=noise))


def _later_models():
    """Pairs (JAX, torch) of each later class, with different weights."""
    net = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    tanh: dict[str, Any] = dict(activation="tanh", rngs=nnx.Rngs(1))
    jax_models = [
        dj.MultiOutputBayesByBackpropRegressor(3, 2, (5, 4), **tanh),
        dj.HeteroscedasticBayesByBackpropRegressor(3, (5,), **tanh),
        dj.HeteroscedasticMultiOutputBayesByBackpropRegressor(3, 2, (), **tanh),
        dj.HomoscedasticBayesByBackpropRegressor(3, (5,), 2, **tanh),
        dj.LastLayerVariationalInference(net, 4, 2, heteroscedastic=True, rngs=nnx.Rngs(1)),
    ]
    linear = torch.nn.Linear(3, 4)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(np.asarray(net.kernel[...]).T))
        linear.bias.zero_()
    torch_models = [
        dt.MultiOutputBayesByBackpropRegressor(3, 2, (5, 4)),
        dt.HeteroscedasticBayesByBackpropRegressor(3, (5,)),
        dt.HeteroscedasticMultiOutputBayesByBackpropRegressor(3, 2, ()),
        dt.HomoscedasticBayesByBackpropRegressor(3, (5,), 2),
        dt.LastLayerVariationalInference(linear, 4, 2, heteroscedastic=True),
    ]
    return list(zip(jax_models, torch_models, strict=True))


@pytest.mark.parametrize(("model", "other"), _later_models(), ids=lambda m: type(m).__name__)
def test_later_models_cross_both_ways_through_a_file(model, other, tmp_path):
    bridge.save_npz(tmp_path / "weights.npz", model)
    twin = bridge.load_into_torch(bridge.load_npz(tmp_path / "weights.npz"), other)
    noise = jax.vmap(lambda key: model.draw_noise(jnp.asarray(X), key=key))(jax.random.split(jax.random.key(0), 9))
    found = dt.predict_vi_uq(twin, torch.tensor(X), n_samples=9, noise=bridge.noise_to_torch(noise))
    agree(dj.predict_vi_uq(model, jnp.asarray(X), n_samples=9, noise=noise), found)
    bridge.save_npz(tmp_path / "back.npz", twin)
    again = bridge.torch_to_jax(bridge.load_npz(tmp_path / "back.npz"), model)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(model), strict=True))
    names = {name for name in other.state_dict() if not name.startswith("feature_extractor.")}
    assert bridge.jax_to_torch(model).keys() == bridge.jax_to_torch(model, like=other).keys() == names


def test_noise_of_a_last_layer_there_and_back():
    noise = dt.LastLayerVariationalInference(torch.nn.Identity(), 3, 2).draw_noise()
    again = bridge.noise_to_torch(bridge.noise_to_jax(noise))
    assert all(torch.equal(a, b) for a, b in zip(noise, again, strict=True))


def test_one_layer_alone():
    layer = dj.BayesianLinear(3, 2, rngs=nnx.Rngs(0))
    twin = dt.BayesianLinear(3, 2)
    twin.load_state_dict(bridge.jax_to_torch(layer))
    found = twin(torch.tensor(X), sample=False).detach().numpy()
    assert error_of(np.asarray(layer(jnp.asarray(X))), found, "float32").share <= 1.0


def _without(name: str) -> dict:
    return {key: value for key, value in torch_mlp().state_dict().items() if not key.startswith(name)}


@pytest.mark.parametrize(
    "state",
    [
        _without("layers.4"),
        _without("layers.2.bias_posterior.rho"),
        {**torch_mlp().state_dict(), "extra": torch.zeros(1)},
        {**torch_mlp().state_dict(), "feature_extractor.weight": torch.zeros(1)},
        dt.BayesByBackpropMLP(3, [4, 5], 2).state_dict(),
    ],
    ids=["a layer too few", "a tensor too few", "a name too many", "an extractor too many", "another shape"],
)
def test_weights_that_do_not_fit(state):
    with pytest.raises(ValueError, match="Expected"):
        bridge.torch_to_jax(state, jax_mlp())


def test_models_that_cannot_cross():
    with pytest.raises(ValueError, match="bias"):
        bridge.jax_to_torch(dj.BayesianLinear(3, 2, use_bias=False, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="layers"):
        bridge.jax_to_torch(jax_mlp(), like=dt.BayesianLinear(3, 2))
