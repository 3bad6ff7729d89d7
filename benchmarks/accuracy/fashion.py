"""``python -m benchmarks accuracy fashion``: LeNet-5 on Fashion-MNIST beside published scores.

The prior under natural gradients is chosen by the NLL on 10,000 of the training images, after training on the others.
All methods then train on all training images. The deterministic network has the learning rate of the published network.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy import lenet, mnist_score, plot, report
from benchmarks.accuracy.data import Mnist, data_dir, hold_out, load_mnist
from benchmarks.accuracy.mnist_score import predict
from deepuq_jax.priors.defaults import NETWORK_PRIOR
from parity_tests import backend

POINT, ENSEMBLE, ADAM, NATURAL = "deterministic", "ensemble", "fit, Adam", "fit, natural gradients"
METHODS = (POINT, ENSEMBLE, ADAM, NATURAL)
VALIDATION = 10_000
# Accuracy in % and NLL in nats: uncertainty-baselines, baselines/mnist, LeNet-5 on Fashion-MNIST.
PUBLISHED = {
    "published: deterministic": (91.0, 0.321),
    "published: VI": (89.5, 0.292),
    "published: refined VI": (90.6, 0.259),
    "published: ensemble of 10": (93.2, 0.200),
}


@dataclass(frozen=True)
class Plan:
    """Length and size of the trainings.

    Attributes:
        epochs: number of epochs of each training.
        choice_epochs: number of epochs of each training in the choice of the prior.
        draws: number of draws of the posterior in a prediction.
        members: number of networks in the ensemble.
        prior_sigmas: the standard deviations that the choice of the prior compares.
    """

    epochs: int = 10
    choice_epochs: int = 3
    draws: int = 50
    members: int = 5
    prior_sigmas: tuple[float, ...] = (1.0, 0.3)


QUICK = Plan(epochs=1, choice_epochs=1, draws=5, members=2)


class Run:
    """The standardized images, and the trainings on them."""

    def __init__(self, data: Mnist, plan: Plan, *, seed: int):
        mean, std = data.train_x.mean(), data.train_x.std()
        self.train = _as_images(data.train_x, mean, std), data.train_y
        self.test = _as_images(data.test_x, mean, std), data.test_y
        self.fitted, self.held = hold_out(self.train, VALIDATION)
        self.plan, self.seed = plan, seed

    def _predict(self, model: Any, data: Any) -> dq.UQResult:
        return predict(model, data[0], seed=self.seed, draws=self.plan.draws)

    def _scores(self, model: Any, data: Any) -> dict[str, float]:
        return scores(self._predict(model, data), data[1])

    def _fit(self, model: Any, data: Any, epochs: int, seed: int, optimizer: Any, objective: Any = None) -> Any:
        key = jax.random.key(seed)
        return dq.fit(model, *data, key=key, epochs=epochs, optimizer=optimizer, objective=objective).model

    def _natural(self, prior_sigma: float, data: Any, epochs: int) -> Any:
        model = lenet.bayesian(dq.GaussianPrior(sigma=prior_sigma), rngs=nnx.Rngs(self.seed))
        optimizer = dq.natural_gradient(initial_precision=1.0)
        return self._fit(model, data, epochs, self.seed, optimizer, dq.ELBO())

    def choose(self) -> list[dict[str, Any]]:
        """Compute the validation scores of natural gradients with each prior."""
        rows = []
        for sigma in self.plan.prior_sigmas:
            model = self._natural(sigma, self.fitted, self.plan.choice_epochs)
            rows.append({"prior_sigma": sigma, **self._scores(model, self.held)})
        return rows

    def natural_gradients(self, prior_sigma: float) -> dict[str, Any]:
        """Score `fit` with natural gradients and a Gaussian prior of this standard deviation."""
        model = self._natural(prior_sigma, self.train, self.plan.epochs)
        return {"prior_sigma": prior_sigma, **self._scores(model, self.test)}

    def adam(self) -> dict[str, Any]:
        """Score Bayes by Backprop with Adam, at the learning rate of `fit`'s default Adam."""
        model = lenet.bayesian(NETWORK_PRIOR, rngs=nnx.Rngs(self.seed))
        return self._scores(self._fit(model, self.train, self.plan.epochs, self.seed, self._adam(5e-3)), self.test)

    def _adam(self, rate: float) -> optax.GradientTransformation:
        steps = self.plan.epochs * -(-len(self.train[1]) // 128)
        return optax.adam(optax.cosine_decay_schedule(rate, steps))

    def deterministic(self) -> dict[str, dict[str, Any]]:
        """Score the first deterministic network by itself, and the ensemble of all of them."""
        optimizer, members = self._adam(1e-3), []
        for i in range(self.plan.members):
            seed = 1000 * self.seed + i
            model = lenet.deterministic(rngs=nnx.Rngs(seed))
            model = self._fit(model, self.train, self.plan.epochs, seed, optimizer)
            members.append(jnp.asarray(self._predict(model, self.test).probs))
        mean = jnp.mean(jnp.stack(members), axis=0)
        found = {POINT: members[0], ENSEMBLE: mean}
        return {name: scores(dq.UQResult(mean=probs, probs=probs), self.test[1]) for name, probs in found.items()}


def _as_images(x: np.ndarray, mean: float, std: float) -> np.ndarray:
    return ((x.reshape(-1, lenet.SIDE, lenet.SIDE, 1) - mean) / std).astype(np.float32)


def scores(result: dq.UQResult, y: np.ndarray) -> dict[str, float]:
    """Accuracy in %, NLL in nats, and ECE in % (15 bins)."""
    found = mnist_score.scores(result, y)
    return {"accuracy": 100 - found["error"], "nll": found["nll"], "ece": found["ece"]}


def measure(run: Run, parts: report.Parts) -> dict[str, Any]:
    """Measure everything that the benchmark reports."""
    compared = parts("choice of the prior", lambda: {"rows": run.choose()})["rows"]
    best = min(compared, key=lambda row: row["nll"])["prior_sigma"]
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        NATURAL: partial(run.natural_gradients, best),
        ADAM: run.adam,
        POINT: run.deterministic,
    }
    found = {name: parts(name, step) for name, step in steps.items()}
    final = {name: found[POINT][name] for name in (POINT, ENSEMBLE)} | {name: found[name] for name in (ADAM, NATURAL)}
    how = f"validation NLL on {len(run.held[1])} training images after {run.plan.choice_epochs} epochs"
    return {"how": how, "compared": compared, "final": final}


