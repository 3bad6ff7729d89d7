"""``python -m benchmarks accuracy continual``: permuted MNIST, one task after another.

Each task is MNIST with its own order of the pixels. One network, with an output layer that all tasks share, learns the
tasks in turn, each from the images of that task alone. After each task, the network is tested on all tasks so far. The
posterior becomes the prior of the next task; in naive fine-tuning, the prior stays the same.

The settings were chosen on training images that were held out: the first prior among the default and N(0, sigma^2) with
a sigma of 0.6, 1 and 2; the decay of the precision's average, 1 - c / steps, among c = 4, 6, 8 and 12; 12, 30 or 60
epochs; and a learning rate of 0.1 or 0.2. With a small c, the start still shows in each precision at the end of a task,
and this adds up over the tasks; with sigma 1, c = 8 was better than 6 and 12.

Source: Nguyen, Li, Bui & Turner 2018, Variational Continual Learning, arXiv 1710.10628.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy import plot, report
from benchmarks.accuracy.data import Mnist, data_dir, hold_out, load_mnist
from benchmarks.accuracy.mnist_recipe import CLASSES, PIXEL_SCALE
from benchmarks.accuracy.mnist_score import predict, scores
from deepuq_jax.training.length import training_length
from parity_tests import backend

UPDATED, TUNED = "the posterior as the next prior", "naive fine-tuning"
VALIDATION, BATCH_SIZE = 10_000, 256
PUBLISHED = (
    "Published average accuracy after ten tasks, two layers of 100 units, without coresets: variational continual "
    "learning about 90 % (Nguyen et al. 2018) and 93 % (Swaroop et al. 2019, arXiv 1905.02099)."
)


@dataclass(frozen=True)
class Plan:
    """Length and size of the run.

    Attributes:
        tasks: number of permutations.
        epochs: number of epochs per task.
        hidden: units of each of the two hidden layers.
        draws: number of draws of the posterior in a prediction.
        prior_sigma: standard deviation of the prior of the first task.
        forgetting: the c of the decay 1 - c / steps with which natural gradients average the precision.
    """

    tasks: int = 10
    epochs: int = 30
    hidden: int = 200
    draws: int = 20
    prior_sigma: float = 0.6
    forgetting: float = 8.0


QUICK = Plan(tasks=2, epochs=1, draws=5)


class Run:
    """The tasks, and the trainings on them.

    Args:
        data: the images.
        plan: length and size of the run.
        seed: the seed of all random numbers.
        is_validated: whether to train on the first five sixths of the training images and to test on the others, as a
            basis for choices.
    """

    def __init__(self, data: Mnist, plan: Plan, *, seed: int, is_validated: bool):
        train, test = (data.train_x, data.train_y), (data.test_x, data.test_y)
        self._train, self._test = hold_out(train, VALIDATION) if is_validated else (train, test)
        self._plan, self._seed = plan, seed
        rng = np.random.default_rng(seed)
        self._orders = [rng.permutation(data.train_x.shape[1]) for _ in range(plan.tasks)]

    def accuracies(self, after: Callable[[Any], Any]) -> dict[str, list[list[float]]]:
        """Learn the tasks in turn.

        Args:
            after: makes the model of the next task from the trained model.
        Returns:
            {"accuracies": for each number of learned tasks, the test accuracy of each of these tasks in %}.
        """
        found = []
        for count, model in enumerate(self._learn(after), start=1):
            found.append([self._accuracy(model, order) for order in self._orders[:count]])
        return {"accuracies": found}

    def _learn(self, after: Callable[[Any], Any]) -> Iterator[Any]:
        """Yield the model after each task."""
        plan, (x, y) = self._plan, self._train
        units = (plan.hidden, plan.hidden)
        model = dq.BayesByBackpropMLP(
            x.shape[1],
            units,
            CLASSES,
            likelihood=dq.Categorical(),
            estimator=dq.local_reparameterization,
            prior=dq.GaussianPrior(sigma=plan.prior_sigma),
            rngs=nnx.Rngs(self._seed),
        )
        keys = jax.random.split(jax.random.key(self._seed), plan.tasks)
        steps = training_length(len(y), epochs=plan.epochs, batch_size=BATCH_SIZE).steps
        optimizer = dq.natural_gradient(initial_precision=1.0, beta2=max(0.0, 1.0 - plan.forgetting / steps))
        options: dict[str, Any] = dict(objective=dq.ELBO(), epochs=plan.epochs, batch_size=BATCH_SIZE)
        for order, key in zip(self._orders, keys, strict=True):
            model = dq.fit(model, _scaled(x[:, order]), y, key=key, optimizer=optimizer, **options).model
            yield model
            model = after(model)

    def _accuracy(self, model: Any, order: np.ndarray) -> float:
        x, y = self._test
        result = predict(model, _scaled(x[:, order]), seed=self._seed, draws=self._plan.draws)
        return 100 - scores(result, y)["error"]


def _scaled(images: np.ndarray) -> np.ndarray:
    return (images / PIXEL_SCALE).astype(np.float32)


def updated(model: Any) -> Any:
    """Return a copy of a model whose prior is the model's posterior."""
    return dq.with_prior(model, dq.as_prior(model))


def unchanged(model: Any) -> Any:
    """Return the model itself, whose prior stays."""
    return model


METHODS: dict[str, Callable[[Any], Any]] = {UPDATED: updated, TUNED: unchanged}


def as_markdown(record: dict[str, Any]) -> str:
    """Average accuracies by the number of tasks, and the final accuracy of each task."""
    plan = record["plan"]
    counts = [str(count) for count in range(1, plan["tasks"] + 1)]
    averages = [
        [name, *(f"{np.mean(row):.1f}" for row in found["accuracies"])] for name, found in record["methods"].items()
    ]
    at_end = [[name, *(f"{a:.1f}" for a in found["accuracies"][-1])] for name, found in record["methods"].items()]
    length = f"{plan['epochs']} epochs per task, two hidden layers of {plan['hidden']} units"
    return "\n\n".join(
        [
            f"Permuted MNIST, {length}: accuracy in % on {record['on']}, averaged over the tasks so far.",
            report.table(["tasks learned", *counts], averages),
            PUBLISHED,
            "Accuracy on each task, in %, after the last task.",
            report.table(["task", *counts], at_end),
        ]
    )


def main(argv: list[str]) -> dict[str, Any]:
    """Print the tables; with --json also write all files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy continual", description=str(__doc__))
    report.add_common_options(parser)
    parser.add_argument("--validation", action="store_true", help="test on training images that are held out")
    args = backend.parse(parser, argv)
    if args.redraw:
        return report.redraw(args, as_markdown, plot.continual)
    plan = QUICK if args.quick else Plan()
    run = Run(load_mnist(data_dir(args.data_dir)), plan, seed=args.seed, is_validated=args.validation)
    parts = report.Parts(args.cache, "continual", args.seed, args.validation, asdict(plan))
    methods = {name: parts(name, partial(run.accuracies, after)) for name, after in METHODS.items()}
    on = "held-out training images" if args.validation else "the test images"
    record = {"seed": args.seed, "quick": args.quick, "plan": asdict(plan), "on": on, "methods": methods}
    return report.finish(args, record, as_markdown, plot.continual)
