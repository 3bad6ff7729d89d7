"""``python -m benchmarks profile``: the parts of a training step's time.

The parts are timed in turn. The cost of a part of the scanned step is the time that leaving it out saves. In the other
styles, a part is timed alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

import deepuq_jax as dq
from benchmarks.speed import environment
from benchmarks.speed.contestant import Setting, load
from benchmarks.speed.contestants import deepuq_jax, deepuq_torch, floor_jax, floor_torch, jax_parts, torch_parts
from benchmarks.speed.summary import NOTES
from benchmarks.speed.table import micro
from benchmarks.speed.workloads import MEDIUM, SMALL, Network, Train
from benchmarks.timing import interleave
from parity_tests import markers

ROUNDS = 9
SETTING = Setting()


@dataclass(frozen=True)
class Part:
    """A timed part of a step.

    Attributes:
        name: the name of the part.
        run: runs once for each step of the workload.
        left_out_of: the name of a step; `run` is that step without this part. If None, `run` is this part alone.
    """

    name: str
    run: Callable[[], Any]
    left_out_of: str | None = None


def scanned_without(work: Train, part: str) -> Callable[[], Any]:
    """An epoch of weight sampling, in which the steps leave out a part.

    Args:
        work: the workload.
        part: "noise" (given instead of drawn), "KL" (not computed), "Adam" (plain descent instead), or "the check"
            (that every number is finite). The first three leave out the check, too.
    """
    start = deepuq_jax.model_of(work.network, SETTING)
    params, rest = dq.partition(start)
    optimizer = optax.sgd(1e-3) if part == "Adam" else jax_parts.OPTIMIZER
    draw = start.draw_noise(jax_parts.data(work)[0][: work.batch], key=jax.random.key(5))
    given = jax.tree.map(lambda leaf: leaf[None], draw)

    def loss_of(params, x, y, key):
        model = dq.combine(params, rest)
        if part == "KL":
            return -jnp.mean(model.likelihood(model(x, key=key), y))
        if part == "noise":
            return dq.negative_elbo(model, x, y, num_data=work.network.num_data, noise=given)[0]
        return dq.negative_elbo(model, x, y, num_data=work.network.num_data, key=key)[0]

    step = jax_parts.step_of(loss_of, optimizer)
    run = jax_parts.scanned(jax_parts.epoch_of(step, work), (params, optimizer.init(params)), work)
    return lambda: run(work.steps)


def scanned(work: Train) -> list[Part]:
    """deepuq_jax, weight sampling, one call per epoch."""
    without = {"the check": "the step", "noise": "the check", "KL": "the check", "Adam": "the check"}
    whole = Part("the step", _trainer(deepuq_jax, "deepuq_jax, weight sampling, scanned epoch", work))
    parts = [Part(name, scanned_without(work, name), left_out_of=of) for name, of in without.items()]
    network = Part("the plain network's step", _trainer(floor_jax, "deterministic, JAX, scanned", work))
    return [whole, *parts, network]


def called(work: Train) -> list[Part]:
    """deepuq_jax, weight sampling, one call per step: the program, and Python's work around it."""
    state = dq.TrainState.create(deepuq_jax.model_of(work.network, SETTING), jax_parts.OPTIMIZER)
    leaves, treedef = jax.tree.flatten(state)
    flat = _trainer(deepuq_jax, "deepuq_jax, weight sampling, one call per step, flat donated state", work)
    return [
        Part("the step", _trainer(deepuq_jax, "deepuq_jax, weight sampling, one call per step", work)),
        Part("the step with a flat, donated state", flat),
        Part("flattening the state", _repeated(lambda: jax.tree.leaves(state), work)),
        Part("rebuilding the state", _repeated(lambda: jax.tree.unflatten(treedef, leaves), work)),
        Part("the plain network's step", _trainer(floor_jax, "deterministic, JAX, one call per step", work)),
    ]


