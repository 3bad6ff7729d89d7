"""Models of random shapes that pass from one package to the other in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn

import deepuq_jax as dj
import deepuq_torch as dt
from parity_tests.harness import error_of
from parity_tests.tolerances import SAVED
from parity_tests.transfer import noise_to_jax

_STEPS, _EXAMPLES = 3, 6


def _layer(sizes: list[int], dtype: torch.dtype) -> nn.Module:
    return dt.BayesianLinear(sizes[0], sizes[1], 0.7, -0.2, dtype=dtype)


def _mlp(sizes: list[int], dtype: torch.dtype) -> nn.Module:
    return dt.BayesByBackpropMLP(sizes[0], sizes[2:], sizes[1], 0.3, 0.1, "silu", dtype=dtype)


def _multi_output(sizes: list[int], dtype: torch.dtype) -> nn.Module:
    return dt.MultiOutputBayesByBackpropRegressor(sizes[0], sizes[1], sizes[2:], 0.1, 0.5, dtype=dtype)


def _heteroscedastic(sizes: list[int], dtype: torch.dtype) -> nn.Module:
    return dt.HeteroscedasticBayesByBackpropRegressor(sizes[0], sizes[2:], sizes[1], activation="gelu", dtype=dtype)


def _heteroscedastic_multi_output(sizes: list[int], dtype: torch.dtype) -> nn.Module:
    return dt.HeteroscedasticMultiOutputBayesByBackpropRegressor(sizes[0], sizes[1], (), 0.2, 1.5, dtype=dtype)


def _homoscedastic(sizes: list[int], dtype: torch.dtype) -> nn.Module:
    return dt.HomoscedasticBayesByBackpropRegressor(sizes[0], sizes[2:3], sizes[1], activation="relu", dtype=dtype)


def _last_layer(sizes: list[int], dtype: torch.dtype, task: str = "regression") -> nn.Module:
    net = nn.Sequential(nn.Linear(sizes[0], sizes[2]), nn.Tanh(), nn.Linear(sizes[2], sizes[3], bias=False))
    is_regression = task == "regression"
    return dt.LastLayerVariationalInference(net, sizes[3], sizes[1] + 1, task, is_regression, 0.1, 0.4).to(dtype)


def _classifier(sizes: list[int], dtype: torch.dtype) -> nn.Module:
    return _last_layer(sizes, dtype, "classification")


KINDS: dict[str, Callable[[list[int], torch.dtype], nn.Module]] = {
    "layer": _layer,
    "MLP": _mlp,
    "multi-output": _multi_output,
    "heteroscedastic": _heteroscedastic,
    "heteroscedastic multi-output": _heteroscedastic_multi_output,
    "homoscedastic": _homoscedastic,
    "last layer": _last_layer,
    "classifier": _classifier,
}


def data(model: nn.Module, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw inputs and targets for a model of `KINDS`."""
    rng = np.random.default_rng(5)
    first: Any = next(module for module in model.modules() if hasattr(module, "in_features"))
    x = rng.normal(size=(_EXAMPLES, first.in_features)).astype(dtype)
    outputs: Any = model.out_features if isinstance(model, dt.BayesianLinear) else model.output_dim
    if _is_classifier(model):
        return x, rng.integers(int(outputs), size=_EXAMPLES)
    return x, rng.normal(size=(_EXAMPLES, outputs)).astype(dtype)


def _is_classifier(model: Any) -> bool:
    return isinstance(model, dt.LastLayerVariationalInference) and model.task_type == "classification"


def trained_in_torch(kind: str, seed: int, dtype: str) -> nn.Module:
    """Build a model of random sizes, and train it briefly."""
    sizes = np.random.default_rng(seed).integers(1, 7, size=4).tolist()
    model = KINDS[kind](sizes, getattr(torch, dtype))
    x, y = map(torch.tensor, data(model, dtype))
    optimizer, generator = torch.optim.Adam(model.parameters(), lr=0.1), torch.Generator().manual_seed(seed)
    criterion = None if _is_classifier(model) else nn.MSELoss()
    for _ in range(_STEPS):
        optimizer.zero_grad()
        loss, _, _ = dt.vi_elbo_step(model, x, y, num_batches=1, criterion=criterion, generator=generator)
        loss.backward()
        optimizer.step()
    return model


def trained_in_jax(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """Train a JAX model for a few steps."""
    adam = optax.adam(0.1)
    is_classifier = isinstance(model, dj.LastLayerVariationalInference) and model.likelihood == dj.Categorical()
    objective = dj.DocumentedELBO(1, criterion=None if is_classifier else dj.functional.mean_squared_error)

    @jax.jit
    def train(state: dj.TrainState) -> dj.TrainState:
        def step(state: dj.TrainState, key: jax.Array) -> tuple[dj.TrainState, None]:
            return dj.train_step(state, x, y, key=key, objective=objective, optimizer=adam)[0], None

        return jax.lax.scan(step, state, jax.random.split(jax.random.key(0), _STEPS))[0]

    return train(dj.TrainState.create(model, adam)).model


def agree(ours: Any, theirs: Any, x: np.ndarray, dtype: str) -> None:
    """Check that outputs and KL agree on the same noise."""
    noise = theirs.draw_noise(generator=torch.Generator().manual_seed(1))
    inputs = torch.tensor(x)
    expected = theirs(inputs, noise=noise), theirs(inputs, sample=False), theirs.kl()
    found = quantities(ours, jnp.asarray(x), noise_to_jax(noise))
    for name, one, other in zip(("draw", "means", "KL"), found, expected, strict=True):
        error = error_of(np.asarray(one), other.detach().numpy(), dtype, SAVED)
        assert error.share <= 1.0, f"{name}: {error}"


@jax.jit
def quantities(model: Any, x: jax.Array, noise: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Compute the outputs of a draw, the outputs at the means, and the KL."""
    return model(x, noise=noise), model(x), model.kl()


def through_torch(folder: Path, model: Any) -> Any:
    """Save a JAX model, and load it in torch."""
    dj.save(folder / "jax.safetensors", model)
    return dt.load(folder / "jax.safetensors")


def through_jax(folder: Path, model: Any) -> Any:
    """Save a torch model, and load it in JAX."""
    dt.save(folder / "torch.safetensors", model)
    return dj.load(folder / "torch.safetensors")
