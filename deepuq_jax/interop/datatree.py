"""Draws from a posterior, as ArviZ reads them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._checks import check_batch, check_count, check_key, expected
from deepuq_jax._inputs import as_arrays
from deepuq_jax._paths import dotted
from deepuq_jax.diagnostics.weights import weight_tensors
from deepuq_jax.interop.dataset import import_xarray
from deepuq_jax.likelihoods.base import Likelihood, per_example
from deepuq_jax.model.modes import in_evaluation_mode
from deepuq_jax.model.own import as_model, check_model
from deepuq_jax.model.owners import join_paths
from deepuq_jax.noise import draw_key
from deepuq_jax.objectives.targets import check_targets, resolve_likelihood

if TYPE_CHECKING:
    import xarray

# Parts of the path of a drawn weight that are not in the path of its posterior.
_WRAPPERS = ("value", "weights", "model")


def to_datatree(model: Any, *, key: Array, n_samples: int = 1000, x: Any = None, y: Any = None) -> xarray.DataTree:
    """Draw from a posterior into the groups that ArviZ reads.

    Draw i of every group is the same draw of the weights. All draws are held in memory: `n_samples` times the model.

    Args:
        model: a Bayesian model with mean-field posteriors. It runs in evaluation mode.
        key: a key of `jax.random.key`.
        n_samples: number of draws.
        x: inputs [batch, ...]; they add the group `posterior_predictive`.
        y: targets [batch, ...] of these inputs; they add the groups `log_likelihood` and `observed_data`.
    Returns:
        A DataTree. `posterior` has a variable per weight tensor, such as "layers.0.kernel", of the shape [1, n_samples,
        ...] over `chain` and `draw`. `posterior_predictive` and `log_likelihood` (nats per example) have the variable
        "y". There is one chain, because the draws are independent: R-hat and the effective sample size say nothing
        about how near q is to the posterior, which `diagnose` measures.
    Raises:
        ValueError, TypeError: an argument is invalid, `y` comes without `x`, the model has no likelihood for the
            targets, or no mean-field posterior.
        ImportError: xarray is not installed.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesianLinear
    >>> tree = to_datatree(BayesianLinear(3, 2, rngs=nnx.Rngs(0)), key=jax.random.key(0), n_samples=5)
    >>> tree["posterior"]["kernel"].dims, tree["posterior"]["kernel"].shape
    (('chain', 'draw', 'kernel_dim_0', 'kernel_dim_1'), (1, 5, 3, 2))
    """
    xarray = import_xarray()
    check_model(model)
    check_key(key)
    n_samples = check_count("n_samples", n_samples)
    x, y = as_arrays("x", x), as_arrays("y", y)
    likelihood = None if x is None else _checked_likelihood(model, x, y)
    if x is None and y is not None:
        raise ValueError("Expected x with y; got y alone.")
    paths = tuple(tensor.path for tensor in weight_tensors(model))
    groups = _draws(model, x, y, key, likelihood=likelihood, paths=paths, n_samples=n_samples)
    tree = {name: _dataset(xarray, values) for name, values in groups.items()}
    if y is not None:
        leaves = jax.tree_util.tree_leaves_with_path(y)
        observed = {join_paths("y", dotted(path)): np.asarray(leaf) for path, leaf in leaves}
        tree["observed_data"] = xarray.Dataset(
            {name: (_axes(name, values.ndim), values) for name, values in observed.items()}
        )
    return xarray.DataTree.from_dict(tree)


def _checked_likelihood(model: Any, x: Any, y: Any) -> Likelihood:
    check_batch(x, () if y is None else y)
    likelihood = resolve_likelihood(model, None)
    if y is not None:
        check_targets(model, x, y, partial(per_example, likelihood))
    return likelihood if y is not None else likelihood.of_targets()


@partial(jax.jit, static_argnames=("likelihood", "paths", "n_samples"))
def _draws(
    model: Any, x: Any, y: Any, key: Array, *, likelihood: Likelihood | None, paths: tuple[str, ...], n_samples: int
) -> dict[str, dict[str, Array]]:
    """Compute the arrays [n_samples, ...] of each group."""
    model = as_model(in_evaluation_mode(model))
    # The numbers of the draws are below this number, so no draw of the weights has this key.
    key_of_targets = jax.random.fold_in(key, np.uint32(2**32 - 1))

    def of_draw(i: Array) -> dict[str, dict[str, Array]]:
        fixed = model.draw_for_kl(key=draw_key(key, i))
        groups = {"posterior": _weights(fixed, paths)}
        if likelihood is not None:
            outputs = fixed(x)
            noise = draw_key(key_of_targets, i)
            groups["posterior_predictive"] = {"y": likelihood.of_targets().sample(outputs, key=noise)}
            if y is not None:
                groups["log_likelihood"] = {"y": per_example(likelihood, outputs, y)}
        return groups

    return jax.lax.map(of_draw, jnp.arange(n_samples))


def _weights(fixed: Any, paths: tuple[str, ...]) -> dict[str, Array]:
    """Find the drawn weights by the paths of their posteriors."""
    found: dict[str, list[Any]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(fixed):
        found.setdefault(_without_wrappers(dotted(path)), []).append(leaf)
    weights = {path: found.get(_without_wrappers(path), []) for path in paths}
    for path, leaves in weights.items():
        if len(leaves) != 1:
            what = "to keep every drawn weight at the path of its posterior"
            raise ValueError(expected("model", what, f"{len(leaves)} arrays for {path}"))
    return {path: leaf for path, (leaf,) in weights.items()}


def _without_wrappers(path: str) -> str:
    return ".".join(word for word in path.split(".") if word not in _WRAPPERS)


def _dataset(xarray: Any, values: dict[str, Array]) -> Any:
    """Add the axes `chain` and `draw`, and name the other axes."""
    arrays = {name: np.asarray(drawn)[None] for name, drawn in values.items()}
    variables = {name: (("chain", "draw", *_axes(name, array.ndim - 2)), array) for name, array in arrays.items()}
    count = next(iter(arrays.values())).shape[1]
    return xarray.Dataset(variables, {"chain": [0], "draw": np.arange(count)})


def _axes(name: str, count: int) -> list[str]:
    return [f"{name}_dim_{i}" for i in range(count)]