def eager(work: Train) -> list[Part]:
    """deepuq_torch, eager."""
    model = deepuq_torch.documented_mlp(load("deepuq_torch"), work.network, SETTING)
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = parameter.detach().clone()
    adam = torch_parts.adam(parameters)
    return [
        Part("the step", _trainer(deepuq_torch, "deepuq_torch, eager", work)),
        Part("noise", _repeated(model.draw_noise, work)),
        Part("Adam", _repeated(adam.step, work)),
        Part("the plain network's step", _trainer(floor_torch, "deterministic, torch, eager", work)),
    ]


def _trainer(module: Any, name: str, work: Train) -> Callable[[], Any]:
    """Set up the contestant of this name."""
    train = next(c.train for c in module.contestants() if c.name == name and c.train is not None)
    run = train(work, SETTING)
    return lambda: run(work.steps)


def _repeated(function: Callable[[], Any], work: Train) -> Callable[[], Any]:
    """Call a function once per step.

    The timing waits for the last result.
    """
    return lambda: [function() for _ in range(work.steps)][-1]


PROFILES: tuple[tuple[str, Callable[[Train], list[Part]], Network, int, int], ...] = (
    ("deepuq_jax, scanned", scanned, SMALL, 32, 500),
    ("deepuq_jax, scanned", scanned, MEDIUM, 128, 20),
    ("deepuq_jax, one call per step", called, SMALL, 32, 100),
    ("deepuq_torch, eager", eager, SMALL, 32, 100),
    ("deepuq_torch, eager", eager, MEDIUM, 128, 10),
)


def measure(rounds: int) -> dict[str, Any]:
    """Measure seconds per step of each part of each profile."""
    found = []
    for title, make, network, batch, steps in PROFILES:
        parts = make(Train(network, batch=batch, steps=steps))
        for part in parts:
            for _ in range(2):  # the first call compiles, the second warms up
                part.run()
        runs = {part.name: part.run for part in parts}
        timings = interleave(runs, units=dict.fromkeys(runs, steps), rounds=rounds)
        rows = [{"part": p.name, "left_out_of": p.left_out_of, "median_s": timings[p.name].median_s} for p in parts]
        found.append({"title": f"{title}, {network.name}, batch {batch}", "rows": rows})
    return {"environment": environment.describe(SETTING), "rounds": rounds, "profiles": found}


def summary(record: dict[str, Any]) -> str:
    """The block of the README of the benchmarks."""
    where = record["environment"]
    lines = [
        f"{where['device']}, {where['cores']} cores, {where['precision']}; commit {where['commit']}; medians of "
        f"{record['rounds']} rounds.",
        "",
        "| step | part | µs | share of the step |",
        "| --- | --- | --- | --- |",
    ]
    for profile in record["profiles"]:
        medians = {row["part"]: row["median_s"] for row in profile["rows"]}
        whole, *parts = profile["rows"]
        lines.append(f"| {profile['title']} | | {micro(whole['median_s'])} | |")
        for row in parts:
            of = row["left_out_of"]
            seconds = row["median_s"] if of is None else medians[of] - row["median_s"]
            lines.append(f"| | {row['part']} | {micro(seconds)} | {seconds / whole['median_s']:.0%} |")
    return markers.block("profile", lines)


def main(argv: list[str]) -> dict[str, Any]:
    """Run the command, and return the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks profile", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"timed calls of each part (default {ROUNDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record here")
    parser.add_argument("--redraw", action="store_true", help="measure nothing; print the table of --json's file")
    parser.add_argument("--readme", action="store_true", help=f"put the table into {NOTES.parent.name}/{NOTES.name}")
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error(f"Expected --rounds to be positive; got {args.rounds}.")
    if args.redraw and not (args.json and args.json.exists()):
        parser.error(f"Expected --json to be a file that exists with --redraw; got {args.json}.")
    record = json.loads(args.json.read_text(encoding="utf-8")) if args.redraw else measure(args.rounds)
    table = summary(record)
    print(table)
    if args.json and not args.redraw:
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if args.readme:
        markers.write(NOTES, "profile", table)
    return record
