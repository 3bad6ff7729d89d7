"""What a checkpoint holds, what `fit` refuses to resume, and what happens if writing to the folder fails."""

import fcntl
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deepuq_jax as dq
from deepuq_jax.tests.kills import survive
from deepuq_jax.tests.resuming import ADAM, KEY, SMALL, X, Y, assert_same, parabola, steps_in
from deepuq_jax.training import _checkpoint, _packed
from deepuq_jax.training._checkpoint import checked_saving, open_checkpoints
from deepuq_jax.training._describe import describe, differences
from deepuq_jax.training._epochs import Begun
from deepuq_jax.training._packed import Progress


class Moments(NamedTuple):
    """A state like those of optax."""

    count: object
    mu: object


def odd_state(seed):
    """Build a state of leaves that are easy to lose, to reorder or to change."""
    random = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    params = {"a": normal(2), "a.b": normal(), "a/b": normal(3).astype(jnp.bfloat16), "": normal(1)}
    carried = {
        "typed": jax.random.key(seed),
        "other": jax.random.split(jax.random.key(seed, impl="rbg"), 2),
        "raw": jax.random.PRNGKey(seed),
        "none": None,
        "mask": normal(3) > 0,
        "empty": jnp.zeros((0, 3)),
        "complex": jax.lax.complex(normal(2), normal(2)),
    }
    weak = jnp.asarray(0.5 + seed)
    moments = Moments(jnp.asarray(seed + 3), [normal(2), (normal(1),)])
    opt_state = (moments, (), optax.EmptyState(), [weak, jnp.full((2,), 2.0 + seed)])
    step, bad_step = jnp.asarray(7, jnp.int32), jnp.asarray(-1, jnp.int32)
    return dq.TrainState(params, carried, opt_state, step, bad_step, None)


def test_every_kind_of_leaf_survives(tmp_path):
    saved, start = (Progress(odd_state(seed), (odd_state(seed).params,), [], 0, Begun()) for seed in (1, 0))
    saved = saved._replace(rows=[{"loss": np.float32([3, 2])}, {"loss": np.float32([1])}], epochs=3)
    with open_checkpoints(checked_saving(tmp_path, None, None), {}, is_scored=False) as checkpoints:
        assert checkpoints.restore(start) is None
        checkpoints.save_after(saved, is_over=True)
    with open_checkpoints(checked_saving(tmp_path, None, None), {}, is_scored=False) as checkpoints:
        found = checkpoints.restore(start)
    np.testing.assert_array_equal(found.rows[0]["loss"], np.float32([3, 2, 1]))
    results = [dq.FitResult(one.best, {}, one.state) for one in (found, saved)]
    assert_same(*results)
    assert [type(part) for part in found.state.opt_state] == [Moments, tuple, optax.EmptyState, list]


def test_a_description_holds_what_a_closure_captures_and_no_memory_address():
    def schedule(factor):
        return lambda step: 0.5 * factor * step

    one, same = describe(optax.adam(schedule(0.1))), describe(optax.adam(schedule(0.1)))
    assert list(differences(one, same)) == []
    assert "0x" not in json.dumps(one)
    (said,) = differences(one, describe(optax.adam(schedule(0.2))))
    assert said.endswith("factor was 0.1 and is 0.2")


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (lambda step: 0.5 * step, lambda step: 0.7 * step, "numbers.0 was 0.5 and is 0.7"),
        (jnp.arange(3.0), jnp.arange(3.0)[::-1], "has other values"),
        (jnp.arange(3.0), jnp.arange(4.0), r"was float32\[3\] and is float32\[4\]"),
        (jnp.ones(2), jnp.ones(2, jnp.bfloat16), r"was float32\[2\] and is bfloat16\[2\]"),
        (jax.random.key(0), jax.random.key(1), "has other values"),
        (dq.Gaussian(0.1), dq.Gaussian(0.2), "sigma was 0.1 and is 0.2"),
        (dq.Gaussian(0.1), dq.Poisson(), "Gaussian and is .*Poisson"),
        ({1, 2}, {1, 3}, "was 2 and is 3"),
        ([1], (1, 2), r"was \[1\] and is \[1, 2\]"),
        (True, False, "was True and is False"),
        (jnp.ones(2).at[0].set(jnp.nan), jnp.ones(2).at[1].set(jnp.nan) * 2, "has other values"),
    ],
)
def test_differences_are_named(there, here, said):
    there, here = describe({"thing": there}), describe({"thing": here})
    assert re.search(said, "; ".join(differences(there, here)))
    assert not list(differences(there, there))


