"""Networks of each library for the tests.

`NETWORKS` maps a name to a function that returns three things: the argument of `bayesianize`, the function that the
network computes in evaluation mode, and its inputs.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx


def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 6, 2)), jnp.float32)


def tokens():
    return jnp.asarray(np.random.default_rng(0).integers(5, size=(4, 3)))


def rows():
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)


class ConvNet(nnx.Module):
    """A convolution with BatchNorm and dropout."""

    def __init__(self, rate=0.5):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(2, 3, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.head = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        h = self.dropout(nnx.relu(self.norm(self.conv(x))))
        return self.head(h.mean(axis=(1, 2)))


class Block(nnx.Module):
    """A transformer block over an embedding, and a recurrent cell over the block."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.embed = nnx.Embed(5, 4, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs)
        self.norm = nnx.LayerNorm(4, rngs=rngs)
        self.mlp = nnx.Linear(4, 4, rngs=rngs)
        self.cell = nnx.RNN(nnx.GRUCell(4, 2, rngs=rngs))

    def __call__(self, x):
        h = self.embed(x)
        h = h + self.attention(self.norm(h))
        return self.cell(h + nnx.gelu(self.mlp(h)))


class LinenNet(linen.Module):
    """Dense layers with BatchNorm and dropout."""

    @linen.compact
    def __call__(self, x, train: bool = True):
        h = linen.BatchNorm(use_running_average=not train)(linen.Dense(5)(x))
        return linen.Dense(2)(linen.Dropout(0.5, deterministic=not train)(jnp.tanh(h)))


class EquinoxNet(eqx.Module):
    """A module with state that takes one example, with BatchNorm, dropout, an integer array and a function."""

    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    last: eqx.nn.Linear
    order: jax.Array
    activation: object

    def __init__(self):
        keys = jax.random.split(jax.random.key(0))
        self.first = eqx.nn.Linear(3, 5, key=keys[0])
        self.norm = eqx.nn.BatchNorm(5, "examples", mode="batch")
        self.dropout = eqx.nn.Dropout(0.5)
        self.last = eqx.nn.Linear(5, 2, key=keys[1])
        self.order = jnp.arange(5)[::-1]
        self.activation = jnp.tanh

    def __call__(self, x, state, *, key=None):
        h, state = self.norm(self.first(x), state)
        return self.last(self.dropout(self.activation(h)[self.order], key=key)), state


def function(params, x):
    return jnp.tanh(x @ params["w"]) @ params["v"] + params["b"][None]


def function_params():
    rng = np.random.default_rng(1)
    shapes = {"w": (3, 5), "v": (5, 2), "b": (2,)}
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


# A network is compiled as a whole, since each eager operation would be compiled as a program of its own.
_call = nnx.jit(lambda net, x: net(x))


def _nnx(make, x):
    net = make()
    net.eval()
    return net, lambda x: _call(net, x), x


def _linen():
    module = LinenNet()
    variables = module.init(jax.random.key(0), rows(), train=False)
    return (module, variables), jax.jit(lambda x: module.apply(variables, x, train=False)), rows()


def _equinox():
    net, state = eqx.nn.make_with_state(EquinoxNet)()
    fixed = eqx.nn.inference_mode(net)

    @jax.jit
    def own(x):
        return jax.vmap(fixed, axis_name="examples", in_axes=(0, None), out_axes=(0, None))(x, state)[0]

    return (net, state), own, rows()


def _mlp():
    net = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    return net, jax.vmap(net), rows()


def _function():
    return (function, function_params()), lambda x: function(function_params(), x), rows()


NETWORKS = {
    "NNX conv net with BatchNorm": lambda: _nnx(ConvNet, images()),
    "NNX transformer block and RNN": lambda: _nnx(Block, tokens()),
    "Linen": _linen,
    "Equinox with state": _equinox,
    "Equinox MLP": _mlp,
    "function": _function,
}
# The networks with a training mode, that is, with BatchNorm statistics and dropout.
STATEFUL = [name for name in NETWORKS if name in ("NNX conv net with BatchNorm", "Linen", "Equinox with state")]