def as_markdown(record: dict[str, Any]) -> str:
    """The scores beside the published ones, and the compared priors."""
    names = {ENSEMBLE: f"ensemble of {record['plan']['members']}"}
    rows = [
        [names.get(name, name), f"{row['accuracy']:.2f}", f"{row['nll']:.4f}", f"{row['ece']:.2f}"]
        for name, row in record["final"].items()
    ]
    rows += [[name, f"{accuracy:.1f}", f"{nll:.3f}", "-"] for name, (accuracy, nll) in PUBLISHED.items()]
    compared = [
        [f"{row['prior_sigma']:g}", f"{row['accuracy']:.2f}", f"{row['nll']:.4f}"] for row in record["compared"]
    ]
    return "\n\n".join(
        [
            f"LeNet-5 on the test set of Fashion-MNIST, {record['plan']['epochs']} epochs; NLL in nats.",
            report.table(["method", "accuracy, %", "NLL", "ECE, %"], rows),
            "Published: uncertainty-baselines, baselines/mnist.",
            f"Priors of natural gradients, compared by {record['how']}.",
            report.table(["prior sigma", "accuracy, %", "NLL"], compared),
        ]
    )


def main(argv: list[str]) -> dict[str, Any]:
    """Print the tables; with --json also write all files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy fashion", description=str(__doc__))
    report.add_common_options(parser)
    args = backend.parse(parser, argv)
    draw = partial(plot.images, published=PUBLISHED)
    if args.redraw:
        return report.redraw(args, as_markdown, draw)
    plan = QUICK if args.quick else Plan()
    data = load_mnist(data_dir(args.data_dir), "fashion-mnist")
    run = Run(data, plan, seed=args.seed)
    parts = report.Parts(args.cache, "fashion", args.seed, asdict(plan))
    record = {"seed": args.seed, "quick": args.quick, "plan": asdict(plan), **measure(run, parts)}
    return report.finish(args, record, as_markdown, draw)
