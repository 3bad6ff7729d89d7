"""Training steps of deepuq_jax and of the deterministic network."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import deepuq_jax as dq
from benchmarks.gpu.clock import Clock, compile_together
from benchmarks.gpu.record import Record
from benchmarks.gpu.subjects import Step, Subject, repeated, subjects
from benchmarks.speed.contestant import Setting
from benchmarks.speed.contestants import jax_parts

# The optimizers, keyed by the suffix of their rows' names.
OPTIMIZERS = {"": jax_parts.OPTIMIZER, ", natural gradients": dq.natural_gradient()}


def run(record: Record, clock: Clock, dry: bool) -> None:
    """Add the rows of every network."""
    for i, subject in enumerate(subjects(dry)):
        _measure(record, clock, subject, variants=i == 0)


def run_without_command_buffers(record: Record, clock: Clock, dry: bool) -> None:
    """Add the rows of the largest network; the stage's process has a flag against command buffers."""
    _measure(record, clock, subjects(dry)[0], variants=False)


class _Call(NamedTuple):
    """A jitted step, and what it is called with; the arrays of `start` are donated."""

    step: Any
    start: list[Any]
    x: jax.Array
    y: jax.Array


def _measure(record: Record, clock: Clock, subject: Subject, *, variants: bool) -> None:
    key, calls = jax.random.key(0), _calls(subject, variants)
    lowered = {name: call.step.lower(call.start, call.x, call.y, key) for name, call in calls.items()}
    epochs = {f"scanned{name}": _epoch(subject, optimizer) for name, optimizer in OPTIMIZERS.items()}
    lowered |= {name: epoch.lower(state, key) for name, (epoch, state) in epochs.items()}
    programs = compile_together(lowered)
    for name, (_, start, x, y) in calls.items():
        # A step reads and writes its whole state, and this traffic bounds its speed. So bytes per second say more than
        # operations per second.
        bytes_moved = 2 * sum(leaf.nbytes for leaf in start)
        call = repeated(programs[name], start, x, y)
        times = clock.timed(call)
        queued = clock.queued(call)
        record.add(
            f"train {subject.name}, {name}", queued_us=queued, GB_per_s_at_least=bytes_moved / queued / 1e3, **times
        )
    for name, (_, state) in epochs.items():
        times = clock.timed(partial(_loss_of, programs[name], state, key), units=subject.steps)
        record.add(f"train {subject.name}, {name}", **times)


def _loss_of(epoch: Any, state: dq.TrainState, key: Any) -> Any:
    return epoch(state, key)[1]


def _calls(subject: Subject, variants: bool) -> dict[str, _Call]:
    """Create the steps, keyed by name."""
    size, data = subject.network.num_data, subject.data(subject.batch)
    chosen = {f"one call per step{name}": Step(subject, optimizer=optimizer) for name, optimizer in OPTIMIZERS.items()}
    if variants:
        chosen["four draws"] = Step(subject, objective=dq.ELBO(size, mc_samples=4))
        chosen["local reparameterization"] = Step(subject, estimator=dq.local_reparameterization)
        chosen["bfloat16"] = Step(subject, compute_dtype=jnp.bfloat16)
    calls = {name: _Call(step.jitted, step.start, *data) for name, step in chosen.items()}
    if variants:
        calls["a mesh of one device"] = _over_a_mesh(Step(subject), *data)
    return calls | {"the deterministic network": _Call(*_plain_step(subject), *data)}


def _over_a_mesh(step: Step, x: jax.Array, y: jax.Array) -> _Call:
    """Lay the batch over a mesh that has only this device, which should cost nothing."""
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    rows, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    return _Call(step.jitted, jax.device_put(step.start, everywhere), *jax.device_put((x, y), rows))


def _plain_step(subject: Subject) -> tuple[Any, list[Any]]:
    def loss_of(weights: Any, x: Any, y: Any, key: Any) -> Any:
        outputs = jax_parts.forward(weights, x, Setting())
        return -jax_parts.log_likelihood(subject.network, outputs, y)

    weights = jax_parts.means(subject.network)
    leaves, treedef = jax.tree.flatten((weights, jax_parts.OPTIMIZER.init(weights)))
    plain = jax_parts.step_of(loss_of)

    def step(leaves: list[Any], x: Any, y: Any, key: Any) -> tuple[list[Any], Any]:
        state, loss = plain(jax.tree.unflatten(treedef, leaves), x, y, key)
        return jax.tree.leaves(state), loss

    return jax.jit(step, donate_argnums=0), [leaf.copy() for leaf in leaves]


def _epoch(subject: Subject, optimizer: Any) -> tuple[Any, dq.TrainState]:
    x, y = subject.data(subject.batch * subject.steps)
    objective = dq.ELBO(subject.network.num_data)

    def epoch(state: dq.TrainState, key: Any) -> tuple[dq.TrainState, Any]:
        state, history = dq.train_epoch(
            state, x, y, key=key, objective=objective, optimizer=optimizer, batch_size=subject.batch
        )
        return state, history.loss

    return jax.jit(epoch), dq.TrainState.create(subject.model(), optimizer)
