"""Load a model from a file."""

from __future__ import annotations

import os
from typing import Any

from deepuq_jax._checks import expected
from deepuq_jax.model.own import check_model
from deepuq_jax.saving import _container
from deepuq_jax.saving._builder import Builder
from deepuq_jax.saving._description import FORMAT, array_differences, checked, differences, in_mode_of, skeleton
from deepuq_jax.saving._model_arrays import Spec, filled, is_key
from deepuq_jax.saving._registration import REGISTRY
from deepuq_jax.saving._strict_json import loads


def load(path: str | os.PathLike[str], *, like: Any = None) -> Any:
    """Load a model from a file.

    The file was written by `deepuq_jax.save` or `deepuq_torch.save`.

    Outputs, KL and draws are those of the saved model. They are equal to the bit if this package wrote the file and the
    device is the same. Programs that were compiled for the saved model run without being compiled again.

    Args:
        path: the path of the file.
        like: a model that was built like the saved model; needed for unregistered classes of your own and for networks
            from `bayesianize`. The architecture comes from `like`, which is not changed, and arrays and mode come from
            the file.
    Returns:
        The model.
    Raises:
        ValueError: the file is damaged, was not written by `save`, is of a newer format, or names unknown classes; or
            it differs from `like`, and the message lists all differences.
        TypeError: `like` is not a model.
        OSError: the file cannot be opened.

    >>> import tempfile
    >>> import jax.numpy as jnp
    >>> from deepuq_jax import bayesianize, save
    >>> def build(start):
    ...     return bayesianize((lambda w, x: x @ w, jnp.full((2, 1), start)))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save(f"{directory}/net.safetensors", build(1.0))
    ...     model = load(f"{directory}/net.safetensors", like=build(0.0))
    >>> model(jnp.ones((1, 2)))
    Array([[2.]], dtype=float32)
    """
    if like is not None:
        check_model(like)
    contents = _container.read(path)
    try:
        return _model_of(contents, like)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Expected {os.fspath(path)} to hold a model that can be loaded. {error}") from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the metadata that was passed to `save`.

    Args:
        path: the path of the file.
    Returns:
        the metadata, a dict of the types that JSON has.
    Raises:
        ValueError, OSError: as in `load`.

    >>> import tempfile
    >>> from flax import nnx
    >>> from deepuq_jax import BayesianLinear, save
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save(f"{directory}/layer.safetensors", BayesianLinear(3, 2, rngs=nnx.Rngs(0)), metadata={"epochs": 20})
    ...     read_metadata(f"{directory}/layer.safetensors")
    {'epochs': 20}
    """
    contents = _container.read(path)
    try:
        return _description_of(contents)["metadata"]
    except ValueError as error:
        raise ValueError(f"Expected {os.fspath(path)} to hold a model. {error}") from error


def _description_of(contents: _container.Contents) -> dict[str, Any]:
    if contents.metadata.get("format") != FORMAT or "model" not in contents.metadata:
        found = contents.metadata.get("format", "none")
        raise ValueError(expected("format", f"to be {FORMAT!r}, with a description of the model", f"{found!r:.100}"))
    return checked(loads("the description", contents.metadata["model"]))


def _model_of(contents: _container.Contents, like: Any) -> Any:
    description = _description_of(contents)
    node, keys = description["model"], description["keys"]
    if like is None:
        model = skeleton(Builder(REGISTRY, contents.arrays), node)
    else:
        model = in_mode_of(REGISTRY, like, description)
    leaves = REGISTRY.leaves(model)
    lines = differences(node, REGISTRY.describe(model, ""))
    lines += array_differences(leaves, {name: Spec(one.dtype, one.shape) for name, one in contents.arrays.items()})
    names = sorted(leaf.name for leaf in leaves if is_key(leaf.value))
    if names != sorted(keys):
        lines.append(f"the PRNG keys are {', '.join(sorted(keys))} in the file and {', '.join(names)} in the model")
    if lines:
        what = "to match the model" if like is None else "to match like"
        raise ValueError(expected("the file", what, f"these differences: {'; '.join(lines)}"))
    return filled(model, leaves, contents.arrays, keys)
