"""What a training step reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from deepuq_jax.model.structure import Rest, Structure, combine, partition, refuse_tied


# JAX's own registration, which flattens fields without a call of Python, unlike `_pytree.register`.
@partial(
    jax.tree_util.register_dataclass,
    data_fields=("params", "carried", "opt_state", "step", "bad_step"),
    meta_fields=("structure",),
)
@dataclass(frozen=True)
class TrainState:
    """All that a training step reads and writes: arrays in plain containers, and the model's structure.

    A pytree; going in and out of a compiled call costs what it costs for plain optax.

    Attributes:
        params: the trained parameters, as `partition` splits them.
        carried: the model's arrays that are not trained.
        opt_state: of the optax optimizer, over `params` alone.
        step: steps taken, int32.
        bad_step: the first step whose loss or update was not finite, and which was therefore not applied; else -1.
        structure: the static part of the model.
    """

    params: Any
    carried: Any
    opt_state: Any
    step: Array
    bad_step: Array
    structure: Structure | None

    @classmethod
    def create(cls, model: Any, optimizer: optax.GradientTransformation) -> TrainState:
        """The state before the first step.

        Args:
            model: a Bayesian model; its arrays are shared, not copied.
            optimizer: any optax optimizer.
        Raises:
            ValueError: a module that two paths reach (it would be trained as two).

        >>> import deepuq_jax as dq
        >>> from flax import nnx
        >>> state = TrainState.create(dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0)), optax.adam(1e-3))
        >>> int(state.step), state.model(jnp.ones((3, 2))).shape
        (0, (3, 1))
        """
        refuse_tied(model)
        params, rest = partition(model)
        step, bad_step = jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32)
        return cls(params, rest.carried, optimizer.init(params), step, bad_step, rest.structure)

    @property
    def rest(self) -> Rest:
        """What `combine` takes beside the parameters."""
        return Rest(self.carried, self.structure)

    @property
    def model(self) -> Any:
        """The model, put together."""
        return combine(self.params, self.rest)
