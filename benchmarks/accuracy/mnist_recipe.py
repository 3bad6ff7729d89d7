"""Training on MNIST: recipes, models, and training that can resume."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy import report
from benchmarks.accuracy.networks import PointNetwork, perceptron

ESTIMATORS = {
    "local reparameterization": dq.local_reparameterization,
    "weight sampling": dq.weight_sampling,
}
CLASSES = 10
# As in Blundell et al. 2015: pixels range from 0 to about 2.
PIXEL_SCALE = 126.0
# An interrupted training loses at most this many seconds.
SECONDS_BETWEEN_CHECKPOINTS = 60.0


@dataclass(frozen=True)
class Recipe:
    """The settings of a training on MNIST.

    Attributes:
        prior: "gaussian", "scale mixture", or "none" for the deterministic twin.
        prior_sigma: standard deviation of the Gaussian prior, or of the wide part of the mixture.
        estimator: a name in `ESTIMATORS`.
        kl_weight: the weight of the KL in the objective; 1 gives the ELBO.
        sigma_init: posterior standard deviation at the start.
        learning_rate: the learning rate of Adam at the start; it falls to 0 as a cosine.
        weight_decay: the decoupled weight decay of the twin.
        hidden: units of each of the two hidden layers.
        epochs: number of passes over the data.
        batch_size: images per step.
    """

    prior: str = "gaussian"
    prior_sigma: float = 0.1
    estimator: str = "local reparameterization"
    kl_weight: float = 1.0
    sigma_init: float = 0.02
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    hidden: int = 400
    epochs: int = 15
    batch_size: int = 128

    @property
    def is_bayesian(self) -> bool:
        """Whether the weights have a posterior."""
        return self.prior != "none"

    def at(self, *, hidden: int, epochs: int) -> Recipe:
        """The same recipe at another size and length."""
        return replace(self, hidden=hidden, epochs=epochs)

    def __str__(self) -> str:
        if not self.is_bayesian:
            return f"no posterior, learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}"
        return (
            f"{self.prior} prior {self.prior_sigma:g}, {self.estimator}, KL weight {self.kl_weight:g}, "
            f"initial sigma {self.sigma_init:g}, learning rate {self.learning_rate:g}"
        )


def make_prior(recipe: Recipe) -> dq.Prior:
    """Make the prior that a recipe names."""
    if recipe.prior == "gaussian":
        return dq.GaussianPrior(sigma=recipe.prior_sigma)
    if recipe.prior == "scale mixture":
        return dq.priors.ScaleMixturePrior(sigma1=recipe.prior_sigma)
    raise ValueError(f"Expected prior to be gaussian or scale mixture; got {recipe.prior}.")


def make_model(recipe: Recipe, *, inputs: int, rngs: nnx.Rngs) -> nnx.Module:
    """Make the network before training."""
    hidden = (recipe.hidden, recipe.hidden)
    if not recipe.is_bayesian:
        return PointNetwork(perceptron((inputs, *hidden, CLASSES), rngs=rngs), dq.Categorical())
    return dq.BayesByBackpropMLP(
        inputs,
        hidden,
        CLASSES,
        prior=make_prior(recipe),
        estimator=ESTIMATORS[recipe.estimator],
        sigma_init=recipe.sigma_init,
        likelihood=dq.Categorical(),
        rngs=rngs,
    )


def make_optimizer(recipe: Recipe, size: int) -> optax.GradientTransformation:
    """AdamW, whose learning rate falls to 0 as a cosine."""
    steps = recipe.epochs * -(-size // recipe.batch_size)
    return optax.adamw(optax.cosine_decay_schedule(recipe.learning_rate, steps), weight_decay=recipe.weight_decay)


@dataclass
class Trained:
    """A trained model, and the seconds that training took."""

    model: Any
    seconds: float


def train(recipe: Recipe, x: np.ndarray, y: np.ndarray, *, seed: int, cache: Path | None = None) -> Trained:
    """Train by a recipe, starting from the cache if it has a state.

    Args:
        recipe: the settings.
        x, y: images [n, pixels], scaled, and labels [n].
        seed: the seed of the initial weights, the order of the data and the noise.
        cache: folder in which a file per training keeps its state; None keeps nothing.
    Raises:
        FloatingPointError: if a step was not finite.
    """
    optimizer = make_optimizer(recipe, len(y))
    model_key, train_key = jax.random.split(jax.random.key(seed))
    model = make_model(recipe, inputs=x.shape[1], rngs=nnx.Rngs(model_key))
    state = dq.TrainState.create(model, optimizer)
    objective = dq.ELBO(kl_weight=recipe.kl_weight)
    path = None if cache is None else cache / f"{report.fingerprint(asdict(recipe), len(y), seed)}.npz"
    first, seconds, state = _load(path, state)
    on_device = jnp.asarray(x), jnp.asarray(y)

    @partial(jax.jit, donate_argnums=0)
    def epoch(state, key):
        return dq.train_epoch(
            state, *on_device, key=key, objective=objective, optimizer=optimizer, batch_size=recipe.batch_size
        )[0]

    saved = start = time.perf_counter()
    for i in range(first, recipe.epochs):
        state = jax.block_until_ready(epoch(state, jax.random.fold_in(train_key, i)))
        if time.perf_counter() - saved > SECONDS_BETWEEN_CHECKPOINTS or i + 1 == recipe.epochs:
            saved = time.perf_counter()
            _save(path, state, i + 1, seconds + saved - start)
    if int(state.bad_step) >= 0:
        raise FloatingPointError(f"Expected finite steps of {recipe}; got a bad one at {int(state.bad_step)}.")
    return Trained(state.model, seconds + (time.perf_counter() - start if first < recipe.epochs else 0.0))


def _save(path: Path | None, state: dq.TrainState, epochs: int, seconds: float) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    leaves: dict[str, Any] = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    part = path.with_suffix(".part.npz")
    np.savez(part, epochs=epochs, seconds=seconds, **leaves)
    os.replace(part, path)


def _load(path: Path | None, state: dq.TrainState) -> tuple[int, float, dq.TrainState]:
    """Return the finished epochs, their seconds, and the state."""
    if path is None or not path.exists():
        return 0, 0.0, state
    leaves, treedef = jax.tree.flatten(state)
    with np.load(path) as file:
        state = treedef.unflatten([jnp.asarray(file[f"leaf{i}"]) for i in range(len(leaves))])
        return int(file["epochs"]), float(file["seconds"]), state
