"""``python -m benchmarks accuracy mnist``: 784-400-400-10 and 784-1200-1200-10 next to the published errors.

Every recipe trains on 50,000 images for some epochs and is compared on the other 10,000 of the training set by its NLL
there; the best of each prior and estimator once more, now trained as long as in the end. These train on all 60,000, and
the best of them at the larger size, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy import plot, report
from benchmarks.accuracy.data import Mnist, data_dir, load_mnist
from benchmarks.accuracy.mnist_recipe import CLASSES, ESTIMATORS, PIXEL_SCALE, Recipe, Trained, train
from benchmarks.accuracy.mnist_score import elsewhere, predict, pruning_curve, scores

VALIDATION = 10_000
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


@dataclass(frozen=True)
class Plan:
    """How long and how large.

    Attributes:
        choice_epochs: of each recipe when they are compared. epochs: of the final trainings, by hidden units.
        draws: of the posterior in a prediction.
        space, twin_space: what is compared.
    """

    choice_epochs: int = 5
    epochs: tuple[tuple[int, int], ...] = ((400, 20), (1200, 20))
    draws: int = 100
    space: tuple[Recipe, ...] = BAYESIAN_SPACE
    twin_space: tuple[Recipe, ...] = TWIN_SPACE


# One recipe, none compared: it ends in three minutes on two cores.
QUICK = Plan(
    choice_epochs=0,
    epochs=((400, 8),),
    draws=20,
    space=(Recipe(kl_weight=0.1),),
    twin_space=(Recipe(prior="none"),),
)


class Run:
    """The images, scaled, and every training on them by its name."""

    def __init__(self, data: Mnist, plan: Plan, *, seed: int, cache: Path | None):
        scaled = lambda x: x.astype(np.float32) / PIXEL_SCALE
        self.train = scaled(data.train_x), data.train_y
        self.test = scaled(data.test_x), data.test_y
        # The last of the training images, at most a sixth of them.
        held = min(VALIDATION, len(data.train_y) // 6)
        self.fitted = tuple(part[:-held] for part in self.train)
        self.held = tuple(part[-held:] for part in self.train)
        self.plan, self.seed, self.cache = plan, seed, cache

    def compare(self, space: Sequence[Recipe], *, hidden: int, epochs: int) -> list[dict[str, Any]]:
        """Validation scores of each recipe; none where there is no choice."""
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
        """Trained on every training image, and all that is reported of it."""
        recipe = recipe.at(hidden=hidden, epochs=epochs)
        return self._report(train(recipe, *self.train, seed=self.seed, cache=self.cache), recipe)

    def defaults(self, hidden: int) -> dict[str, Any]:
        """`fit` with nothing set, on an MLP with nothing set but its sizes."""
        model_key, fit_key = jax.random.split(jax.random.key(self.seed))
        sizes, likelihood = (self.train[0].shape[1], (hidden, hidden), CLASSES), dq.Categorical()
        model = dq.BayesByBackpropMLP(*sizes, likelihood=likelihood, rngs=nnx.Rngs(model_key))
        fitted = dq.fit(model, *self.train, key=fit_key).model
        return self._report(Trained(fitted, float("nan")), None) | {"hidden": hidden}

    def _report(self, trained: Trained, recipe: Recipe | None) -> dict[str, Any]:
        options = dict(seed=self.seed, draws=self.plan.draws)
        found: dict[str, Any] = {"name": "fit, defaults" if recipe is None else str(recipe)}
        if recipe is not None:
            found |= {"recipe": asdict(recipe), "seconds": round(trained.seconds, 1)}
        found |= scores(predict(trained.model, self.test[0], **options), self.test[1])
        found["elsewhere"] = elsewhere(trained.model, self.test[0], **options)
        if recipe is None or recipe.is_bayesian:
            found["pruning"] = pruning_curve(trained.model, *self.test, **options)
        print(f"{found['name']}: test error {found['error']:.2f} %, NLL {found['nll']:.4f}", flush=True)
        return found


def best(rows: list[dict[str, Any]]) -> Recipe:
    """The recipe of the lowest validation NLL."""
    return Recipe(**min(rows, key=lambda row: row.get("nll", 0.0))["recipe"])


def measure(run: Run, *, with_defaults: bool) -> dict[str, Any]:
    """All that the benchmark reports, the smaller network first."""
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
        final.append(run.defaults(hidden))
    for hidden, epochs in larger:
        final += [run.final(best(twins), hidden, epochs), run.final(best(finalists), hidden, epochs)]
    return {
        "how": f"validation NLL on {len(run.held[1])} training images after {run.plan.choice_epochs} epochs",
        "compared": compared + twins,
        "finalists": finalists,
        "final": final,
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Test scores, what was compared, and the pruning curve."""
    final = record["final"]
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
    header = ["recipe", "units", "epochs", "error, %", "NLL", "ECE, %", "entropy at 90°", "on noise", "AUROC, noise"]
    parts = ["Test set of MNIST; NLL and entropy in nats.", report.table(header, rows), PUBLISHED]
    pruned = [row for row in final if "pruning" in row]
    if pruned:
        shares = [f"{100 * point['pruned']:g} %" for point in pruned[0]["pruning"]]
        lines = [
            [f"{r['name']}, {report.units_and_epochs(r)[0]}", *(f"{point['error']:.2f}" for point in r["pruning"])]
            for r in pruned
        ]
        parts += [
            "Test error, %, with a share of the weights pruned by signal to noise.",
            report.table(["", *shares], lines),
        ]
    for rows, title in (
        (record["compared"], f"Compared by {record['how']}."),
        (record["finalists"], "The best of each prior and estimator, compared in the same way after all epochs."),
    ):
        lines = [[r["name"], f"{r['error']:.2f}", f"{r['nll']:.4f}", f"{r['ece']:.2f}"] for r in rows if "nll" in r]
        if lines:
            parts += [title, report.table(["recipe", "error, %", "NLL", "ECE, %"], lines)]
    return "\n\n".join(parts)


ANGLE = 3  # 90 degrees.


def main(argv: list[str]) -> dict[str, Any]:
    """Print the tables; with --json write them and the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy mnist", description=str(__doc__))
    report.add_options(parser)
    args = parser.parse_args(argv)
    plan = QUICK if args.quick else Plan()
    run = Run(load_mnist(data_dir(args.data_dir)), plan, seed=args.seed, cache=args.cache)
    sizes = {"train": len(run.train[1]), "test": len(run.test[1]), "validation": len(run.held[1])}
    if args.fit_only:
        record = report.earlier(args)
        record["final"] = [row if "recipe" in row else run.defaults(row["hidden"]) for row in record["final"]]
    else:
        record = {"seed": args.seed, "quick": args.quick, "sizes": sizes, "draws": plan.draws}
        record |= measure(run, with_defaults=not args.quick)
    markdown = as_markdown(record)
    print(markdown)
    if args.json:
        report.write(args.json, record, markdown, plot.digits(record))
    return record
