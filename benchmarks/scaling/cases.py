"""The networks that are measured, and what they do."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import deepuq_jax as dq

OUTPUTS = 10
ADAM = optax.adam(1e-3)


def width_of(parameters: float) -> int:
    """Width of a network w-w-w-10 with about this many weights and biases.

    >>> width_of(1e6)
    704
    """
    # The network has two kernels of w * w numbers, a kernel of 10 w, two biases of w, and a bias of 10.
    linear = OUTPUTS + 2
    return max(1, round((math.sqrt(linear**2 + 8 * (parameters - OUTPUTS)) - linear) / 4))


@dataclass(frozen=True)
class Case(ABC):
    """A program to measure.

    Attributes:
        parameters: intended number of weights and biases; each has a mean and a standard deviation.
        batch: number of examples.
        draws: number of draws of the posterior.
        devices: number of devices that the batch is split over.
    """

    parameters: float = 1e5
    batch: int = 128
    draws: int = 1
    devices: int = 1

    @property
    def width(self) -> int:
        """Width of the network, and the number of its inputs."""
        return width_of(self.parameters)

    def at(self, axis: str, value: Any) -> Case:
        """Return the case with another value of a field."""
        return replace(self, **{axis: value})

    def model(self) -> Any:
        """Build the classifier."""
        hidden = (self.width, self.width)
        return dq.BayesByBackpropMLP(self.width, hidden, OUTPUTS, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))

    def data(self) -> tuple[Any, Any]:
        """Make inputs and labels."""
        x = jax.random.normal(jax.random.key(1), (self.batch, self.width))
        return x, jnp.arange(self.batch) % OUTPUTS

    @abstractmethod
    def start(self) -> Any:
        """Create what the program starts from: a state or a model."""

    @abstractmethod
    def call(self, start: Any, x: Any, y: Any, key: Any) -> Any:
        """Run the program; a training step returns the state that the next step starts from."""

    @property
    @abstractmethod
    def program(self) -> Any:
        """The compiled call."""

    def abstract(self) -> tuple[Any, Any, Any, Any]:
        """Return the types of the arguments, laid out over devices, without their values."""
        types = jax.eval_shape(self.start), *jax.eval_shape(self.data), jax.eval_shape(lambda: jax.random.key(0))
        if self.devices == 1:
            return types
        devices = jax.devices()[: self.devices]
        mesh = jax.make_mesh((self.devices,), ("data",), axis_types=(AxisType.Auto,), devices=devices)
        start, x, y, key = types

        def placed(tree: Any, spec: PartitionSpec) -> Any:
            sharding = NamedSharding(mesh, spec)
            return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)

        x, y = placed((x, y), PartitionSpec("data"))
        start, key = placed((start, key), PartitionSpec())
        return start, x, y, key


@dataclass(frozen=True)
class Training(Case):
    """A step of Adam on the ELBO."""

    def start(self) -> dq.TrainState:
        """Create the state before the first step."""
        return dq.TrainState.create(self.model(), ADAM)

    def call(self, start: dq.TrainState, x: Any, y: Any, key: Any) -> dq.TrainState:
        """Take a step."""
        objective = dq.ELBO(num_data=60_000, mc_samples=self.draws)
        return dq.train_step(start, x, y, key=key, objective=objective, optimizer=ADAM)[0]

    @property
    def program(self) -> Any:
        """The compiled step, which donates its state."""
        return jax.jit(self.call, donate_argnums=0)


@dataclass(frozen=True)
class Prediction(Case):
    """The predictive moments."""

    def start(self) -> Any:
        """Build the model."""
        return self.model()

    def call(self, start: Any, x: Any, y: Any, key: Any) -> Any:
        """Predict; the labels are not used."""
        del y
        result = dq.predict_vi_uq(start, x, key=key, n_samples=self.draws)
        return result.mean, result.total_var

    @property
    def program(self) -> Any:
        """The compiled prediction."""
        return jax.jit(self.call)


KINDS: dict[str, Case] = {"training": Training(), "prediction": Prediction(draws=10)}
