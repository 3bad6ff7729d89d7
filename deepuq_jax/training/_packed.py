"""A run of `fit` as named arrays and JSON, in the memory of the host.

Each array has the name of its path in the run, so nothing depends on their order, and nothing is pickled.
"""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils

from deepuq_jax._checks import expected, is_concrete
from deepuq_jax.training._epochs import Begun
from deepuq_jax.training.state import TrainState
from deepuq_jax.types import ELBOTerms

# Increase this number when the contents of a checkpoint change, so that a release refuses those that it cannot read.
FORMAT = 2


class Progress(NamedTuple):
    """The progress of a run.

    Attributes:
        state: the state after the last step.
        best: the best model so far, a pytree, or None.
        rows: parts of the history, each with arrays [epochs of the part] by name.
        epochs: number of complete epochs.
        begun: the steps of the epoch that has begun.
    """

    state: TrainState
    best: Any
    rows: list[dict[str, np.ndarray]]
    epochs: int
    begun: Begun


class Packed(NamedTuple):
    """A checkpoint in the memory of the host.

    Attributes:
        step: number of training steps so far, which is the name of the checkpoint.
        arrays: NumPy arrays by path.
        about: the further contents of the checkpoint, as JSON.
        scores: the means of the last epoch, if the checkpoint is at its end. Orbax keeps the checkpoint with the best
            `val_nll` among them.
    """

    step: int
    arrays: dict[str, np.ndarray]
    about: dict[str, Any]
    scores: dict[str, float]


def joined(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join the parts of a history."""
    return {name: np.concatenate([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def named_leaves(state: TrainState, best: Any) -> dict[str, Array]:
    """Return the arrays of a run by path, in the order of the pytree (state, best)."""
    found = [(name, jax.tree_util.tree_leaves_with_path(tree)) for name, tree in (("state", state), ("best", best))]
    return {name + jax.tree_util.keystr(path): leaf for name, leaves in found for path, leaf in leaves}


def pack(progress: Progress) -> Packed:
    """Copy a run to the host."""
    leaves, history = named_leaves(progress.state, progress.best), joined(progress.rows)
    arrays = {name: _on_host(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for name, leaf in leaves.items()}
    arrays |= {f"history.{name}": values for name, values in history.items()}
    arrays |= _packed_terms(progress.begun)
    arrays = {name: values for name, values in arrays.items() if values.size}  # Orbax refuses arrays without entries.
    last = {} if progress.begun.terms else {name: values[-1] for name, values in history.items() if values.size}
    about = {
        "format": FORMAT,
        "epochs": progress.epochs,
        "position": _as_json(progress.begun.position),
        "weak": [name for name, leaf in leaves.items() if not _is_key(leaf) and leaf.weak_type],
    }
    scores = {name: float(value) for name, value in last.items() if np.isfinite(value)}
    return Packed(int(progress.state.step), arrays, about, scores)


def unpack(arrays: dict[str, np.ndarray], about: dict[str, Any], start: Progress) -> Progress:
    """Return the run that `pack` packed.

    Args:
        arrays, about: the fields of `Packed`.
        start: the start of the run, which says how the arrays are nested and on which devices they are.
    """
    weak, leaves = set(about["weak"]), named_leaves(start.state, start.best)
    values = [_placed(arrays[name], leaf, name in weak) if leaf.size else leaf for name, leaf in leaves.items()]
    state, best = jax.tree.unflatten(jax.tree.structure((start.state, start.best)), values)
    history = {name.removeprefix("history."): arrays[name] for name in arrays if name.startswith("history.")}
    begun = _unpacked_terms(arrays, about["position"])
    return Progress(state, best, [history] if history else [], about["epochs"], begun)


def _on_host(leaf: Array) -> np.ndarray:
    """Copy an array to the host, even if it is spread over processes."""
    return np.array(leaf if is_concrete(leaf) else multihost_utils.process_allgather(leaf, tiled=True))


def _is_key(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _placed(data: np.ndarray, leaf: Array, is_weak: bool) -> Array:
    """Put an array on the devices of `leaf`, as the same kind of array."""
    # A copy, since training donates its buffers and JAX may share the memory of a NumPy array.
    value = jnp.array(data, copy=True)
    if _is_key(leaf):
        value = jax.random.wrap_key_data(value, impl=str(jax.random.key_impl(leaf)))
    elif is_weak:
        # A weak type decides to which dtype JAX promotes, and setting entries keeps it.
        value = jnp.full(data.shape, data.dtype.type(0).item()).at[...].set(value)
    return jax.device_put(value, leaf.sharding) if leaf.committed else value


def _packed_terms(begun: Begun) -> dict[str, np.ndarray]:
    if not begun.terms:
        return {}
    names = [name for name in ELBOTerms._fields if getattr(begun.terms[0], name) is not None]
    columns = {f"begun.{name}": np.stack([getattr(terms, name) for terms in begun.terms]) for name in names}
    return {"begun.sizes": np.array(begun.sizes), **columns}


def _unpacked_terms(arrays: dict[str, np.ndarray], position: Any) -> Begun:
    begun = Begun(position=_from_json(position), is_tracked=True)
    sizes = arrays.get("begun.sizes", np.zeros(0, int))
    names = [name for name in ELBOTerms._fields if f"begun.{name}" in arrays]
    for i, size in enumerate(sizes):
        terms = {name: jnp.asarray(arrays[f"begun.{name}"][i]) for name in names}
        begun.terms.append(ELBOTerms(terms["nll"], terms["kl"])._replace(**terms))
        begun.sizes.append(int(size))
    return begun


def _as_json(position: Any) -> Any:
    """Write a position of batches as JSON, bytes in base 64."""
    if isinstance(position, bytes):
        return {"bytes": base64.b64encode(position).decode()}
    held = {"json": position}
    try:
        is_json = json.loads(json.dumps(held)) == held
    except (TypeError, ValueError):
        is_json = False
    if not is_json:
        raise TypeError(expected("get_state() of the batches", "to return bytes or a JSON value", position))
    return held


def _from_json(held: Any) -> Any:
    return base64.b64decode(held["bytes"]) if "bytes" in held else held["json"]
