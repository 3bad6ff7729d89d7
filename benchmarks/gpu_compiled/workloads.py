"""The programs that are compiled: training steps, predictions and log densities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import deepuq_jax as dq
from benchmarks.speed.contestant import Setting
from benchmarks.speed.contestants import deepuq_jax as ours
from benchmarks.speed.contestants import jax_parts
from benchmarks.speed.workloads import LARGE, MEDIUM, SMALL, Network

OPTIMIZERS = {"Adam": jax_parts.OPTIMIZER, "natural gradients": dq.natural_gradient()}
DRAWS = 50


@dataclass(frozen=True)
class Workload(ABC):
    """A program of a network.

    Attributes:
        network: its sizes and data.
        rows: examples per call.
    """

    network: Network
    rows: int

    @property
    @abstractmethod
    def name(self) -> str:
        """The row in the table."""

    @property
    def measured(self) -> tuple[str, str, str] | None:
        """Stage, row and column of the same program in the record of a GPU, or None."""
        return None

    @property
    @abstractmethod
    def program(self) -> Any:
        """The jitted function."""

    @abstractmethod
    def start(self) -> Any:
        """Create the first argument: a state or a model."""

    def model(self) -> dq.Sequential:
        """Create the Bayesian network."""
        return ours.model_of(self.network, Setting())

    def lower(self, sharding: Any) -> Any:
        """Lower the program for arrays of a device that need not exist."""
        x, y = self.network.data(self.rows)
        types = jax.eval_shape(lambda: (self.start(), x, y, jax.random.key(0)))
        placed = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), types)
        return self.program.lower(*placed)


@dataclass(frozen=True)
class Training(Workload):
    """A training step on the ELBO that donates its state.

    Attributes:
        optimizer: a name of OPTIMIZERS.
        draws: draws per step.
        compute_dtype: dtype of the products, or None.
    """

    optimizer: str = "Adam"
    draws: int = 1
    compute_dtype: Any = None

    @property
    def name(self) -> str:
        """The row in the table."""
        extra = f", {self.draws} draws" if self.draws > 1 else ""
        extra += f", {jnp.dtype(self.compute_dtype).name}" if self.compute_dtype is not None else ""
        return f"train {self.network.name}, {self.optimizer}{extra}"

    @property
    def measured(self) -> tuple[str, str, str] | None:
        """Stage, row and column of the same program in the record of a GPU, or None."""
        kind = {("Adam", 1): "one call per step", ("natural gradients", 1): "one call per step, natural gradients"}
        kind |= {("Adam", 4): "four draws"}
        known = kind.get((self.optimizer, self.draws)) if self.compute_dtype is None else "bfloat16"
        return None if known is None else ("training", f"train {self.network.name}, {known}", "queued_us")

    def start(self) -> dq.TrainState:
        """Create the state before the first step."""
        return dq.TrainState.create(self.model(), OPTIMIZERS[self.optimizer])

    @property
    def program(self) -> Any:
        """The jitted step."""
        objective = dq.ELBO(self.network.num_data, mc_samples=self.draws)

        def step(state: dq.TrainState, x: Any, y: Any, key: Any) -> tuple[dq.TrainState, Any]:
            optimizer = OPTIMIZERS[self.optimizer]
            state, terms = dq.train_step(
                state, x, y, key=key, objective=objective, optimizer=optimizer, compute_dtype=self.compute_dtype
            )
            return state, terms.loss

        return jax.jit(step, donate_argnums=0)


@dataclass(frozen=True)
class Prediction(Workload):
    """Predictive moments.

    Attributes:
        at_once: draws that run side by side.
    """

    at_once: int = 1

    @property
    def name(self) -> str:
        """The row in the table."""
        return f"predict {self.network.name}, {DRAWS} draws, {self.at_once} at once, inputs: {self.rows}"

    @property
    def measured(self) -> tuple[str, str, str] | None:
        """Stage, row and column of the same program in the record of a GPU."""
        row = f"predict {self.network.name}, {DRAWS} draws, {self.rows} inputs"
        return "prediction", row, f"at_{self.at_once}_us"

    def start(self) -> dq.Sequential:
        """Create the model."""
        return self.model()

    @property
    def program(self) -> Any:
        """The jitted prediction."""

        def moments(model: Any, x: Any, y: Any, key: Any) -> Any:
            del y
            result = dq.predict_vi_uq(model, x, key=key, n_samples=DRAWS, draws_at_once=self.at_once)
            return result.mean, result.epistemic_var

        return jax.jit(moments)


@dataclass(frozen=True)
class Density(Prediction):
    """Log predictive densities."""

    @property
    def name(self) -> str:
        """The row in the table."""
        return f"log density of {self.network.name}, {DRAWS} draws, {self.at_once} at once, examples: {self.rows}"

    @property
    def measured(self) -> None:
        """The record of a GPU has no such row."""
        return None

    @property
    def program(self) -> Any:
        """The jitted log densities."""

        def density(model: Any, x: Any, y: Any, key: Any) -> Any:
            return dq.log_predictive_density(model, x, y, key=key, n_samples=DRAWS, draws_at_once=self.at_once)

        return jax.jit(density)


def _of(network: Network) -> tuple[Workload, ...]:
    batch = 32 if network is SMALL else 128
    return tuple(Training(network, batch, optimizer=optimizer) for optimizer in OPTIMIZERS)


QUICK: tuple[Workload, ...] = (*_of(SMALL), Prediction(SMALL, 1, at_once=10))
WORKLOADS: tuple[Workload, ...] = (
    *_of(LARGE),
    Training(LARGE, 128, draws=4),
    Training(LARGE, 128, compute_dtype=jnp.bfloat16),
    *_of(MEDIUM),
    *_of(SMALL),
    *(Prediction(LARGE, rows, at_once=at_once) for at_once in (1, 10) for rows in (1, 128, 1000)),
    Density(LARGE, 1000, at_once=10),
)
