"""Training runs of 200 steps in both packages.

The two runs have the same start, batches, noise and optimizer settings.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import deepuq_jax as dj
import deepuq_torch as dt
from deepuq_torch import functional as ft
from parity_tests import models
from parity_tests.harness import Arrays, Error, cast, error_of, precisely, torch_device, worst
from parity_tests.models import Spec
from parity_tests.tolerances import TRAJECTORY

STEPS = 200
_EXAMPLES, _BATCH = 64, 16
_ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
_MOMENTUM = 0.9
_NOISE_SIGMA = 0.5


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        task: "regression", "classification", or "learned noise", a regression whose noise is a parameter without a
            posterior.
        optimizer: "adam", "sgd" with momentum, or "natural gradient".
    """

    task: str
    optimizer: str

    @property
    def name(self) -> str:
        """Name in the report."""
        return f"{STEPS} steps of {self.optimizer}, {self.task}"

    @property
    def rate(self) -> float:
        """Learning rate."""
        if self.optimizer == "natural gradient":
            return 0.1
        return 1e-3 if (self.task, self.optimizer) == ("regression", "sgd") else 1e-2

    @property
    def spec(self) -> Spec:
        """Network of the task."""
        if self.task == "classification":
            return Spec(2, (8,), 3, prior_sigma=1.0, likelihood=dj.Categorical())
        likelihood = dj.Gaussian(_NOISE_SIGMA) if self.task == "regression" else dj.HomoscedasticGaussian()
        return Spec(2, (8,), 1, activation="tanh", prior_sigma=1.0, likelihood=likelihood)

    def jax_optimizer(self) -> optax.GradientTransformationExtraArgs:
        """Make the optimizer of the JAX run."""
        if self.optimizer == "natural gradient":
            return dj.natural_gradient(self.rate, num_data=_EXAMPLES)
        if self.optimizer == "adam":
            adam = optax.adam(self.rate, b1=_ADAM["b1"], b2=_ADAM["b2"], eps=_ADAM["eps"])
            return optax.with_extra_args_support(adam)
        return optax.with_extra_args_support(optax.sgd(self.rate, momentum=_MOMENTUM))

    def torch_optimizer(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Make the optimizer of the torch run."""
        if self.optimizer == "natural gradient":
            return dt.NaturalGradient(model, self.rate, num_data=_EXAMPLES)
        if self.optimizer == "adam":
            betas = (_ADAM["b1"], _ADAM["b2"])
            return torch.optim.Adam(model.parameters(), lr=self.rate, betas=betas, eps=_ADAM["eps"])
        return torch.optim.SGD(model.parameters(), lr=self.rate, momentum=_MOMENTUM)


RUNS = [Run(task, optimizer) for task in ("regression", "classification") for optimizer in ("adam", "sgd")]
RUNS += [Run(task, "natural gradient") for task in ("regression", "classification", "learned noise")]


def data(run: Run, dtype: str) -> tuple[Arrays, Arrays]:
    """Return the initial weights, and the batches and noise of all steps, with a leading axis of steps."""
    spec, rng = run.spec, np.random.default_rng(5)
    x = rng.normal(size=(_EXAMPLES, 2))
    signal = np.sin(x[:, :1]) + x[:, 1:] ** 2
    if run.task == "classification":
        y = np.digitize(signal[:, 0], [0.2, 1.2])
    else:
        y = signal + 0.1 * rng.normal(size=(64, 1))
    order = np.stack([rng.permutation(_EXAMPLES)[:_BATCH] for _ in range(STEPS)])
    steps = {"x": x[order], "y": y[order], **models.draw_noise(spec, rng, STEPS, 1)}
    return cast(models.draw_weights(spec, rng), dtype), cast(steps, dtype)


def train_jax(run: Run, dtype: str) -> Arrays:
    """Train in JAX, and return the final weights and all losses."""
    start, steps = data(run, dtype)
    optimizer = run.jax_optimizer()

    def loss_of(weights, step):
        model, noise = models.jax_model(run.spec, weights), models.jax_noise(run.spec, step)
        return dj.negative_elbo(model, step["x"], step["y"], num_data=_EXAMPLES, noise=noise)[0]

    def take(carry, step):
        weights, state = carry
        loss, gradients = jax.value_and_grad(loss_of)(weights, step)
        updates, state = optimizer.update(gradients, state, weights)
        return (optax.apply_updates(weights, updates), state), loss

    weights, steps = jax.tree.map(jnp.asarray, (start, steps))
    (weights, _), losses = jax.jit(lambda w, s: jax.lax.scan(take, (w, optimizer.init(w)), s))(weights, steps)
    return {name: np.asarray(values) for name, values in {**weights, "loss": losses}.items()}


def train_torch(run: Run, dtype: str) -> Arrays:
    """Train in torch, and return the final weights and all losses."""
    start, steps = data(run, dtype)
    device = torch_device()
    inputs = {name: torch.tensor(values, device=device) for name, values in steps.items()}
    weights = {name: torch.nn.Parameter(torch.tensor(values, device=device)) for name, values in start.items()}
    model = models.torch_model(run.spec, weights)
    likelihood = ft.gaussian_log_likelihood(_NOISE_SIGMA) if run.task == "regression" else None
    optimizer = run.torch_optimizer(model)
    losses = []
    for step in range(STEPS):
        batch = {name: values[step] for name, values in inputs.items()}
        noise = models.torch_noise(run.spec, batch)
        loss, _, _ = dt.negative_elbo(
            model, batch["x"], batch["y"], num_data=_EXAMPLES, log_likelihood=likelihood, noise=noise
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    found = {**weights, "loss": torch.stack(losses)}
    return {name: values.detach().cpu().numpy() for name, values in found.items()}


@functools.cache
def both(run: Run, dtype: str) -> tuple[Arrays, Arrays]:
    """Train in JAX and in torch."""
    with precisely(dtype):
        return train_jax(run, dtype), train_torch(run, dtype)


def error(run: Run, dtype: str) -> Error:
    """Measure the largest error between the two runs, over the final parameters and all losses."""
    one, other = both(run, dtype)
    return worst([error_of(one[name], other[name], dtype, TRAJECTORY) for name in other])
