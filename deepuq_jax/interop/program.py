"""The predictive function of a model in a file that runs without this library."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax import export as jax_export

from deepuq_jax._arguments import check_dtype
from deepuq_jax._checks import check_batch, check_count, check_key, check_scalar, describe, expected
from deepuq_jax._inputs import as_arrays
from deepuq_jax.interop.fields import named_fields
from deepuq_jax.interop.package import Needs, write_package
from deepuq_jax.model.own import check_model
from deepuq_jax.prediction.draws import DEFAULT_DRAWS
from deepuq_jax.prediction.moments import predict_vi_uq
from deepuq_jax.types import check_level

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export(
    model: Any,
    path: str | os.PathLike[str],
    x: Any,
    *,
    key: Array | None = None,
    n_samples: int = DEFAULT_DRAWS,
    level: float | None = None,
    batch_size: int | None = None,
    platforms: Sequence[str] = ("cpu", "cuda"),
) -> None:
    """Write the predictive function to a file that JAX runs without this library.

    The file is a zip archive of three files: `function`, a program of `jax.export` with the weights in it;
    `needs.json`, which lists its inputs, outputs, platforms and versions; and `README.txt`, which shows how to run it:

        function = jax.export.deserialize(bytearray(zipfile.ZipFile(path).read("function"))).call
        prediction = function(x)        # or function(x, seed), if it was exported without a key

    The program returns a dict of arrays: in regression `mean`, `epistemic_var`, `aleatoric_var` and `total_var`, in
    classification `probs`, `probs_var`, `predictive_entropy` and `mutual_information`, as `predict_vi_uq` computes
    them. It is compiled for the machine on which it is first called.

    Args:
        model: a Bayesian model; the file holds a copy of its weights, and runs in evaluation mode.
        path: the path of the file.
        x: an example of the inputs [batch, ...], a pytree of arrays or `jax.ShapeDtypeStruct`. Only shapes and dtypes
            are read.
        key: a key of `jax.random.key`, whose draws every call uses, so that equal inputs have equal predictions. None
            makes the seed an input of the program, a uint32 scalar: function(x, numpy.uint32(0)).
        n_samples: number of draws.
        level: probability of the central interval that is added as `lower` and `upper`, in regression.
        batch_size: the number of inputs per call; None allows any number of inputs. Each number is compiled once.
        platforms: platforms on which the program is to run, of "cpu", "cuda", "rocm" and "tpu". They need not be
            available when the file is written.
    Raises:
        ValueError, TypeError: an argument is invalid, or a layer of the model does not work with an unknown number of
            inputs, so that `batch_size` is needed.
        ImportError: flatbuffers, which `jax.export` writes with, is not installed.
        OSError: the file cannot be written; an earlier file of that name stays as it was.

    >>> import tempfile, zipfile
    >>> from flax import nnx
    >>> from deepuq_jax import BayesByBackpropMLP, Gaussian
    >>> model = BayesByBackpropMLP(2, (4,), 1, likelihood=Gaussian(0.1), rngs=nnx.Rngs(0))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     export(model, f"{directory}/model.zip", jnp.ones((1, 2)), key=jax.random.key(0), platforms=["cpu"])
    ...     data = zipfile.ZipFile(f"{directory}/model.zip").read("function")
    >>> {name: array.shape for name, array in jax_export.deserialize(bytearray(data)).call(jnp.ones((3, 2))).items()}
    {'aleatoric_var': (3, 1), 'epistemic_var': (3, 1), 'mean': (3, 1), 'total_var': (3, 1)}
    """
    _require_flatbuffers()
    check_model(model)
    if key is not None:
        check_key(key)
    if level is not None:
        check_level(level)
        level = float(check_scalar("level", level))
    n_samples = check_count("n_samples", n_samples)
    platforms = _checked_platforms(platforms)
    inputs = _input_shapes(x, batch_size)
    program = _program(model, key, n_samples, level, platforms)
    arguments = (inputs,) if key is not None else (inputs, jax.ShapeDtypeStruct((), jnp.uint32))
    exported = _exported(program, arguments, platforms, batch_size)
    needs = Needs.of(exported, n_samples=n_samples, level=level, has_seed=key is None)
    write_package(path, exported.serialize(), needs)


def _require_flatbuffers() -> None:
    if importlib.util.find_spec("flatbuffers") is None:
        raise ImportError("An exported file needs flatbuffers: pip install 'deepuq-jax[interop]'.")


def _checked_platforms(platforms: Any) -> tuple[str, ...]:
    if isinstance(platforms, str) or not all(isinstance(name, str) for name in platforms):
        raise TypeError(expected("platforms", "to be a sequence of names, as in ('cpu', 'cuda')", f"{platforms!r}"))
    found = tuple(dict.fromkeys(platforms))
    if not found or not set(found) <= set(PLATFORMS):
        raise ValueError(expected("platforms", f"to be some of {', '.join(PLATFORMS)}", f"{platforms!r}"))
    return found


def _input_shapes(x: Any, batch_size: int | None) -> Any:
    """Return the shapes of the inputs, with the number of rows open or fixed."""
    if isinstance(x, (str, os.PathLike)):
        raise TypeError(expected("x", "to be an example of the inputs, after the path", describe(x)))
    x = jax.tree.map(_as_shape, x, is_leaf=lambda node: isinstance(node, list))
    check_batch(x, (), finite=False)
    if batch_size is None:
        (rows,) = jax_export.symbolic_shape("batch")
    else:
        rows = check_count("batch_size", batch_size)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype), x)


def _as_shape(leaf: Any) -> Any:
    """Return the shape and dtype of an array, a list of numbers or a data frame."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        leaf = as_arrays("x", leaf)
    if isinstance(leaf, list) or not hasattr(leaf, "shape"):
        raise TypeError(expected("x", "to be an array with a leading batch axis", leaf))
    return jax.ShapeDtypeStruct(leaf.shape, check_dtype("the dtype of x", leaf.dtype))


