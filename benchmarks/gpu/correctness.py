"""Numbers of the GPU beside those of the CPU: noise, objectives, predictions.

Matrix products run at JAX's default precision and at `highest`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import deepuq_jax as dq
from benchmarks.gpu.clock import Clock
from benchmarks.gpu.record import Record
from benchmarks.gpu.subjects import Step, Subject, relative_error, subjects
from deepuq_jax.noise.threefry import threefry2x32, threefry_normal

_PRECISIONS: tuple[Any, ...] = ("default", "highest")


def run(record: Record, clock: Clock, dry: bool) -> None:
    """Add a row per comparison."""
    _noise(record, 100 if dry else 1000)
    for subject in subjects(dry)[-2:]:
        _objective_and_prediction(record, subject)
        _steps(record, subject)
    _twice(record, subjects(dry)[0])


def _on_both(function: Any, *arguments: Any) -> list[Any]:
    """Return the results on the default device and on the CPU."""
    cpu = jax.devices("cpu")[0]
    return [function(*jax.device_put(arguments, device)) for device in (jax.devices()[0], cpu)]


def _noise(record: Record, side: int) -> None:
    words = jax.random.key_data(jax.random.key(3))
    positions = jnp.arange(side * side, dtype=jnp.uint32)
    bits = jax.jit(lambda w: threefry2x32(w[0], w[1], positions, jnp.uint32(7)))
    found, expected = _on_both(bits, words)
    equal = all(bool((np.asarray(a) == np.asarray(b)).all()) for a, b in zip(found, expected, strict=True))
    record.add("random words equal those of the CPU", equal=equal)
    normals = jax.jit(lambda w: threefry_normal(w, shape=(side, side), tag=1))
    found, expected = map(np.asarray, _on_both(normals, words))
    largest = float(np.abs(found - expected).max())
    record.add(
        "standard normals, compared with the CPU",
        max_difference=largest,
        mean=float(found.mean()),
        std=float(found.std()),
    )


def _objective_and_prediction(record: Record, subject: Subject) -> None:
    x, y = subject.data(subject.batch)
    key, objective = jax.random.key(1), dq.ELBO(subject.network.num_data)

    def value_and_grad(model: Any, x: Any, y: Any, key: Any) -> Any:
        return jax.value_and_grad(lambda m: objective(m, x, y, key=key)[0])(model)

    def moments(model: Any, x: Any, key: Any) -> Any:
        result = dq.predict_vi_uq(model, x, key=key, n_samples=20, draws_at_once=5)
        return result.mean, result.epistemic_var

    for precision in _PRECISIONS:
        with jax.default_matmul_precision(precision):
            (loss, grads), (cpu_loss, cpu_grads) = _on_both(jax.jit(value_and_grad), subject.model(), x, y, key)
            (mean, var), (cpu_mean, cpu_var) = _on_both(jax.jit(moments), subject.model(), x, key)
        name = f"{subject.name}, precision {precision}"
        loss_error = abs(float(loss) - float(cpu_loss)) / abs(float(cpu_loss))
        record.add(f"ELBO of {name}, relative error", loss=loss_error, gradient=relative_error(grads, cpu_grads))
        record.add(
            f"prediction of {name}, relative error",
            mean=relative_error(mean, cpu_mean),
            var=relative_error(var, cpu_var),
        )


def _steps(record: Record, subject: Subject, count: int = 30) -> None:
    """Train for some steps, then take a step on NaN, which must change no parameter and be recorded."""
    (x, y), key, step = subject.data(subject.batch), jax.random.key(1), Step(subject)
    leaves, losses = step.start, []
    for i in range(count):
        leaves, loss = step.jitted(leaves, x, y, jax.random.fold_in(key, i))
        losses.append(float(loss))
    before = jax.tree.unflatten(step.treedef, [np.asarray(leaf) for leaf in leaves])
    leaves, _ = step.jitted(leaves, x.at[0, 0].set(jnp.nan), y, key)
    after = jax.tree.unflatten(step.treedef, leaves)
    kept = relative_error(after.params, before.params) == 0.0
    values = dict(first=losses[0], last=losses[-1], bad_step=int(after.bad_step), kept=kept)
    record.add(f"{count} steps of {subject.name}, then a step on NaN", **values)


def _twice(record: Record, subject: Subject) -> None:
    (x, y), key = subject.data(subject.batch), jax.random.key(5)
    step = Step(subject)
    found = [step.jitted([jnp.array(leaf, copy=True) for leaf in step.start], x, y, key)[0] for _ in range(2)]
    equal = all(bool((np.asarray(a) == np.asarray(b)).all()) for a, b in zip(*found, strict=True))
    record.add(f"repeating a step of {subject.name} gives the same bits", equal=equal)
