"""``python -m benchmarks accuracy mnist``: MNIST beside published errors.

Every recipe trains on 50,000 images for a few epochs, and its NLL on the other 10,000 training images is compared. The
best recipe of each kind of prior and each estimator is compared in the same way after the full number of epochs. These
recipes then train on all 60,000 images, and the best of them also trains the larger network.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy import plot, report
from benchmarks.accuracy.data import Mnist, data_dir, hold_out, load_mnist
from benchmarks.accuracy.mnist_recipe import CLASSES, ESTIMATORS, PIXEL_SCALE, Recipe, train
from benchmarks.accuracy.mnist_score import elsewhere, predict, pruning_curve, scores
from deepuq_jax.estimators.base import Estimator
from deepuq_jax.priors.defaults import LAYER_PRIOR
from deepuq_jax.training._defaults import BATCH_SIZE
from parity_tests import backend

VALIDATION = 10_000
ANGLE = 3  # the index of 90 degrees in `ANGLES`
PRIORS = (("gaussian", 0.1), ("gaussian", 1.0), ("scale mixture", 0.5))
BAYESIAN_SPACE = tuple(
    Recipe(prior=prior, prior_sigma=sigma, estimator=estimator, kl_weight=weight)
    for (prior, sigma), estimator, weight in product(PRIORS, ESTIMATORS, (1.0, 0.1))
)
TWIN_SPACE = tuple(Recipe(prior="none", weight_decay=decay) for decay in (0.0, 0.1))
PUBLISHED = (
    "Published test errors, two hidden layers of 400 / 800 / 1200 units: Bayes by Backprop about 1.8-2.0 % with a "
    "Gaussian prior, about 1.3 % with a scale mixture; SGD about 1.85 % (Blundell et al. 2015, arXiv 1505.05424)."
)


class Fit(NamedTuple):
    """The prior and the estimator of a model, and the settings of `fit`; None stands for the default.

    Attributes:
        learning_rate: the rate of natural gradients, which falls to 0 as a cosine.
    """

    prior: Any
    objective: dq.ELBO | None = None
    estimator: Estimator = dq.weight_sampling
    learning_rate: float | None = None
    epochs: int | None = None

    def optimizer(self, size: int) -> optax.GradientTransformation | None:
        """Return the optimizer for `size` images."""
        if self.learning_rate is None:
            return None
        assert self.epochs is not None, "the cosine needs the number of epochs"
        steps = self.epochs * -(-size // BATCH_SIZE)
        return dq.natural_gradient(optax.cosine_decay_schedule(self.learning_rate, steps), initial_precision=1.0)


# All use natural gradients, the default of `fit` in classification, and the KL weight 1 throughout. The prior of the
# second was chosen on validation images, among sigma 1, 0.32 and 4 / sqrt(fan_in). The settings of the last were chosen
# on validation images, too, as benchmarks/README.md says.
FITS = {
    "fit, defaults": Fit(LAYER_PRIOR),
    "fit, natural gradients, gaussian prior 0.32": Fit(dq.GaussianPrior(sigma=0.32), dq.ELBO()),
    "fit, gaussian prior 0.32, local reparameterization, learning rate 0.3": Fit(
        dq.GaussianPrior(sigma=0.32), dq.ELBO(), dq.local_reparameterization, 0.3, 85
    ),
}


@dataclass(frozen=True)
class Plan:
    """Length and size of the trainings.

    Attributes:
        choice_epochs: number of epochs of each recipe in the first comparison.
        epochs: pairs (hidden units, epochs of the final trainings).
        draws: number of draws of the posterior in a prediction.
        space, twin_space: the Bayesian and the deterministic recipes to compare.
    """

    choice_epochs: int = 5
    epochs: tuple[tuple[int, int], ...] = ((400, 20), (1200, 20))
    draws: int = 100
    space: tuple[Recipe, ...] = BAYESIAN_SPACE
    twin_space: tuple[Recipe, ...] = TWIN_SPACE


# A single recipe, without a comparison; it takes three minutes on two cores.
QUICK = Plan(
    choice_epochs=0,
    epochs=((400, 8),),
    draws=20,
    space=(Recipe(kl_weight=0.1),),
    twin_space=(Recipe(prior="none"),),
)


class Run:
    """The scaled images, and the trainings on them."""

    def __init__(self, data: Mnist, plan: Plan, *, seed: int, cache: Path | None):
        self.train = _scaled(data.train_x), data.train_y
        self.test = _scaled(data.test_x), data.test_y
        self.fitted, self.held = hold_out(self.train, VALIDATION)
        self.plan, self.seed, self.cache = plan, seed, cache

    def compare(self, space: Sequence[Recipe], *, hidden: int, epochs: int) -> list[dict[str, Any]]:
        """Compute validation scores of each recipe; a single recipe is not trained and has no scores."""
        if len(space) == 1:
            return [{"recipe": asdict(space[0]), "name": str(space[0])}]
        rows = []
        for recipe in space:
            recipe = recipe.at(hidden=hidden, epochs=epochs)
            trained = train(recipe, *self.fitted, seed=self.seed, cache=self.cache)
            found = scores(predict(trained.model, self.held[0], seed=self.seed, draws=self.plan.draws), self.held[1])
            rows.append({"recipe": asdict(recipe), "name": str(recipe), "seconds": round(trained.seconds, 1), **found})
            print(f"{recipe}: validation error {found['error']:.2f} %, NLL {found['nll']:.4f}", flush=True)
        return rows

    def final(self, recipe: Recipe, hidden: int, epochs: int) -> dict[str, Any]:
        """Train on every training image, and report every score."""
        recipe = recipe.at(hidden=hidden, epochs=epochs)
        trained = train(recipe, *self.train, seed=self.seed, cache=self.cache)
        row = {"name": str(recipe), "recipe": asdict(recipe), "seconds": round(trained.seconds, 1)}
        return row | self._report(trained.model, is_bayesian=recipe.is_bayesian)

    def fits(self, hidden: int) -> list[dict[str, Any]]:
        """Report `fit` with its defaults, and with a chosen prior and the plain ELBO."""
        rows = []
        for name, fit in FITS.items():
            epochs = {} if fit.epochs is None else {"epochs": fit.epochs}
            rows.append({"name": name, "hidden": hidden, **epochs, **self._fit(hidden, fit)})
        return rows

    def _fit(self, hidden: int, fit: Fit) -> dict[str, Any]:
        """Train an MLP of which only the sizes, the likelihood and the settings in `fit` are set."""
        model_key, fit_key = jax.random.split(jax.random.key(self.seed))
        sizes, likelihood = (self.train[0].shape[1], (hidden, hidden), CLASSES), dq.Categorical()
        model = dq.BayesByBackpropMLP(
            *sizes, likelihood=likelihood, prior=fit.prior, estimator=fit.estimator, rngs=nnx.Rngs(model_key)
        )
        optimizer = fit.optimizer(len(self.train[1]))
        result = dq.fit(
            model, *self.train, key=fit_key, objective=fit.objective, optimizer=optimizer, epochs=fit.epochs
        )
        return self._report(result.model, is_bayesian=True)

    def _report(self, model: Any, *, is_bayesian: bool) -> dict[str, Any]:
        options = dict(seed=self.seed, draws=self.plan.draws)
        found: dict[str, Any] = {**scores(predict(model, self.test[0], **options), self.test[1])}
        found["elsewhere"] = elsewhere(model, self.test[0], **options)
        if is_bayesian:
            found["pruning"] = pruning_curve(model, *self.test, **options)
        print(f"test error {found['error']:.2f} %, NLL {found['nll']:.4f}", flush=True)
        return found


def _scaled(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) / PIXEL_SCALE


def best(rows: list[dict[str, Any]]) -> Recipe:
    """The recipe with the lowest validation NLL."""
    return Recipe(**min(rows, key=lambda row: row.get("nll", 0.0))["recipe"])


def measure(run: Run, *, with_defaults: bool) -> dict[str, Any]:
    """Measure everything that the benchmark reports, with the smaller network first."""
    (hidden, epochs), *larger = run.plan.epochs
    spaces = run.plan.space, run.plan.twin_space
    compared, twins = (run.compare(s, hidden=hidden, epochs=run.plan.choice_epochs) for s in spaces)
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in compared:
        kinds.setdefault((row["recipe"]["prior"], row["recipe"]["estimator"]), []).append(row)
    finalists = run.compare([best(rows) for rows in kinds.values()], hidden=hidden, epochs=epochs)
    final = [run.final(best(twins), hidden, epochs)]
    final += [run.final(Recipe(**row["recipe"]), hidden, epochs) for row in finalists]
    if with_defaults:
        final += run.fits(hidden)
    for hidden, epochs in larger:
        final += [run.final(best(twins), hidden, epochs), run.final(best(finalists), hidden, epochs)]
    return {
        "how": f"validation NLL on {len(run.held[1])} training images after {run.plan.choice_epochs} epochs",
        "compared": compared + twins,
        "finalists": finalists,
        "final": final,
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Test scores, the pruning curve, and the compared recipes."""
    parts = ["Test set of MNIST; NLL and entropy in nats.", _scores(record["final"]), PUBLISHED]
    pruned = [row for row in record["final"] if "pruning" in row]
    if pruned:
        parts += ["Test error, in %, after pruning a share of the weights by signal-to-noise ratio.", _pruning(pruned)]
    for rows, title in (
        (record["compared"], f"Compared by {record['how']}."),
        (
            record.get("finalists", ()),
            "The best of each prior and estimator, compared in the same way after the full number of epochs.",
        ),
    ):
        lines = [[r["name"], f"{r['error']:.2f}", f"{r['nll']:.4f}", f"{r['ece']:.2f}"] for r in rows if "nll" in r]
        if lines:
            parts += [title, report.table(["recipe", "error, %", "NLL", "ECE, %"], lines)]
    return "\n\n".join(parts)


