"""Save a model to a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax._version import __version__
from deepuq_jax.model.own import check_model
from deepuq_jax.saving import _container
from deepuq_jax.saving._builder import Builder, NeedsLikeError
from deepuq_jax.saving._description import FORMAT, array_differences, describe, differences, skeleton
from deepuq_jax.saving._model_arrays import Spec, array_of, spec_of
from deepuq_jax.saving._registration import REGISTRY
from deepuq_jax.saving._strict_json import dumps


def save(path: str | os.PathLike[str], model: Any, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Save a model to a file.

    The file holds the architecture, posteriors, priors, likelihood, estimators, masks, mode and carried state.
    `deepuq_jax.load` reads it, and so does `deepuq_torch.load` if that package has the classes. If saving fails, an
    earlier file of that name stays as it was.

    Classes of your own, and networks from `bayesianize`, load with `load(path, like=model)` unless they are registered.

    Args:
        path: the path of the file, by custom with the ending ".safetensors".
        model: a Bayesian model.
        metadata: values of your own, such as the data set and the number of epochs: a dict of JSON values, which
            `deepuq_jax.saving.read_metadata` returns.
    Raises:
        TypeError: `model` is not a Bayesian model, or `metadata` is not JSON.
        ValueError: the model holds an unregistered function, parts in different modes, or a part of the library that
            was changed so that its constructor no longer builds it.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> from deepuq_jax import BayesianLinear, load
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save(f"{directory}/layer.safetensors", BayesianLinear(3, 2, rngs=nnx.Rngs(0)))
    ...     layer = load(f"{directory}/layer.safetensors")
    >>> layer.kernel_posterior.mu.shape
    (3, 2)
    """
    check_model(model)
    own = {} if metadata is None else metadata
    if not isinstance(own, dict):
        raise TypeError(expected("metadata", "to be a dict", type(own).__name__))
    dumps("metadata", own)
    leaves = REGISTRY.leaves(model)
    found = {leaf.name: spec_of(leaf) for leaf in leaves}
    description = describe(REGISTRY, model, leaves, __version__, own)
    text = dumps("the settings of the model", description)
    arrays = {leaf.name: array_of(leaf) for leaf in leaves}
    _check_loads(model, description["model"], arrays, found)
    _container.write(path, arrays, {"format": FORMAT, "model": text})


def _check_loads(model: Any, node: Any, arrays: dict[str, np.ndarray], found: dict[str, Spec]) -> None:
    """Build the model from its description, and compare.

    A model whose parts were changed by hand would load as a different model.
    """
    try:
        fresh = skeleton(Builder(REGISTRY, arrays), node)
    except NeedsLikeError:
        return
    lines = differences(node, REGISTRY.describe(fresh, ""))
    lines += array_differences(REGISTRY.leaves(fresh), found)
    if not lines and jax.tree.structure(fresh) != jax.tree.structure(model):
        lines = _static_differences(fresh, model)
    if lines:
        what = "to be as the constructors of its classes build it (a subclass of your own loads with like=)"
        raise ValueError(expected("model", what, f"these changes: {'; '.join(lines)}"))


def _static_differences(fresh: Any, model: Any) -> list[str]:
    """List attributes that are neither arrays nor described."""
    built = dict(nnx.iter_modules(fresh))
    lines = []
    for path, module in nnx.iter_modules(model):
        plain = {} if path not in built else _plain_attributes(built[path])
        for name, value in _plain_attributes(module).items():
            if name not in plain or not (plain[name] is value or plain[name] == value):
                lines.append(f"{'.'.join(map(str, (*path, name)))} is {value!r:.100}")
    return lines


def _plain_attributes(module: Any) -> dict[str, Any]:
    return {
        name: value for name, value in vars(module).items() if not name.startswith("_pytree__") and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    return not isinstance(value, nnx.Pytree) and not any(hasattr(leaf, "shape") for leaf in jax.tree.leaves(value))
