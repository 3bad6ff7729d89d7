"""Training step and prediction of `deepuq_jax` against the deterministic network in the same style.

Same sizes, batch, optimizer (Adam) and call style on both sides: a scanned epoch for training; for prediction one
scan over 50 forward passes. The figure to read is the ratio, since both run in one process, in turn.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import optax
from flax import nnx

import deepuq_jax as dq
from benchmarks.timing import Timing, interleave

OPTIMIZER = optax.adam(1e-3)
DRAWS = 50
PREDICT_INPUTS = 1000


@dataclass(frozen=True)
class Workload:
    """A network, its batch and the steps of one timed call."""

    sizes: tuple[int, ...]
    batch: int
    steps: int

    @property
    def name(self) -> str:
        """Sizes joined by hyphens."""
        return "-".join(map(str, self.sizes))

    def data(self, rows: int) -> tuple[jax.Array, jax.Array]:
        """Random inputs, and targets to match: labels, or reals where there is one output."""
        x = jax.random.normal(jax.random.key(0), (rows, self.sizes[0]))
        if self.sizes[-1] == 1:
            return x, jnp.sin(x[:, :1])
        return x, jax.random.randint(jax.random.key(1), (rows,), 0, self.sizes[-1])

    def likelihood(self) -> Callable:
        """Of the targets of `data`."""
        return dq.Gaussian(0.1) if self.sizes[-1] == 1 else dq.Categorical()


WORKLOADS = (
    Workload((8, 50, 1), batch=32, steps=500),
    Workload((784, 400, 400, 10), batch=128, steps=20),
)


class Mlp(nnx.Module):
    """The deterministic network of the same sizes."""

    def __init__(self, sizes: tuple[int, ...], rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(sizes)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers[:-1]:
            x = nnx.relu(layer(x))
        return self.layers[-1](x)


def _bayesian_model(work: Workload) -> dq.BayesByBackpropMLP:
    return dq.BayesByBackpropMLP(work.sizes[0], work.sizes[1:-1], work.sizes[-1], rngs=nnx.Rngs(0))


def bayesian_training(work: Workload) -> Callable[[], object]:
    """One scanned epoch of `train_epoch`."""
    x, y = work.data(work.batch * work.steps)
    likelihood = work.likelihood()

    @jax.jit
    def epoch(state, key):
        return dq.train_epoch(
            state, x, y, key=key, batch_size=work.batch, optimizer=OPTIMIZER, log_likelihood=likelihood
        )

    state = dq.init(_bayesian_model(work), OPTIMIZER)
    return lambda: epoch(state, jax.random.key(0))


def deterministic_training(work: Workload) -> Callable[[], object]:
    """The same epoch of the same network without uncertainty: shuffle, scan, gradient, Adam."""
    x, y = work.data(work.batch * work.steps)
    likelihood = work.likelihood()
    graphdef, params = nnx.split(Mlp(work.sizes, nnx.Rngs(0)))

    def step(carry, rows):
        params, opt_state = carry
        loss = lambda p: -jnp.mean(likelihood(nnx.merge(graphdef, p)(x[rows]), y[rows]))
        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = OPTIMIZER.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    @jax.jit
    def epoch(params, opt_state, key):
        order = jax.random.permutation(key, len(x)).reshape(work.steps, work.batch)
        return jax.lax.scan(step, (params, opt_state), order)

    opt_state = OPTIMIZER.init(params)
    return lambda: epoch(params, opt_state, jax.random.key(0))


def bayesian_prediction(work: Workload) -> Callable[[], object]:
    """`predict_vi_uq` with 50 draws on 1,000 inputs."""
    model, (x, _) = _bayesian_model(work), work.data(PREDICT_INPUTS)
    return lambda: dq.predict_vi_uq(model, x, key=jax.random.key(0), n_samples=DRAWS)


def deterministic_prediction(work: Workload) -> Callable[[], object]:
    """50 forward passes on the same inputs, each of them used."""
    graphdef, params = nnx.split(Mlp(work.sizes, nnx.Rngs(0)))
    x, _ = work.data(PREDICT_INPUTS)

    @jax.jit
    def passes(params):
        # Inputs that change with the pass, or the compiler runs one pass for all.
        one = lambda total, i: (total + nnx.merge(graphdef, params)(x * (1 + 1e-6 * i)), None)
        return jax.lax.scan(one, jnp.zeros((len(x), work.sizes[-1])), jnp.arange(float(DRAWS)))[0]

    return lambda: passes(params)


def measure(work: Workload, rounds: int) -> list[dict]:
    """A row for training (per step) and one for prediction (per call)."""
    tasks = {
        "train step": (bayesian_training, deterministic_training, work.steps),
        f"predict, {DRAWS} draws": (bayesian_prediction, deterministic_prediction, 1),
    }
    rows = []
    for task, (ours, floor, units) in tasks.items():
        timings = interleave({"ours": ours(work), "floor": floor(work)}, units=units, rounds=rounds)
        rows.append(_row(work, task, timings["ours"], timings["floor"]))
    return rows


def _row(work: Workload, task: str, ours: Timing, floor: Timing) -> dict:
    ratio = ours.median_s / floor.median_s
    return {"network": work.name, "task": task, "ours": asdict(ours), "floor": asdict(floor), "ratio": ratio}


def as_markdown(rows: list[dict]) -> str:
    """The table, times in microseconds."""
    lines = [
        "| network | task | deepuq_jax, µs (min-max) | deterministic, µs (min-max) | ratio | first call, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    micro = lambda t: f"{t['median_s'] * 1e6:,.0f} ({t['low_s'] * 1e6:,.0f}-{t['high_s'] * 1e6:,.0f})"
    lines += [
        f"| {row['network']} | {row['task']} | {micro(row['ours'])} | {micro(row['floor'])} "
        f"| {row['ratio']:.2f} | {row['ours']['compile_s']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def environment() -> dict:
    """Machine and versions, for the record."""
    return {
        "device": str(jax.devices()[0].device_kind),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "optax": version("optax"),
        "deepuq_jax": dq.__version__,
    }


def main(argv: list[str]) -> list[dict]:
    """Print the table; with --json write it, with the environment, to a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks speed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="timed calls of each contestant (default 15)")
    parser.add_argument("--only", default="", help="networks whose name holds this text, e.g. 784")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args(argv)
    rows = [row for work in WORKLOADS if args.only in work.name for row in measure(work, args.rounds)]
    print(as_markdown(rows))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=2) + "\n")
    return rows
