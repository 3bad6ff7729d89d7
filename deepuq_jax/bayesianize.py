"""Any network as a Bayesian model: a Gaussian posterior over its parameters, centred on the ones it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_key, check_one_of, expected
from deepuq_jax.model import hold_prior, keep_streams, own_variables, reseed, split_params, unwrap
from deepuq_jax.posterior import MeanField
from deepuq_jax.priors import GaussianPrior
from deepuq_jax.types import Prior


def bayesianize(
    net: Any, *, sigma: Any = 0.05, prior: Prior = GaussianPrior(), likelihood: Any = None
) -> BayesianModule:
    """A Bayesian model from a network: every parameter gets a posterior N(its value, sigma^2).

    Args:
        net: a Flax NNX module, whose `nnx.Param`s become Bayesian and whose other Variables (BatchNorm statistics,
            dropout keys) are carried; or a pair (apply, params) with outputs = apply(params, x). It is not changed.
        sigma: initial standard deviation: a number, or a pytree like the parameters with one a leaf.
        prior: over every parameter.
        likelihood: names the model's likelihood, used where none is passed.
    Returns:
        An `nnx.Module` under the model protocol: `model(x, key=k)`, `model(x)`, `model.kl()`.
    Raises:
        TypeError: neither of the two, or a parameter that is not a floating array. ValueError: a bad sigma.

    >>> model = bayesianize((lambda w, x: x @ w, jnp.ones((2, 1))), sigma=0.01)
    >>> model(jnp.ones((1, 2)))
    Array([[2.]], dtype=float32)
    >>> model = bayesianize(nnx.Linear(3, 1, rngs=nnx.Rngs(0)))
    >>> model(jnp.ones((4, 3)), key=jax.random.key(1)).shape
    (4, 1)
    """
    if isinstance(net, nnx.Module):
        return BayesianModule(*_from_nnx(net), sigma=sigma, prior=prior, likelihood=likelihood)
    if isinstance(net, tuple) and len(net) == 2 and callable(net[0]):
        return BayesianModule(_PlainNet(net[0]), net[1], None, sigma=sigma, prior=prior, likelihood=likelihood)
    raise TypeError(expected("net", "to be a Flax NNX module or a pair (apply, params)", net))


@dataclass(frozen=True)
class _NNXNet:
    """Rebuilds an NNX module from its static part, so that tied parameters stay one."""

    graphdef: Any

    def rebuild(self, weights: Any, carried: Any) -> Callable:
        """The module at these weights and this carried state."""
        return nnx.merge(self.graphdef, weights, carried)


@dataclass(frozen=True)
class _PlainNet:
    """A function of parameters and inputs; it carries nothing."""

    apply: Callable

    def rebuild(self, weights: Any, carried: Any) -> Callable:
        """The function at these weights."""
        return partial(self.apply, weights)


def _from_nnx(net: nnx.Module) -> tuple[_NNXNet, Any, Any]:
    graphdef, params, carried = nnx.split(net, nnx.Param, ...)
    return _NNXNet(graphdef), nnx.to_pure_dict(params), carried


class BayesianModule(nnx.Module):
    """What `bayesianize` returns: a network and a mean-field posterior over its parameters.

    `posterior` is an `nnx.Param(MeanField)` over the parameters (for an NNX module: nested dicts, as in Flax);
    `carried` holds the network's other Variables.
    """

    def __init__(self, net: _NNXNet | _PlainNet, params: Any, carried: Any, *, sigma, prior, likelihood):
        if not jax.tree.leaves(params):
            raise ValueError(expected("net", "to have parameters", "none"))
        self.net = nnx.static(net)
        self.posterior = nnx.Param(MeanField.init(params, sigma))
        self.carried = nnx.data(carried)
        self.dtypes = tuple(leaf.dtype for leaf in jax.tree.leaves(params))
        self.prior = hold_prior(prior)
        self.likelihood = nnx.static(likelihood)

    def _weights(self, key: Array | None, noise: Any) -> Any:
        """One draw of the parameters, or their means, in the network's own dtypes."""
        posterior = unwrap(self.posterior)
        is_draw = key is not None or noise is not None
        weights = posterior.sample(key=key, noise=noise) if is_draw else posterior.mean()
        leaves, treedef = jax.tree.flatten(weights)
        return treedef.unflatten([leaf.astype(dtype) for leaf, dtype in zip(leaves, self.dtypes, strict=True)])

    def _net(self, key: Array | None, noise: Any, carried: Any) -> Callable:
        return self.net.rebuild(self._weights(key, noise), carried if key is None else reseed(carried, key))

    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Outputs of the network under one draw of its parameters, or at their means."""
        return self.call_with_state(x, key=key, noise=noise)[0]

    def call_with_state(self, x: Any, *, key: Array | None = None, noise: Any = None) -> tuple[Any, Any]:
        """The outputs, and the carried state as the call left it (BatchNorm statistics in training mode)."""
        check_one_of("key and noise", key, noise)
        _, carried, _ = split_params(self)
        if not jax.tree.leaves(self.carried):
            return self._net(key, noise, self.carried)(x), None
        net = self._net(key, noise, own_variables(self.carried))
        outputs = net(x)
        updated = keep_streams(self.carried, nnx.state(net, nnx.Not(nnx.Param)))
        new = own_variables(carried)
        new["carried"] = updated
        return outputs, new

    def draw_noise(self, x: Any, *, key: Array) -> Any:
        """The noise of `model(x, key=key)`: a pytree like the parameters. Dropout keys are not part of it."""
        return unwrap(self.posterior).draw_noise(key=key)

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """KL(q || p) in nats; where the prior has no closed form, at the weights that `key` (or `noise`) draws."""
        key = None if noise is not None else key
        return unwrap(self.posterior).kl(unwrap(self.prior), key=key, noise=noise)

    def draw(self, *, key: Array) -> FixedModule:
        """The network with its parameters fixed at one draw, under the model protocol."""
        check_key(key)
        return FixedModule(self, key)


class FixedModule(nnx.Module):
    """A `BayesianModule` at one draw of its parameters: it ignores noise and has no KL."""

    def __init__(self, model: BayesianModule, key: Array):
        self.net = nnx.static(model.net)
        self.weights = nnx.Variable(model._weights(key, None))
        self.carried = nnx.data(reseed(model.carried, key))
        self.likelihood = nnx.static(model.likelihood)

    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Outputs of the network."""
        return self.net.rebuild(unwrap(self.weights), own_variables(self.carried))(x)

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """0 nats: nothing is random."""
        return jnp.zeros(())
