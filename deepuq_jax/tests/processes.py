"""A run over two processes, for `test_processes.py`.

`jax.distributed` has to be initialized before this file is imported, since its keys are arrays on a device.
"""

import json
import os
import shutil
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import deepuq_jax as dq
from deepuq_jax.tests.devices import BATCH, KEY, ROWS, classifier, data

PROCESSES = 2
ADAM = optax.adam(1e-2)
# Both runs share their options and thereby their compiled program.
OPTIONS = {"key": KEY, "objective": dq.ELBO(num_data=ROWS), "optimizer": ADAM}
FIRST, ALL = 2, 4


class Batches:
    """Batches in a fixed order. Each process holds its own rows of each batch.

    Args:
        place: takes the first row of a batch and the row after its last, and returns the arrays (x, y) of the batch.
        fatal: number of the batch at which the process is killed, counted over epochs.
    """

    def __init__(self, place, fatal=None):
        self.place, self.fatal, self.given = place, fatal, 0

    def __iter__(self):
        for start in range(0, ROWS, BATCH):
            self.given += 1
            if self.given == self.fatal:
                print(time.time(), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            yield self.place(start, start + BATCH)


def results(x, y, batches, folder):
    """Train on arrays up to a checkpoint, and another model on batches."""
    first = dq.fit(classifier(), x, y, **OPTIONS, batch_size=BATCH, epochs=FIRST, checkpoint=folder / "run")
    return {
        "arrays": [first.state.params, first.history],
        "batches": dq.fit(classifier(), batches, **OPTIONS, epochs=1).state.params,
    }


def resumed(x, y, folder):
    """Resume from the checkpoint in a folder."""
    options = {**OPTIONS, "batch_size": BATCH, "epochs": ALL, "checkpoint": folder}
    result = dq.fit(classifier(), x, y, **options)
    return [result.state.params, result.history]


def moments(x):
    """Predict with a model that is not trained."""
    result = dq.predict_vi_uq(classifier(), x, key=KEY, n_samples=4)
    return [result.mean, result.total_var]


def flat(tree):
    """Return the leaves of a pytree on the host, by number."""

    def on_host(leaf):
        is_spread = isinstance(leaf, jax.Array) and not leaf.is_fully_replicated
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True) if is_spread else leaf)

    return {f"{i}": on_host(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}


def main(folder, exits):
    """Run one of the two processes: write its results, and train until the second process is killed.

    Args:
        folder: a folder for the results.
        exits: whether Python exits as usual after the other process is killed.
    """
    rank = jax.process_index()
    mesh = jax.make_mesh((PROCESSES,), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))

    def place(start, stop):
        share = (stop - start) // PROCESSES
        own = slice(start + rank * share, start + (rank + 1) * share)
        return tuple(jax.make_array_from_process_local_data(split, part[own]) for part in data())

    x, y = place(0, ROWS)
    found = {name: flat(tree) for name, tree in results(x, y, Batches(place), folder).items()}
    if rank == 0:
        shutil.copytree(folder / "run", folder / "copy", ignore=shutil.ignore_patterns("lock"))
    found["resumed by two"] = flat(resumed(x, y, folder / "run"))
    if exits:  # In the long test.
        found["moments"] = flat(moments(x))
    if rank == 0:
        np.savez(
            folder / "found.npz", **{f"{name}/{i}": leaf for name, own in found.items() for i, leaf in own.items()}
        )
    bad = jnp.where(jnp.arange(ROWS)[:, None] % 32 == 0, jnp.nan, x)  # Each process has a row that is not finite.
    try:
        dq.fit(classifier(), bad, y, **OPTIONS, epochs=1)
    except ValueError as error:
        refusal = str(error)
    try:
        dq.fit(classifier(), Batches(place, fatal=6 if rank == 1 else None), **OPTIONS, epochs=1000)
    except jax.errors.JaxRuntimeError as error:
        about = {"at": time.time(), "notes": error.__notes__, "epochs": len(error.result.history["loss"])}
        (folder / "about.json").write_text(json.dumps({"refusal": refusal, **about}))
        if exits:
            raise
        os._exit(1)
