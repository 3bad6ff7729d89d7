"""The networks that are measured, with their data and training steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import deepuq_jax as dq
from benchmarks.speed.contestant import Setting
from benchmarks.speed.contestants import deepuq_jax as ours
from benchmarks.speed.contestants import jax_parts
from benchmarks.speed.workloads import LARGE, MEDIUM, SMALL, Network, mlp


@dataclass(frozen=True)
class Subject:
    """A network with its batch size.

    Attributes:
        network: its sizes and data.
        batch: examples per step.
        steps: steps per scanned epoch.
    """

    network: Network
    batch: int
    steps: int

    @property
    def name(self) -> str:
        """Return the sizes of the network."""
        return self.network.name

    def data(self, rows: int) -> tuple[jax.Array, jax.Array]:
        """Create inputs and targets on the default device."""
        return jax.device_put(self.network.data(rows))

    def model(self, estimator: Any = dq.weight_sampling) -> dq.Sequential:
        """Create the Bayesian network."""
        return ours.model_of(self.network, Setting(), estimator)


SUBJECTS = (Subject(LARGE, 128, 50), Subject(MEDIUM, 128, 50), Subject(SMALL, 32, 200))
DRY = (Subject(mlp(6, 5, 3, num_data=100), 4, 3),)


def subjects(dry: bool) -> tuple[Subject, ...]:
    """Return the networks, in order of importance."""
    return DRY if dry else SUBJECTS


class Step:
    """A training step on a flat list of donated arrays.

    This is the fastest way to call a step.

    Args:
        subject: the network and its batch size.
        estimator: the estimator of the network's layers.
        objective: the ELBO with a single draw by default.
        optimizer: Adam by default.
        compute_dtype: that of the products; float32 by default.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        estimator: Any = dq.weight_sampling,
        objective: Any = None,
        optimizer: Any = jax_parts.OPTIMIZER,
        compute_dtype: Any = None,
    ):
        score = dq.ELBO(subject.network.num_data) if objective is None else objective
        leaves, treedef = jax.tree.flatten(dq.TrainState.create(subject.model(estimator), optimizer))
        # A donated buffer is overwritten, so the step must own it.
        self.start = [jnp.array(leaf, copy=True) for leaf in leaves]
        self.treedef = treedef

        def step(leaves: list[Any], x: Any, y: Any, key: Any) -> tuple[list[Any], Any]:
            state = jax.tree.unflatten(treedef, leaves)
            state, terms = dq.train_step(
                state, x, y, key=key, objective=score, optimizer=optimizer, compute_dtype=compute_dtype
            )
            return jax.tree.leaves(state), terms.loss

        self.jitted = jax.jit(step, donate_argnums=0)


def repeated(program: Callable[..., Any], start: list[Any], x: Any, y: Any) -> Callable[[], Any]:
    """Create a function that runs the next training step at each call."""
    keys = list(jax.random.split(jax.random.key(0), 64))
    state, count = start, 0

    def call() -> Any:
        nonlocal state, count
        state, loss = program(state, x, y, keys[count % len(keys)])
        count += 1
        return loss

    return call


def relative_error(one: Any, other: Any) -> float:
    """Compute |one - other| / |other| over the floating leaves of two pytrees."""

    def flat(tree: Any) -> np.ndarray:
        leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves])

    a, b = flat(one), flat(other)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
