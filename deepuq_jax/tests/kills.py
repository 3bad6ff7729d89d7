"""Kill training runs at random moments, and check that they resume without a difference.

    python -m deepuq_jax.tests.kills --kills 200

A run is killed and called again until it ends. Its outcome must be that of a run that was never stopped, bit for bit.
Then another run starts, until there were as many kills as asked for. A run spends nearly all its time on its
checkpoints, so most kills hit one that is being written.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import optax

import deepuq_jax as dq
from deepuq_jax.tests.resuming import SMALL, X, Y, parabola
from deepuq_jax.training import _checkpoint

EPOCHS = 24
# A share `EARLY` of the kills comes within `WITHIN` seconds of the start of `fit`. The others come within as many
# seconds of the first checkpoint of the process. A checkpoint takes a tenth of a second, and an epoch far less.
EARLY, WITHIN = 0.2, 1.0
STARTED, SAVING = "started", "saving"


def outcome(epochs, **options):
    """Train, and return what must not change: the history, the model and the state, as a dict of arrays."""
    result = dq.fit(
        parabola(),
        X,
        Y,
        **SMALL,
        optimizer=optax.adam(optax.cosine_decay_schedule(0.1, 4 * epochs)),
        epochs=epochs,
        validation_data=(X, -Y),
        patience=epochs,
        **options,
    )
    leaves = jax.tree.leaves((result.model, result.state))
    return {**result.history, **{f"leaf {i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}}


def train(folder, epochs):
    """Train in a folder, and print a line when the run starts and when it first saves."""
    save, told = _checkpoint.Checkpoints._save, []

    def telling(self, packed):
        if not told:
            told.append(packed.step)
            print(SAVING, flush=True)
        save(self, packed)

    _checkpoint.Checkpoints._save = telling
    print(STARTED, flush=True)
    outcome(epochs, checkpoint=folder)


def is_killed(folder, epochs, moments):
    """Start training in a folder and kill it at a random moment; return whether it was still running."""
    command = [sys.executable, "-m", "deepuq_jax.tests.kills", "--train", str(folder), "--epochs", str(epochs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        sign = STARTED if moments.random() < EARLY else SAVING
        for line in process.stdout:  # The lines end without the sign if there is nothing left to save.
            if line.strip() == sign:
                break
        try:
            process.wait(moments.uniform(0.0, WITHIN))
        except subprocess.TimeoutExpired:
            process.kill()
        _, error = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"Expected a run that ends or is killed; got {process.returncode}.\n{error}")
    return process.returncode != 0


def survive(kills, folder, *, epochs=EPOCHS, seed=0):
    """Kill runs in a folder, `kills` times in all.

    Returns:
        (number of runs, number of kills that hit a checkpoint that was being written).
    Raises:
        AssertionError: an outcome differs from that of a run that was never stopped.
    """
    moments, expected = random.Random(seed), outcome(epochs)
    left, runs, torn = kills, 0, 0
    while left:
        run = Path(folder) / f"run {runs}"
        while left and is_killed(run, epochs, moments):
            left -= 1
            torn += any("tmp" in path.name for path in run.glob("*"))
        # This returns the outcome of a run that has ended, and first finishes a run that was killed for the last time.
        found = outcome(epochs, checkpoint=run)
        assert set(found) == set(expected)
        for name, values in expected.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values, err_msg=name)
        assert not [path for path in run.glob("*") if "tmp" in path.name]
        shutil.rmtree(run)
        runs += 1
    return runs, torn


def main():
    """Kill runs as often as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--train", type=Path, help="train in this folder; used by the program itself")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="number of epochs, and of checkpoints, per run")
    arguments = parser.parse_args()
    if arguments.train is not None:
        train(arguments.train, arguments.epochs)
        return
    with tempfile.TemporaryDirectory() as folder:
        # With a shared cache, the processes do not compile the same programs again.
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{folder}/cache")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        runs, torn = survive(arguments.kills, folder, epochs=arguments.epochs, seed=arguments.seed)
    print(
        f"{arguments.kills} kills, {torn} of them while a checkpoint was being written: all {runs} runs ended the same."
    )


if __name__ == "__main__":
    main()
