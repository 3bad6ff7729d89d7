"""Turn any network into a Bayesian model.

`bayesianize` puts a Gaussian posterior over the parameters of a network, centred on their present values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._arguments import check_choice
from deepuq_jax._checks import check_flag, check_key, check_positive, check_scalar, expected
from deepuq_jax._paths import dotted
from deepuq_jax.adapters import Parts, select, take_apart
from deepuq_jax.adapters.module import FixedModule, NetModule
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.likelihoods.base import checked_likelihood
from deepuq_jax.model.annotations import Annotation
from deepuq_jax.model.base import BaseModel
from deepuq_jax.model.noise_use import marked
from deepuq_jax.model.state import Stateful, with_streams
from deepuq_jax.model.structure import bayesian_nodes, is_bayesian, join
from deepuq_jax.model.variables import FrozenWeight, VariableTree, copied, hold_prior, posterior_of, unwrap
from deepuq_jax.posterior import MeanField
from deepuq_jax.priors.base import Prior, PriorRule
from deepuq_jax.priors.defaults import NETWORK_PRIOR
from deepuq_jax.priors.rules import PosteriorRule

_REST = ("trained", "frozen")
# The smallest standard deviation that `relative` returns: a weight of 0 has no scale of its own.
DEFAULT_FLOOR = 1e-3


def bayesianize(
    net: Any,
    *,
    where: Any = "all",
    rest: str = "trained",
    sigma: Any = 0.05,
    prior: Prior | PriorRule = NETWORK_PRIOR,
    centred: bool = False,
    likelihood: Any = None,
) -> BayesianModule:
    """Turn a network into a Bayesian model.

    Each chosen parameter w0 gets the posterior N(w0, sigma^2).

    Args:
        net: the network, which is not changed. The accepted kinds are
            a Flax NNX module: its `nnx.Param`s are the parameters, and its other Variables (BatchNorm statistics,
            dropout streams) are carried;
            a pair (module, variables) or (module.apply, variables) of Flax Linen: the collection "params" holds the
            parameters, the other collections are carried and updated, and dropout is drawn from the key of the call;
            an Equinox module, or a pair of the module and its `eqx.nn.State`: the module is called on each example of
            the batch with a separate key, and its floating arrays are the parameters;
            a pair (apply, params) with outputs = apply(params, x).
        where: selects the Bayesian parameters: "all"; "kernels" (two axes or more, no biases); "last_layer" (in an
            `nnx.Sequential`, a list or an Equinox module; attributes of an NNX module have no lasting order); a pattern
            of dotted paths such as "layers.*.kernel"; a layer type such as `nnx.Linear`, or a tuple of types; or a
            function (path, leaf) -> bool.
        rest: treatment of the other parameters: "trained" (as ordinary parameters, without a prior) or "frozen". With
            frozen parameters, the network is always in evaluation mode: its BatchNorm statistics stay as they are, and
            its dropout is off.
        sigma: initial standard deviation: a number; a function (path, leaf) that returns a number or an array, such as
            `relative(0.1)`; or a pytree like the parameters with a number or an array per leaf.
        prior: prior over every Bayesian parameter, or a rule (path, leaf) -> prior such as
            `deepuq_jax.priors.by_path` returns. Default N(0, 1).
        centred: centre the prior on the network's own weights, p(w) = prior(w - w0); see `moped`.
        likelihood: the model's likelihood, used unless another is passed.
    Returns:
        An `nnx.Module` that follows the model protocol: `model(x, key=k)`, `model(x)`, `model.kl()`. `model.train()`
        and `model.eval()` reach the network, which starts in its present mode.
    Raises:
        TypeError: the network is of another kind, or a parameter is not a floating array.
        ValueError: `sigma` is invalid, or `where` selects no parameter.

    >>> model = bayesianize((lambda w, x: x @ w, jnp.ones((2, 1))), sigma=0.01)
    >>> model(jnp.ones((1, 2)))
    Array([[2.]], dtype=float32)
    >>> net = nnx.Sequential(nnx.Linear(3, 8, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(8, 1, rngs=nnx.Rngs(1)))
    >>> model = bayesianize(net, where="last_layer")
    >>> model(jnp.ones((4, 3)), key=jax.random.key(1)).shape, sorted(model.bayesian_paths())
    ((4, 1), ['layers.2.bias', 'layers.2.kernel'])
    """
    check_choice("rest", rest, _REST)
    check_flag("centred", centred)
    if is_bayesian(net) or (isinstance(net, nnx.Module) and bayesian_nodes(net)):
        what = "to be a network without posteriors: this one is a Bayesian model already, or holds one"
        raise TypeError(expected("net", what, type(net).__name__))
    parts = take_apart(net)
    if not jax.tree.leaves(parts.params):
        raise ValueError(expected("net", "to have parameters", "none"))
    chosen = select(where, parts)
    return BayesianModule(parts, chosen, rest=rest, sigma=sigma, prior=prior, centred=centred, likelihood=likelihood)


def relative(factor: float, *, each: bool = False, floor: float = DEFAULT_FLOOR) -> Callable[[str, Array], Array]:
    """Set initial standard deviations relative to the weights.

    The result is meant for the argument `sigma` of `bayesianize`. Each tensor gets sigma = max(factor * rms(w), floor);
    with `each`, every weight gets sigma = max(factor * |w|, floor).

    Args:
        factor: ratio of sigma to the size of the weights, above zero.
        each: scale each weight separately instead of each tensor.
        floor: the smallest sigma, for tensors or weights at 0.
    Returns:
        A function (path, leaf) -> sigma.

    >>> relative(0.1)("kernel", jnp.array([3.0, 4.0]))
    Array(0.353..., dtype=float32)
    """
    check_positive("factor", check_scalar("factor", factor))
    check_positive("floor", check_scalar("floor", floor))

    def sigma(path: str, leaf: Array) -> Array:
        size = jnp.abs(at_least_float32(leaf))
        if not each:
            size = jnp.sqrt(jnp.mean(jnp.square(size)))
        return jnp.maximum(factor * size, floor)

    return sigma


def moped(
    net: Any,
    *,
    delta: float = 0.1,
    prior: Prior | PriorRule = NETWORK_PRIOR,
    floor: float = DEFAULT_FLOOR,
    where: Any = "all",
    rest: str = "trained",
    likelihood: Any = None,
) -> BayesianModule:
    """Start a Bayesian model from a trained network.

    Prior and posterior are both centred on the network's weights w0. With the default prior

    p(w) = N(w0, 1),  q(w) = N(w0, max(delta |w0|, floor)^2).

    Args:
        net: the network, as in `bayesianize`.
        delta: initial standard deviation as a fraction of each weight.
        prior: prior over the deviation from the network's weights, w - w0.
        floor: the smallest initial standard deviation: at delta |w0| = 0 the KL would be infinite.
        where, rest, likelihood: as in `bayesianize`.
    Returns:
        A model as from `bayesianize`. At its means it equals the network, and `draw` returns functions near it.
    Source: Krishnan, Subedar & Tickoo 2020, arXiv 1906.05323 (MOPED).

    >>> net = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    >>> bool((moped(net)(jnp.ones((2, 3))) == net(jnp.ones((2, 3)))).all())
    True
    """
    check_positive("delta", check_scalar("delta", delta))
    sigma = relative(delta, each=True, floor=floor)
    return bayesianize(net, where=where, rest=rest, sigma=sigma, prior=prior, centred=True, likelihood=likelihood)


class PriorCentre(nnx.Variable[Any]):
    """The centre of a prior: carried, not trained."""


def _initial_sigmas(sigma: Any, params: Any, chosen: Any) -> Any:
    """Resolve `sigma` for the chosen parameters.

    A function is called on each chosen parameter, a pytree over all parameters loses the entries of the parameters that
    are not chosen, and anything else is passed on.
    """
    if callable(sigma):
        return jax.tree_util.tree_map_with_path(lambda path, leaf: sigma(dotted(path), leaf), chosen)
    if jax.tree.structure(sigma) == jax.tree.structure(params) != jax.tree.structure(0.0):
        return jax.tree.map(lambda leaf, value: None if leaf is None else value, chosen, sigma, is_leaf=_is_none)
    return sigma


def _is_none(leaf: Any) -> bool:
    return leaf is None


class BayesianModule(Stateful, BaseModel, NetModule):
    """A network with a mean-field posterior over its parameters.

    `bayesianize` returns it. `posterior` holds a `MeanField` over the Bayesian parameters, a pytree like the network's
    (nested dicts for an NNX module, as in Flax) with None in place of the other parameters. `rest` holds the other
    parameters, and `carried` holds the state.
    """

    # Set while `refuse_shared_noise` traces the model.
    noise_label: str | None = None

    def __init__(self, parts: Parts, chosen: Any, *, rest: str, sigma: Any, prior: Any, centred: bool, likelihood: Any):
        weights = jax.tree.map(lambda leaf, is_chosen: leaf if is_chosen else None, parts.params, chosen)
        others = jax.tree.map(lambda leaf, is_chosen: None if is_chosen else leaf, parts.params, chosen)
        self._hold(parts.net, parts.carried)
        posterior = MeanField.init(weights, _initial_sigmas(sigma, parts.params, weights))
        annotations = {f"{name}.{path}": one for path, one in parts.annotations.items() for name in ("mu", "rho")}
        self.posterior: VariableTree = VariableTree(posterior, nnx.Param, annotations)
        self.rest: Any = _hold_rest(others, rest, parts.annotations)
        self.dtypes: tuple[Any, ...] = tuple(leaf.dtype for leaf in jax.tree.leaves(weights))
        mu = unwrap(self.posterior).mu
        if centred and isinstance(prior, PosteriorRule):
            what = "to be over the deviation from the network's weights for centred=True and moped"
            raise ValueError(expected("prior", what, "a rule of as_prior, whose priors have centres of their own"))
        self.prior: Any = hold_prior(prior, mu)
        self.prune_mask: Any = None
        self.centre: VariableTree | None = VariableTree(copied(mu), PriorCentre, parts.annotations) if centred else None
        self.likelihood: Any = nnx.static(checked_likelihood(likelihood))
        if isinstance(self.rest, VariableTree) and rest == "frozen":
            self.eval()
            self.mode_is_fixed = True

    def bayesian_paths(self) -> list[str]:
        """Return the dotted paths of the Bayesian parameters."""
        return [dotted(path) for path, _ in jax.tree_util.tree_leaves_with_path(unwrap(self.posterior).mu)]

    def _means(self) -> Any:
        return self._weights(None, None)

    def _weights(self, key: Array | None, noise: Any) -> Any:
        """Return a draw or the means, in the network's dtypes."""
        posterior = posterior_of(self, "posterior")
        some_mean = jax.tree.leaves(posterior.mu)[0]
        if key is not None:
            key = marked(self.noise_label, key, some_mean, is_key=True)
        is_draw = key is not None or noise is not None
        weights = posterior.sample(key=key, noise=noise) if is_draw else posterior.mean()
        leaves, treedef = jax.tree.flatten(weights)
        if not is_draw:
            leaves[0] = marked(self.noise_label, leaves[0], some_mean, is_key=False)
        leaves = [leaf.astype(dtype) for leaf, dtype in zip(leaves, self.dtypes, strict=True)]
        weights = treedef.unflatten(leaves)
        return weights if self.rest is None else join(weights, unwrap(self.rest))

    def _forward(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Run the network at a draw or at the means.

        The call updates the carried state.
        """
        return self._run(self._weights(key, noise), x, key)

    def draw_noise(self, x: Any, *, key: Array) -> Any:
        """Draw the noise of `model(x, key=key)`, without dropout.

        Returns:
            A pytree like the parameters.
        """
        return unwrap(self.posterior).draw_noise(key=key)

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether every prior has a closed-form KL."""
        return posterior_of(self, "posterior").has_closed_form_kl(unwrap(self.prior))

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """Return KL(q || p) in nats.

        Without a closed form, the KL is estimated at the weights that `key` (or `noise`) draws.
        """
        key = None if noise is not None else key
        posterior = posterior_of(self, "posterior")
        if self.centre is not None:  # Since p(w) = prior(w - w0), the KL is computed for w - w0.
            posterior = replace(posterior, mu=jax.tree.map(jnp.subtract, posterior.mu, unwrap(self.centre)))
        return posterior.kl(unwrap(self.prior), key=key, noise=noise)

    def draw(self, *, key: Array) -> FixedModule:
        """Fix the network's parameters and dropout at a single draw."""
        check_key(key)
        carried = with_streams(self, key).carried
        return FixedModule(self.net, self._weights(key, None), carried, key, self.likelihood)


def _hold_rest(others: Any, rest: str, annotations: Mapping[str, Annotation]) -> Any:
    if not jax.tree.leaves(others):
        return None

    def kind(leaf: Any) -> type[nnx.Variable[Any]]:
        # Whole numbers beside the weights, such as a table of positions, are kept as they are.
        is_trained = rest == "trained" and jnp.issubdtype(leaf.dtype, jnp.floating)
        return nnx.Param if is_trained else FrozenWeight

    return VariableTree(copied(others), kind, annotations)
