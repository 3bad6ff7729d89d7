"""The recipe of `uci_recipe` in `deepuq_torch`, on the same splits.

Only the random numbers differ.

Splits that share a kind of noise and a prior train side by side under `torch.func.vmap`. Adam is elementwise, so one
optimizer over the stacked parameters trains each split as a separate optimizer would.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

import deepuq_torch as dt
from benchmarks.accuracy.uci_recipe import HIDDEN, NOISES, Bayesian, Plan, in_own_units
from benchmarks.accuracy.uci_score import Draws
from benchmarks.accuracy.uci_splits import Splits
from deepuq_torch.functional import rho_from_sigma

CLASSES = {
    "homoscedastic": dt.HomoscedasticBayesByBackpropRegressor,
    "heteroscedastic": dt.HeteroscedasticBayesByBackpropRegressor,
}


def make_model(choice: Bayesian, inputs: int, plan: Plan, generator: torch.Generator) -> nn.Module:
    """The network of `uci_recipe.bayesian_model`, with its priors and initial posterior.

    The classes of `deepuq_torch` would start with means of zero, as Deep-UQ documents.
    """
    model = CLASSES[choice.noise](inputs, (HIDDEN,), 1, activation="relu")
    for layer in (*model.hidden_layers, model.output_layer):
        layer.prior = dt.GaussianPrior(0.0, choice.prior_scale / math.sqrt(layer.in_features))
        rho = float(rho_from_sigma(torch.tensor(plan.sigma_init)))
        with torch.no_grad():
            nn.init.trunc_normal_(layer.weight_posterior.mu, a=-2.0, b=2.0, generator=generator)
            # As in Flax's lecun_normal: a standard normal cut off at +-2 has a standard deviation of 0.88.
            layer.weight_posterior.mu.mul_(1.0 / math.sqrt(layer.in_features) / 0.87962566103423978)
            layer.weight_posterior.rho.fill_(rho)
            layer.bias_posterior.rho.fill_(rho)
    return model


class Objective(nn.Module):
    """`negative_elbo` as a module, which `functional_call` runs on stacked parameters."""

    def __init__(self, model: nn.Module, num_data: int):
        super().__init__()
        self.model, self.num_data = model, num_data

    def forward(self, x: Tensor, y: Tensor, noise: Any, kl_weight: Tensor) -> Tensor:
        """The loss."""
        return dt.negative_elbo(self.model, x, y, num_data=self.num_data, kl_weight=kl_weight, noise=noise)[0]


class Moments(nn.Module):
    """Standardized means and variances [n] at a draw."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, noise: Any) -> tuple[Tensor, Tensor]:
        """The moments at inputs [n, d]."""
        mean, raw_var = self.model.split_prediction(self.model(x, noise=noise))
        return mean[:, 0], self.model.predictive_variance(raw_var)[:, 0]


def run(choices: list[Bayesian], splits: Splits, *, seed: int, plan: Plan) -> list[Draws]:
    """Train each split by its own choice.

    Returns:
        The draws of each split, in the target's own units.
    """
    results: list[Any] = [None] * len(choices)
    groups = {(c.noise, c.prior_scale): [i for i, o in enumerate(choices) if _group(o) == _group(c)] for c in choices}
    for number, group in enumerate(sorted(groups, key=lambda key: (NOISES.index(key[0]), key[1]))):
        rows = groups[group]
        generator = torch.Generator().manual_seed(1000 * seed + number)
        mean, var = _train_and_predict([choices[i] for i in rows], splits.take(np.array(rows)), generator, plan)
        for place, i in enumerate(rows):
            results[i] = in_own_units(mean[place], var[place], splits, i)
    return results


def _group(choice: Bayesian) -> tuple[str, float]:
    """The settings shared by splits that train side by side."""
    return choice.noise, choice.prior_scale


def _noise(model: Any, count: int, lead: tuple[int, ...], generator: torch.Generator) -> Any:
    """Noise for `count` models, each tensor [count, *lead, ...]."""

    def draw(like: Tensor) -> Tensor:
        return torch.randn((count, *lead, *like.shape), generator=generator)

    return tuple(tuple(draw(tensor) for tensor in layer) for layer in model.draw_noise())


def _train_and_predict(choices: list[Bayesian], splits: Splits, generator: torch.Generator, plan: Plan) -> Any:
    """Train side by side, and return moments [models, draws, m]."""
    x, y, held_x = (torch.as_tensor(part) for part in (splits.x, splits.y, splits.held_x))
    count, size, inputs = x.shape
    models = [make_model(choice, inputs, plan, generator) for choice in choices]
    params, _ = stack_module_state(models)  # type: ignore[arg-type]
    kl_weight, warm_up = (torch.tensor([getattr(c, name) for c in choices]) for name in ("kl_weight", "warm_up"))
    objective = Objective(models[0], size)
    loss_of = vmap(lambda params, *args: functional_call(objective, _under("model", params), args))
    epochs, batch = plan.epochs(size), plan.batch(size)
    optimizer = torch.optim.Adam(list(params.values()), lr=plan.learning_rate)
    total = epochs * plan.steps_per_epoch(size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / total)))
    which = torch.arange(count)[:, None]
    step = 0
    for _ in range(epochs):
        order = torch.rand(count, size, generator=generator).argsort(dim=1)
        for rows in order.split(batch, dim=1):
            noise = _noise(models[0], count, (1,), generator)
            optimizer.zero_grad(set_to_none=True)
            weight = kl_weight * (step / (warm_up * total)).clamp(max=1.0)
            loss_of(params, x[which, rows], y[which, rows], noise, weight).sum().backward()
            optimizer.step()
            schedule.step()
            step += 1
    moments = Moments(models[0])
    moments_of = vmap(lambda params, *args: functional_call(moments, _under("model", params), args))
    with torch.no_grad():
        draws = [moments_of(params, held_x, _noise(models[0], count, (), generator)) for _ in range(plan.draws)]
    mean, var = (torch.stack(part, dim=1).numpy() for part in zip(*draws, strict=True))
    return mean, var


def _under(name: str, params: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in params.items()}