def test_rounding_is_no_difference():
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    assert not list(differences(describe(x), describe(np.nextafter(x, np.float32(9)))))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a run of two epochs."""
    folder = tmp_path_factory.mktemp("finished")
    dq.fit(parabola(), X, Y, **SMALL, optimizer=ADAM, epochs=2, checkpoint=folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": parabola(likelihood=dq.Gaussian(0.2))}, "model.likelihood.sigma was 0.3 and is 0.2"),
        ({"model": parabola(1)}, "kernel_posterior.mu.value has other values"),
        ({"optimizer": optax.adam(2e-2)}, "optimizer.*step_size was -0.01 and is -0.02"),
        ({"optimizer": optax.sgd(1e-2)}, "optimizer.*scale_by_adam.* and is"),
        ({"objective": dq.ELBO(kl_weight=0.5)}, "objective.kl_weight was 1.0 and is 0.5"),
        ({"objective": None}, "objective.kl_weight was 1.0 and is .*Linear"),
        ({"batch_size": 5}, "batch_size was 6 and is 5"),
        ({"x": X[:19], "y": Y[:19]}, r"x was float32\[20, 1\] and is float32\[19, 1\]"),
        ({"y": Y[::-1]}, "y has other values"),
        ({"key": jax.random.key(1)}, "key has other values"),
        ({"validation_data": (X, Y)}, "validation_data was None and is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_another_run_is_refused(change, message, finished):
    arguments = {"model": parabola(), "x": X, "y": Y, "optimizer": ADAM, "epochs": 2, **SMALL} | change
    model, x, y = (arguments.pop(name) for name in ("model", "x", "y"))
    with pytest.raises(
        ValueError, match=f"Expected the checkpoint .*/8 to be of this run; got another run: .*{message}"
    ):
        dq.fit(model, x, y, **arguments, checkpoint=finished)
    assert steps_in(finished) == [4, 8]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"save_every": 2}, ValueError, "Expected checkpoint with save_every, as in checkpoint='run'; got None"),
        ({"checkpoint": "x", "save_every": 0}, ValueError, "Expected save_every to be a positive int; got 0"),
        ({"checkpoint": "x", "keep_last": 1.5}, ValueError, "Expected keep_last to be a positive int; got 1.5"),
        ({"checkpoint": "gs://bucket/x"}, ValueError, "Expected checkpoint to be a folder of a local or mounted disk"),
        ({"checkpoint": 3}, TypeError, "Expected checkpoint to be the path of a folder; got int 3"),
        ({"checkpoint": __file__}, OSError, "Expected checkpoint to be a folder that can be written to"),
    ],
)
def test_bad_arguments_are_refused_before_training(change, error, message):
    with pytest.raises(error, match=message):
        dq.fit(parabola(), X, Y, key=KEY, epochs=1, optimizer=ADAM, **change)


@pytest.mark.slow
def test_a_format_of_another_release_is_refused(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.setattr("deepuq_jax.training._checkpoint.FORMAT", _packed.FORMAT - 1)
    with pytest.raises(ValueError, match=f"to be of format {_packed.FORMAT - 1}; got format {_packed.FORMAT}"):
        dq.fit(parabola(), X, Y, **SMALL, optimizer=ADAM, epochs=2, checkpoint=tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_serves(damage, finished, tmp_path):
    options = {**SMALL, "optimizer": ADAM, "epochs": 2, "checkpoint": tmp_path / "run"}
    whole = dq.fit(parabola(), X, Y, **(options | {"checkpoint": finished}))
    shutil.copytree(finished, tmp_path / "run")
    text = tmp_path / "run" / "8" / "about" / "metadata"
    said = text.read_text()
    text.write_text(said[:-9] if damage == "cut" else said.replace('"epochs": 2', '"epochs": 1').replace("0.3", "0.4"))
    assert text.read_text() != said
    with pytest.raises(ValueError, match=r"Expected the checkpoint .*/8 to be complete; got .* Delete it"):
        dq.fit(parabola(), X, Y, **options)
    shutil.rmtree(tmp_path / "run" / "8")
    assert_same(dq.fit(parabola(), X, Y, **options), whole)


DAMAGE = """
import pathlib, sys
import deepuq_jax as dq
from deepuq_jax.tests.kills import survive
from deepuq_jax.tests.resuming import ADAM, SMALL, X, Y, assert_same, parabola
options = {**SMALL, "optimizer": ADAM, "epochs": 2, "checkpoint": sys.argv[1]}
whole, refused = dq.fit(parabola(), X, Y, **options), 0
for path in pathlib.Path(sys.argv[1], "8").rglob("*"):
    content = path.read_bytes() if path.is_file() else b""
    for i in range(0, len(content), len(content) // 12 + 1):
        path.write_bytes(content[:i] + bytes([content[i] ^ 4]) + content[i + 1 :])
        try:
            assert_same(dq.fit(parabola(), X, Y, **options), whole)
        except ValueError as error:
            assert str(error).startswith("Expected the checkpoint"), error
            refused += 1
        path.write_bytes(content)
print(refused)
"""


@pytest.mark.long
def test_no_changed_byte_changes_the_outcome(tmp_path):
    process = subprocess.run([sys.executable, "-c", DAMAGE, tmp_path], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    assert int(process.stdout) > 20


@pytest.mark.slow
def test_two_runs_in_one_folder_are_refused(finished):
    with (finished / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(
            OSError, match=f"to be a folder of one run at a time, but process {os.getpid()} is training"
        ):
            dq.fit(parabola(), X, Y, **SMALL, optimizer=ADAM, epochs=2, checkpoint=finished)
    # The lock ends with the process that holds it, whatever the file says.
    dq.fit(parabola(), X, Y, **SMALL, optimizer=ADAM, epochs=2, checkpoint=finished)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_to_is_refused(finished, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *arguments, **keywords: False)  # The super-user may write anywhere.
    with pytest.raises(OSError, match=r"to be a folder that can be written to; got .* is read-only"):
        dq.fit(parabola(), X, Y, **SMALL, optimizer=ADAM, epochs=3, checkpoint=finished)
    assert steps_in(finished) == [4, 8]


# The first thread of Orbax that fails ends the save and its event loop. Later failures of other threads then warn.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    """A limit on the size of files stands in for a full disk."""
    save, (soft, hard) = _checkpoint.Checkpoints._save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_on_a_full_disk(self, packed):
        resource.setrlimit(resource.RLIMIT_FSIZE, (600 if packed.step > 8 else soft, hard))
        try:
            save(self, packed)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    options = {**SMALL, "optimizer": ADAM, "epochs": 4}
    whole = dq.fit(parabola(), X, Y, **options)
    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint.Checkpoints, "_save", save_on_a_full_disk)
        said = "Expected to save a checkpoint of step 12 in .*; got .* The last checkpoint, of step 8, is intact."
        with pytest.raises(OSError, match=said) as caught:
            dq.fit(parabola(), X, Y, **options, checkpoint=tmp_path)
    assert len(caught.value.result.history["loss"]) == 3
    assert steps_in(tmp_path) == [4, 8]
    assert not [path for path in tmp_path.iterdir() if "tmp" in path.name]
    assert_same(dq.fit(parabola(), X, Y, **options, checkpoint=tmp_path), whole)


@pytest.mark.slow
def test_a_process_survives_two_kills(tmp_path):
    """The program `python -m deepuq_jax.tests.kills` kills more often."""
    survive(2, tmp_path, epochs=12)
