"""Any network as a Bayesian model: a Gaussian posterior over its parameters, centred on the ones it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_key, check_positive, expected
from deepuq_jax._paths import dotted
from deepuq_jax.adapters import Parts, select, take_apart
from deepuq_jax.adapters.module import FixedModule, NetModule
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.model.base import BaseModel
from deepuq_jax.model.state import Stateful, with_streams
from deepuq_jax.model.structure import join
from deepuq_jax.model.variables import FixedWeight, VariableTree, copied, hold_prior, posterior_of, unwrap
from deepuq_jax.posterior import MeanField
from deepuq_jax.priors.base import Prior, PriorRule
from deepuq_jax.priors.defaults import DEFAULT_PRIOR

_REST = ("trained", "frozen")
# The least standard deviation that `relative` gives: a weight of 0 has no scale to be relative to.
DEFAULT_FLOOR = 1e-3


def bayesianize(
    net: Any,
    *,
    where: Any = "all",
    rest: str = "trained",
    sigma: Any = 0.05,
    prior: Prior | PriorRule = DEFAULT_PRIOR,
    centred: bool = False,
    likelihood: Any = None,
) -> BayesianModule:
    """A Bayesian model from a network: a chosen parameter w0 gets a posterior N(w0, sigma^2).

    Args:
        net: it is not changed. One of
            a Flax NNX module: its `nnx.Param`s are parameters, its other Variables (BatchNorm statistics, dropout
            streams) are carried;
            a pair (module, variables) or (module.apply, variables) of Flax Linen: the collection "params" is
            parameters, other collections are carried and updated, dropout is drawn from the key of the call;
            an Equinox module, or a pair (module, state) of it and its `eqx.nn.State`: called on each example of the
            batch with a key of its own; floating arrays are parameters;
            a pair (apply, params) with outputs = apply(params, x).
        where: which parameters are Bayesian: "all"; "kernels" (two axes or more, no biases); "last_layer", of the
            layer defined last; a pattern of dotted paths such as "layers.*.kernel"; layer types, such as `nnx.Linear`,
            one or a tuple; or a function (path, leaf) -> bool.
        rest: what the others are: "trained" as ordinary parameters, without a prior, or "frozen".
        sigma: initial standard deviation: a number; a function (path, leaf) of numbers or arrays, such as
            `relative(0.1)`; or a pytree like the parameters with one a leaf.
        prior: over every Bayesian parameter, or a rule (path, leaf) -> prior, as
            `deepuq_jax.priors.by_path` makes them. Default N(0, 1).
        centred: whether the prior lies around the network's own weights, p(w) = prior(w - w0): see `moped`.
        likelihood: names the model's likelihood, used where none is passed.
    Returns:
        An `nnx.Module` under the model protocol: `model(x, key=k)`, `model(x)`, `model.kl()`. `model.train()` and
        `model.eval()` reach the network; it starts in the mode in which the network is.
    Raises:
        TypeError: no such network, or a parameter that is not a floating array. ValueError: a bad sigma, or a choice
            that takes no parameter.

    >>> model = bayesianize((lambda w, x: x @ w, jnp.ones((2, 1))), sigma=0.01)
    >>> model(jnp.ones((1, 2)))
    Array([[2.]], dtype=float32)
    >>> net = nnx.Sequential(nnx.Linear(3, 8, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(8, 1, rngs=nnx.Rngs(1)))
    >>> model = bayesianize(net, where="last_layer")
    >>> model(jnp.ones((4, 3)), key=jax.random.key(1)).shape, sorted(model.bayesian_paths())
    ((4, 1), ['layers.2.bias', 'layers.2.kernel'])
    """
    if rest not in _REST:
        raise ValueError(expected("rest", "to be 'trained' or 'frozen'", f"{rest!r}"))
    parts = take_apart(net)
    if not jax.tree.leaves(parts.params):
        raise ValueError(expected("net", "to have parameters", "none"))
    chosen = select(where, parts)
    return BayesianModule(parts, chosen, rest=rest, sigma=sigma, prior=prior, centred=centred, likelihood=likelihood)


def relative(factor: float, *, each: bool = False, floor: float = DEFAULT_FLOOR) -> Callable[[str, Array], Array]:
    """Initial standard deviations relative to the weights, as the `sigma` of `bayesianize`.

    sigma = max(factor * rms(w), floor), one a tensor; with `each`, max(factor * |w|, floor) for each weight.

    Args:
        factor: above zero.
        each: whether each weight has a scale of its own.
        floor: the least sigma, for tensors or weights at 0.

    >>> relative(0.1)("kernel", jnp.array([3.0, 4.0]))
    Array(0.353..., dtype=float32)
    """
    check_positive("factor", factor)
    check_positive("floor", floor)

    def sigma(path: str, leaf: Array) -> Array:
        size = jnp.abs(at_least_float32(leaf))
        return jnp.maximum(factor * (size if each else jnp.sqrt(jnp.mean(jnp.square(size)))), floor)

    return sigma


def moped(
    net: Any,
    *,
    delta: float = 0.1,
    prior: Prior | PriorRule = DEFAULT_PRIOR,
    floor: float = DEFAULT_FLOOR,
    where: Any = "all",
    rest: str = "trained",
    likelihood: Any = None,
) -> BayesianModule:
    """A Bayesian model that starts from a trained network: prior and posterior both lie around its weights w0.

    p(w) = N(w0, 1),  q(w) = N(w0, (delta |w0|)^2), and no sigma below `floor`

    Args:
        net: as in `bayesianize`.
        delta: initial standard deviation as a fraction of each weight.
        prior: of the deviation from the network's weights, w - w0.
        floor: the least initial standard deviation: at delta |w0| = 0 the KL would be infinite.
        where, rest, likelihood: as in `bayesianize`.
    Returns:
        As `bayesianize`. At its means it is the network; `draw` gives functions around it.
    Source: Krishnan, Subedar & Tickoo 2020, arXiv 1906.05323 (MOPED).

    >>> net = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    >>> bool((moped(net)(jnp.ones((2, 3))) == net(jnp.ones((2, 3)))).all())
    True
    """
    sigma = relative(delta, each=True, floor=floor)
    return bayesianize(net, where=where, rest=rest, sigma=sigma, prior=prior, centred=True, likelihood=likelihood)


class PriorCentre(nnx.Variable[Any]):
    """Where a prior lies: carried, not trained."""


def _initial_sigmas(sigma: Any, params: Any, chosen: Any) -> Any:
    """One sigma for each chosen parameter: by function, by number, or as given (then for each parameter)."""
    if callable(sigma):
        return jax.tree_util.tree_map_with_path(lambda path, leaf: sigma(dotted(path), leaf), chosen)
    if jax.tree.structure(sigma) == jax.tree.structure(params) != jax.tree.structure(0.0):
        return jax.tree.map(lambda leaf, value: None if leaf is None else value, chosen, sigma, is_leaf=_is_none)
    return sigma


def _is_none(leaf: Any) -> bool:
    return leaf is None


class BayesianModule(Stateful, BaseModel, NetModule):
    """What `bayesianize` returns: a network and a mean-field posterior over its parameters.

    `posterior` holds a `MeanField` over the Bayesian parameters, a pytree like the network's (for an NNX module: nested
    dicts, as in Flax) with None in place of the others; `rest` holds those, and `carried` the state.
    """

    def __init__(self, parts: Parts, chosen: Any, *, rest: str, sigma: Any, prior: Any, centred: bool, likelihood: Any):
        weights = jax.tree.map(lambda leaf, is_chosen: leaf if is_chosen else None, parts.params, chosen)
        others = jax.tree.map(lambda leaf, is_chosen: None if is_chosen else leaf, parts.params, chosen)
        self._hold(parts.net, parts.carried)
        self.posterior = VariableTree(MeanField.init(weights, _initial_sigmas(sigma, parts.params, weights)), nnx.Param)
        self.rest = _hold_rest(others, rest)
        self.dtypes = tuple(leaf.dtype for leaf in jax.tree.leaves(weights))
        mu = unwrap(self.posterior).mu
        self.prior = hold_prior(prior, mu)
        self.prune_mask: Any = None
        self.centre = VariableTree(copied(mu), PriorCentre) if centred else None
        self.likelihood = nnx.static(likelihood)

    def bayesian_paths(self) -> list[str]:
        """Dotted paths of the Bayesian parameters."""
        return [dotted(path) for path, _ in jax.tree_util.tree_leaves_with_path(unwrap(self.posterior).mu)]

    def _means(self) -> Any:
        return self._weights(None, None)

    def _weights(self, key: Array | None, noise: Any) -> Any:
        """One draw of the parameters, or their means, in the network's own dtypes."""
        posterior = posterior_of(self, "posterior")
        is_draw = key is not None or noise is not None
        weights = posterior.sample(key=key, noise=noise) if is_draw else posterior.mean()
        leaves, treedef = jax.tree.flatten(weights)
        leaves = [leaf.astype(dtype) for leaf, dtype in zip(leaves, self.dtypes, strict=True)]
        weights = treedef.unflatten(leaves)
        return weights if self.rest is None else join(weights, unwrap(self.rest))

    def _forward(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Outputs of the network under one draw of its parameters, or at their means; writes what it carries."""
        return self._run(self._weights(key, noise), x, key)

    def draw_noise(self, x: Any, *, key: Array) -> Any:
        """The noise of `model(x, key=key)`: a pytree like the parameters. Dropout is not part of it."""
        return unwrap(self.posterior).draw_noise(key=key)

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether that of every prior has one."""
        return posterior_of(self, "posterior").has_closed_form_kl(unwrap(self.prior))

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """KL(q || p) in nats; where the prior has no closed form, at the weights that `key` (or `noise`) draws."""
        key = None if noise is not None else key
        posterior = posterior_of(self, "posterior")
        if self.centre is not None:  # p(w) = prior(w - w0): the KL is that of w - w0.
            posterior = replace(posterior, mu=jax.tree.map(jnp.subtract, posterior.mu, unwrap(self.centre)))
        return posterior.kl(unwrap(self.prior), key=key, noise=noise)

    def draw(self, *, key: Array) -> FixedModule:
        """The network with its parameters, and its dropout, fixed at one draw, under the model protocol."""
        check_key(key)
        carried = with_streams(self, key).carried
        return FixedModule(self.net, self._weights(key, None), carried, key, self.likelihood)


def _hold_rest(others: Any, rest: str) -> Any:
    if not jax.tree.leaves(others):
        return None
    for path, leaf in jax.tree_util.tree_leaves_with_path(others):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(expected(f"parameter {dotted(path)}", "to be a floating array", leaf))
    return VariableTree(copied(others), nnx.Param if rest == "trained" else FixedWeight)
