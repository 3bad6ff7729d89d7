"""Methods of scikit-learn on tabular sets.

Regressors that estimate no noise get a constant noise variance, which maximizes the likelihood of held-out training
rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.neural_network import MLPClassifier, MLPRegressor

from benchmarks.accuracy import uci_score
from benchmarks.accuracy.tabular_data import LabelledSplit, RealSplit
from benchmarks.accuracy.tabular_methods import HIDDEN, Found, Plan
from benchmarks.accuracy.uci_score import Draws

MLP_CLASSIFIER, MLP_REGRESSOR = "MLPClassifier", "MLPRegressor"
LOGISTIC, RIDGE = "LogisticRegressionCV", "RidgeCV"
PROCESS, FOREST, ENSEMBLE = "Gaussian process", "random forest", "ensemble"

FOLDS = 5
# The residuals of this many rows give the noise variance to within a few per cent, so no further fold is needed.
ENOUGH_ROWS = 2_000
# Bounds of the logarithm of the noise variance, for targets of variance 1.
LOG_VARIANCES = (np.log(1e-10), np.log(10.0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings about scikit-learn's defaults: unconverged networks, rare classes, future changes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        yield


def _seeds(seed: int, members: int) -> list[int]:
    return np.random.default_rng(seed).integers(2**31, size=members).tolist()


def _probabilities(classifier: Any, split: LabelledSplit) -> np.ndarray:
    """Fit and predict; classes that are absent from the training rows get the probability 0."""
    with _quiet():
        classifier.fit(split.x, split.y)
    probs = np.zeros((len(split.test_y), split.classes))
    probs[:, classifier.classes_] = classifier.predict_proba(split.test_x)
    return probs


def network_classifiers(split: LabelledSplit, seed: int, plan: Plan) -> Found:
    """MLPClassifier with its defaults, and an ensemble of several with 64-64 units each."""
    single = _probabilities(MLPClassifier(random_state=seed), split)
    members = [
        _probabilities(MLPClassifier(hidden_layer_sizes=HIDDEN, random_state=own), split)
        for own in _seeds(seed, plan.members)
    ]
    return Found({MLP_CLASSIFIER: single, ENSEMBLE: np.mean(members, axis=0)})


def logistic_regression(split: LabelledSplit, seed: int, plan: Plan) -> Found:
    """LogisticRegressionCV, with more iterations than the default.

    Accuracy chooses the strength of the penalty, as by default.
    """
    del seed, plan
    classifier = LogisticRegressionCV(max_iter=2000, scoring="accuracy")
    return Found({LOGISTIC: _probabilities(classifier, split)})


def process_classifier(split: LabelledSplit, seed: int, plan: Plan) -> Found:
    """Gaussian processes, each of one class against the rest.

    The kernel of each process has a single length scale. Two classes need a single process.
    """
    del plan
    classifier = GaussianProcessClassifier(_kernel(split.x), random_state=seed)
    return Found({PROCESS: _probabilities(classifier, split)})


def forest_classifier(split: LabelledSplit, seed: int, plan: Plan) -> Found:
    """A random forest with its defaults."""
    del plan
    return Found({FOREST: _probabilities(RandomForestClassifier(random_state=seed), split)})


def _kernel(x: np.ndarray) -> Any:
    # Two standardized rows are about sqrt(2 d) apart. If d is large, a search that starts at 1 does not leave it.
    return ConstantKernel() * RBF(np.sqrt(x.shape[1]))


# A predictor maps (x, y, test_x) to standardized draws without noise, keyed by the name of the method.
Predictor = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, Draws]]


def with_noise(predictor: Predictor, split: RealSplit, seed: int) -> Found:
    """Add to each draw the constant variance that maximizes the likelihood of held-out training rows."""
    folds = np.array_split(np.random.default_rng(seed).permutation(len(split.y)), FOLDS)
    held_out, rows = [], np.zeros(0, int)
    for fold in folds:
        kept = np.setdiff1d(np.arange(len(split.y)), fold)
        held_out.append(predictor(split.x[kept], split.y[kept], split.x[fold]))
        rows = np.concatenate([rows, fold])
        if len(rows) >= ENOUGH_ROWS:
            break
    predictions = {}
    for name, draws in predictor(split.x, split.y, split.test_x).items():
        mean, var = (np.concatenate([found[name][part] for found in held_out], axis=1) for part in (0, 1))
        noise = fitted_noise(Draws(mean, var), split.y[rows])
        predictions[name] = split.in_own_units(Draws(draws.mean, draws.var + noise))
    return Found(predictions)


def fitted_noise(draws: Draws, y: np.ndarray) -> float:
    """Find the variance that maximizes the likelihood when it is added to each draw.

    For a single draw without a variance, the result is the mean of the squared residuals.

    >>> round(fitted_noise(Draws(np.zeros((1, 2)), np.zeros((1, 2))), np.array([0.1, -0.3])), 4)
    0.05
    """

    def nll(log_variance: float) -> float:
        return -uci_score.score(Draws(draws.mean, draws.var + np.exp(log_variance)), y).log_likelihood

    found: Any = minimize_scalar(nll, bounds=LOG_VARIANCES, method="bounded")
    return float(np.exp(found.x))


def network_regressors(split: RealSplit, seed: int, plan: Plan) -> Found:
    """MLPRegressor with its defaults, and a mixture of several with 64-64 units each."""

    def predictor(x: np.ndarray, y: np.ndarray, test_x: np.ndarray) -> dict[str, Draws]:
        single = _means([MLPRegressor(random_state=seed)], x, y, test_x)
        members = [MLPRegressor(hidden_layer_sizes=HIDDEN, random_state=own) for own in _seeds(seed, plan.members)]
        return {MLP_REGRESSOR: single, ENSEMBLE: _means(members, x, y, test_x)}

    return with_noise(predictor, split, seed)


def _means(models: list[Any], x: np.ndarray, y: np.ndarray, test_x: np.ndarray) -> Draws:
    """Fit each model; its predictions are one draw, with variance 0."""
    with _quiet():
        mean = np.stack([model.fit(x, y).predict(test_x) for model in models])
    return Draws(mean, np.zeros_like(mean))


def ridge_regression(split: RealSplit, seed: int, plan: Plan) -> Found:
    """RidgeCV with its defaults."""
    del plan

    def predictor(x: np.ndarray, y: np.ndarray, test_x: np.ndarray) -> dict[str, Draws]:
        return {RIDGE: _means([RidgeCV()], x, y, test_x)}

    return with_noise(predictor, split, seed)


def forest_regressor(split: RealSplit, seed: int, plan: Plan) -> Found:
    """A random forest with its defaults; its predictive variance includes the variance over trees."""
    del plan
    return with_noise(partial(_forest, seed), split, seed)


def _forest(seed: int, x: np.ndarray, y: np.ndarray, test_x: np.ndarray) -> dict[str, Draws]:
    forest = RandomForestRegressor(random_state=seed).fit(x, y)
    trees = np.stack([tree.predict(test_x) for tree in forest.estimators_])
    return {FOREST: Draws(trees.mean(axis=0, keepdims=True), trees.var(axis=0, keepdims=True))}


def process_regressor(split: RealSplit, seed: int, plan: Plan) -> Found:
    """A Gaussian process with one length scale and learned noise."""
    del plan
    # The default lower bound of the noise variance, 1e-5, is above the noise of nearly noise-free targets. The search
    # starts at the default noise variance, 1: if it starts lower, it may end at a kernel that has memorized repeated
    # rows with rounded targets.
    kernel = _kernel(split.x) + WhiteKernel(noise_level_bounds=(1e-8, 1e5))
    with _quiet():
        model = GaussianProcessRegressor(kernel, random_state=seed).fit(split.x, split.y)
    predicted: Any = model.predict(split.test_x, return_std=True)
    mean, std = predicted
    return Found({PROCESS: split.in_own_units(Draws(mean[None], std[None] ** 2))})
