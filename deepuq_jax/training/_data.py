"""The data of `fit`: arrays, or an iterable of batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sized
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import NamedSharding

from deepuq_jax._checks import check_batch, check_count, expected
from deepuq_jax._layout import own_rows
from deepuq_jax.model.own import as_model
from deepuq_jax.objectives.objective import VariationalObjective
from deepuq_jax.training import _defaults as default
from deepuq_jax.training._batches import OverBatches
from deepuq_jax.training._epochs import Epochs, InALoop, OneStepPerCall, check_against
from deepuq_jax.training._rows import check_sharding, mesh_of, on_mesh

# Several epochs that are shorter than this number of steps share a call, because dispatching a call costs as much as
# about 30 steps of a small network.
_STEPS_PER_CALL = 250


class Data(ABC):
    """Checked training data.

    Attributes:
        steps: number of steps per epoch, or None if it is not known beforehand.
        mesh: the mesh of the devices that train, or None if neither the data nor a sharding names a mesh.
    """

    steps: int | None
    mesh: Any = None

    def check_epochs(self, epochs: int) -> None:
        """Require data that allow this number of epochs, as arrays do."""
        del epochs

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Return the entries for the data in a description of the run."""

    @abstractmethod
    def epochs(
        self, model: Any, objective: VariationalObjective, optimizer: optax.GradientTransformation, *, one_by_one: bool
    ) -> Epochs:
        """Create passes; `one_by_one` means one epoch per `run`."""


class Arrays(Data):
    """Arrays with a leading axis of examples.

    Attributes:
        own: the rows of x and y that this process holds; all rows, unless they are spread over several processes.
    Args:
        x, y: the data.
        batch_size: number of examples per step, 128 if it is None, and at most all examples.
        sharding: how a batch lies over several devices, or None.
    Raises:
        ValueError, TypeError: `check_batch` refuses the data, or the batch size or the sharding is invalid.
    """

    def __init__(self, x: Any, y: Any, batch_size: int | None, sharding: NamedSharding | None):
        self.size = check_batch(x, y, finite=False)
        self.x, self.y = x, y
        # Each process checks the values of its rows.
        self.own = own_rows("x", x), own_rows("y", y)
        check_batch(*self.own)
        wanted = default.BATCH_SIZE if batch_size is None else check_count("batch_size", batch_size)
        self.batch_size = min(wanted, self.size)
        check_sharding(sharding, self.batch_size)
        self.sharding = sharding
        self.mesh = mesh_of((x, y)) if sharding is None else sharding.mesh
        self.steps: int = -(-self.size // self.batch_size)

    def about(self) -> dict[str, Any]:
        """Return the arrays and the size of a batch."""
        return {"x": self.x, "y": self.y, "batch_size": self.batch_size}

    def epochs(
        self, model: Any, objective: VariationalObjective, optimizer: optax.GradientTransformation, *, one_by_one: bool
    ) -> Epochs:
        """Check the targets and create passes over the arrays."""
        objective.check_size(self.size)
        check_against(model, *self.own, objective)
        kind = OneStepPerCall if is_slow_in_a_loop(model, self.x) else InALoop
        x, y = on_mesh(jax.tree.map(jnp.asarray, (self.x, self.y)), self.mesh)
        per_call = 1 if one_by_one else max(1, _STEPS_PER_CALL // self.steps)
        return kind(x, y, self.batch_size, per_call, objective, optimizer, self.sharding)


class Batches(Data):
    """An iterable of batches (x, y).

    It starts anew each epoch, and each batch is checked as it comes.

    Raises:
        ValueError, TypeError: `batches` is not an iterable, a batch size is passed with it, or the sharding is invalid.
    """

    def __init__(self, batches: Any, batch_size: int | None, sharding: NamedSharding | None):
        is_array = isinstance(batches, (jax.Array, np.ndarray)) or hasattr(batches, "to_numpy")
        if callable(batches) and not is_array and not isinstance(batches, Iterable):
            what = "to be an iterable of batches (a list, a DataLoader, an object with __iter__)"
            raise TypeError(expected("x", what, "a function"))
        if is_array or not isinstance(batches, Iterable):
            raise ValueError(expected("y", "with an array x (or x an iterable of batches)", "None"))
        if batch_size is not None:
            raise ValueError(expected("batch_size", "to be set by the batches themselves", f"{batch_size}"))
        check_sharding(sharding)
        self.batches, self.sharding = batches, sharding
        self.mesh = None if sharding is None else sharding.mesh
        self.steps = len(batches) if isinstance(batches, Sized) else None

    def check_epochs(self, epochs: int) -> None:
        """Refuse an iterator, which has a single pass, for more than one epoch."""
        if epochs > 1 and iter(self.batches) is self.batches:
            what = "to start anew each epoch (a list, a DataLoader, an object with __iter__), or epochs=1"
            raise ValueError(expected("the iterable of batches", what, f"an iterator and {epochs} epochs"))

    def about(self) -> dict[str, Any]:
        """Return the number of batches, which alone is known beforehand."""
        return {"batches": self.steps}

    def epochs(
        self, model: Any, objective: VariationalObjective, optimizer: optax.GradientTransformation, *, one_by_one: bool
    ) -> Epochs:
        """Create passes over the iterable, an epoch per `run`."""
        return OverBatches(self.batches, objective, optimizer, self.sharding)


def is_slow_in_a_loop(model: Any, x: Any) -> bool:
    """Whether a call per step beats a loop of steps.

    A loop saves the dispatch of a call, a fraction of a millisecond per step. But XLA:CPU has no fast gradient of a
    convolution in a loop (github.com/jax-ml/jax/issues/12868): 16-32-10 at batch 128 takes six times as long there.
    """
    if jax.default_backend() != "cpu" or all(np.ndim(leaf) < 3 for leaf in jax.tree.leaves(model)):
        return False  # Without a kernel of a convolution's rank, this avoids a trace, which takes 70 ms or more.
    one = jax.tree.map(lambda leaf: leaf[:1], x)

    def outputs(model: Any, x: Any, key: Array) -> Any:
        return as_model(model).call_with_state(x, key=key)[0]

    return "conv_general_dilated" in str(jax.make_jaxpr(outputs)(model, one, jax.random.key(0)))