def _program(model: Any, key: Array | None, n_samples: int, level: float | None, platforms: tuple[str, ...]) -> Any:
    """Return the function of the inputs, or of the inputs and a seed.

    Draws run side by side on accelerators, and one after the other on a CPU, as in `predict_vi_uq`.
    """
    leaves, treedef = jax.tree.flatten(model)

    def moments(leaves: Any, x: Any, key: Array, *, at_once: int) -> dict[str, Array]:
        model = jax.tree.unflatten(treedef, leaves)
        result = predict_vi_uq(model, x, key=key, n_samples=n_samples, draws_at_once=at_once)
        return named_fields(result, level)

    def on_cpu(leaves: Any, x: Any, key: Array) -> dict[str, Array]:
        return moments(leaves, x, key, at_once=1)

    def elsewhere(leaves: Any, x: Any, key: Array) -> dict[str, Array]:
        return moments(leaves, x, key, at_once=10)

    def function(x: Any, seed: Any = None) -> dict[str, Array]:
        draws = jax.random.key(seed) if key is None else key
        if "cpu" not in platforms:
            return elsewhere(leaves, x, draws)
        if platforms == ("cpu",):
            return on_cpu(leaves, x, draws)
        return jax.lax.platform_dependent(leaves, x, draws, cpu=on_cpu, default=elsewhere)

    return jax.jit(function)


def _exported(program: Any, arguments: Any, platforms: tuple[str, ...], batch_size: int | None) -> jax_export.Exported:
    """Lower the program for the platforms.

    Raises:
        ValueError: a layer does not work with an open number of inputs, although it does with two.
    """
    try:
        return jax_export.export(program, platforms=platforms)(*arguments)
    except Exception as error:
        # JAX and Python have several errors for symbolic lengths. A trial with two inputs shows whether these lengths
        # are the cause.
        if batch_size is None and _works(program, _of_two(arguments)):
            message = expected("batch_size", "for a model that does not work with an open number of inputs", "None")
            raise ValueError(message) from error
        raise


def _of_two(arguments: Any) -> Any:
    inputs, *seed = arguments
    fixed = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape[1:]), leaf.dtype), inputs)
    return (fixed, *seed)


def _works(program: Any, arguments: Any) -> bool:
    try:
        jax.eval_shape(program, *arguments)
    except Exception:
        return False
    return True
