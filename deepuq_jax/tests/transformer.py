"""A transformer whose parameters are split over four devices, for `test_large_model.py`.

Run as a program, it measures what each device holds, and prints it as JSON. An argument "trained:one block" calls the
function `trained` with the name of a size.
"""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import deepuq_jax as dq
from deepuq_jax.tests.devices import collectives
from deepuq_jax.training import _epochs
from deepuq_jax.training.state import TrainState

DEVICES = 4


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of a transformer and of its data. With `heads=0`, its blocks have no attention."""

    width: int
    heads: int
    blocks: int
    vocabulary: int
    tokens: int = 8
    rows: int = 8
    batch: int = 4


SIZES = {
    "one block": Size(width=16, heads=0, blocks=1, vocabulary=32),
    "20 million": Size(width=768, heads=8, blocks=2, vocabulary=8192),
    "many tokens": Size(width=32, heads=4, blocks=4, vocabulary=32, tokens=256),
}
CLASSES = 4


def split(*axes):
    """Return an initializer of kernels whose axis "model" is split over the devices."""
    return nnx.with_partitioning(nnx.initializers.lecun_normal(), axes)


def split_zeros(*axes):
    return nnx.with_partitioning(nnx.initializers.zeros_init(), axes)


def attention(size, rngs):
    return nnx.MultiHeadAttention(
        size.heads,
        size.width,
        kernel_init=split(None, "model", None),
        bias_init=split_zeros("model", None),
        out_kernel_init=split("model", None, None),
        out_bias_init=nnx.initializers.zeros_init(),
        decode=False,
        rngs=rngs,
    )


class Block(nnx.Module):
    """Attention and an MLP, both split over heads and hidden units."""

    def __init__(self, size, rngs):
        self.norm = nnx.LayerNorm(size.width, rngs=rngs)
        self.attention = None if size.heads == 0 else attention(size, rngs)
        hidden = 4 * size.width
        into, out = split(None, "model"), split("model", None)
        self.up = nnx.Linear(size.width, hidden, kernel_init=into, bias_init=split_zeros("model"), rngs=rngs)
        self.down = nnx.Linear(hidden, size.width, kernel_init=out, rngs=rngs)

    def __call__(self, x):
        if self.attention is not None:
            x = x + self.attention(x)
        return x + self.down(nnx.gelu(self.up(self.norm(x))))


class Transformer(nnx.Module):
    """A transformer that classifies sequences of tokens."""

    def __init__(self, size, *, remat):
        rngs = nnx.Rngs(0)
        self.embed = nnx.Embed(size.vocabulary, size.width, embedding_init=split("model", None), rngs=rngs)
        self.blocks = nnx.List([Block(size, rngs) for _ in range(size.blocks)])
        self.head = nnx.Linear(size.width, CLASSES, rngs=rngs)
        self.remat = remat

    def __call__(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = nnx.remat(Block.__call__)(block, x) if self.remat else block(x)
        return self.head(x.mean(axis=1))


def arrays(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]


def nbytes(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in arrays(tree))


def share(tree):
    """Return the share of the bytes of a pytree on the device that holds the most."""
    held = np.zeros(DEVICES)
    for leaf in arrays(tree):
        for shard in leaf.addressable_shards:
            held[shard.device.id] += shard.data.nbytes
    return held.max() / nbytes(tree)


def optimizer():
    """Return an optimizer that adds up the gradients of two batches."""
    return optax.MultiSteps(optax.adam(1e-3), 2)


def build(size, *, remat):
    return dq.bayesianize(Transformer(size, remat=remat), sigma=0.01, likelihood=dq.Categorical())


def data(size):
    rng = np.random.default_rng(0)
    return rng.integers(0, size.vocabulary, (size.rows, size.tokens)), rng.integers(0, CLASSES, size.rows)


def grid():
    """Return a mesh that splits the model over all devices."""
    return jax.make_mesh((1, DEVICES), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def trained(name):
    """Measure a transformer before, during and after `fit`. One compiled program runs all epochs."""
    size, seen, original = SIZES[name], [], _epochs._run_in_a_loop

    def run(*arrays, **static):
        compiled = original.lower(*arrays, **static).compile()
        seen.append(compiled)
        return compiled(*arrays)

    mesh = grid()
    _epochs._run_in_a_loop = run
    with jax.set_mesh(mesh):
        model = build(size, remat=True)
        before = TrainState.create(model, optimizer())
        result = dq.fit(
            model,
            *data(size),
            key=jax.random.key(0),
            optimizer=optimizer(),
            objective=dq.ELBO(),
            epochs=2,
            batch_size=size.batch,
            sharding=NamedSharding(mesh, PartitionSpec("data")),
        )
    (compiled,) = seen
    memory = compiled.memory_analysis()
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.posterior.get_value().mu)),
        "losses": result.history["loss"].tolist(),
        "before": [share(before.params), share(before.opt_state)],
        "after": [share(result.state.params), share(result.state.opt_state)],
        "bytes of arguments": memory.argument_size_in_bytes,
        "bytes of temporaries": memory.temp_size_in_bytes,
        "bytes": nbytes(before.params),
        "sent": max(entries for _, entries in collectives(compiled)),
    }


def kept_for_the_gradient(name):
    """Return the bytes that the loss keeps for its gradient, without and with rematerialization of each block.

    These are the bytes that JAX asks XLA to keep. On a CPU, XLA undoes `jax.checkpoint` and may keep more.
    """
    size, found = SIZES[name], []
    objective = dq.ELBO(num_data=size.rows)
    for remat in (False, True):
        with jax.set_mesh(grid()):
            params, rest = dq.partition(build(size, remat=remat))

        def residuals(params, rest=rest):
            def loss(params):
                return objective(dq.combine(params, rest), *data(size), key=jax.random.key(0))[0]

            return jax.vjp(loss, params)[1]

        found.append(nbytes(jax.eval_shape(residuals, params)))
    return found


if __name__ == "__main__":
    print(json.dumps({name: globals()[name](size) for name, size in (pair.split(":") for pair in sys.argv[1:])}))
