"""A model, its data and meshes of forced devices, for the measurements in `devices.py`."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import deepuq_jax as dq

KEY = jax.random.key(0)
ADAM, SGD = optax.adam(1e-2), optax.sgd(1e-2)
# An epoch has four batches, each of which divides evenly over eight devices.
ROWS, BATCH, EPOCHS = 64, 16, 13
_COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast)(?:-start)?\("
)


def mesh_of(count, *, explicit=False, axis="data"):
    kind = AxisType.Explicit if explicit else AxisType.Auto
    return jax.make_mesh((count,), (axis,), axis_types=(kind,), devices=jax.devices()[:count])


def split(mesh):
    return NamedSharding(mesh, PartitionSpec("data"))


def copies(mesh):
    return NamedSharding(mesh, PartitionSpec())


def data(rows=ROWS, features=4, classes=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, features)).astype(jnp.result_type(float)), rng.integers(0, classes, rows)


def classifier(features=4, hidden=(), classes=3):
    """Build a model, of one layer by default, since a program costs compile time per tensor."""
    dtype = jnp.result_type(float)
    likelihood = dq.Categorical()
    return dq.BayesByBackpropMLP(features, hidden, classes, likelihood=likelihood, param_dtype=dtype, rngs=nnx.Rngs(0))


def collectives(compiled):
    """Return the kind and the number of entries of each collective in a program."""
    found = []
    for shapes, kind in _COLLECTIVE.findall(re.sub(r"/\*.*?\*/", "", compiled.as_text())):
        sizes = [np.prod([int(n) for n in dims.split(",") if n]) for dims in re.findall(r"\w+\[([\d,]*)\]", shapes)]
        found.append((kind, int(sum(sizes))))
    return found


def distance(one, other):
    """Return the largest difference between two pytrees, per array relative to its largest entry or to 1."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs]
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in pairs)