def _scores(final: list[dict[str, Any]]) -> str:
    rows = [
        [
            row["name"],
            *report.units_and_epochs(row),
            f"{row['error']:.2f}",
            f"{row['nll']:.4f}",
            f"{row['ece']:.2f}",
            f"{row['elsewhere']['entropy_of_rotated'][ANGLE]:.2f}",
            f"{row['elsewhere']['entropy_of_noise']:.2f}",
            f"{row['elsewhere']['auroc_of_noise']:.4f}",
        ]
        for row in final
    ]
    header = ["recipe", "units", "epochs", "error, %", "NLL", "ECE, %"]
    return report.table([*header, "entropy at 90°", "entropy on noise", "AUROC, noise"], rows)


def _pruning(pruned: list[dict[str, Any]]) -> str:
    shares = [f"{100 * point['pruned']:g} %" for point in pruned[0]["pruning"]]
    lines = [
        [f"{r['name']}, {report.units_and_epochs(r)[0]} units", *(f"{point['error']:.2f}" for point in r["pruning"])]
        for r in pruned
    ]
    return report.table(["recipe", *shares], lines)


def _with_fits(run: Run, final: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Replace the rows of `fit` by new rows, in the same places."""
    rows: list[dict[str, Any]] = []
    for row in final:
        if "recipe" in row:
            rows.append(row)
        elif not any("recipe" not in other and other["hidden"] == row["hidden"] for other in rows):
            rows += run.fits(row["hidden"])
    return rows


def main(argv: list[str]) -> dict[str, Any]:
    """Print the tables; with --json also write all files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy mnist", description=str(__doc__))
    report.add_options(parser)
    args = backend.parse(parser, argv)
    if args.redraw:
        return report.redraw(args, as_markdown, plot.digits)
    plan = QUICK if args.quick else Plan()
    run = Run(load_mnist(data_dir(args.data_dir)), plan, seed=args.seed, cache=args.cache)
    sizes = {"train": len(run.train[1]), "test": len(run.test[1]), "validation": len(run.held[1])}
    if args.fit_only:
        record = report.earlier(args)
        record["final"] = _with_fits(run, record["final"])
    else:
        record = {"seed": args.seed, "quick": args.quick, "sizes": sizes, "draws": plan.draws}
        record |= measure(run, with_defaults=not args.quick)
    return report.finish(args, record, as_markdown, plot.digits)
