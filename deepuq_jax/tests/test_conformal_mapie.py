"""The intervals and sets of `conformal` are those of MAPIE on the same arrays."""

import numpy as np
import pytest

from deepuq_jax import conformal

pytest.importorskip("mapie")

from mapie.classification import SplitConformalClassifier
from mapie.conformity_scores import RAPSConformityScore, ResidualNormalisedScore
from mapie.regression import ConformalizedQuantileRegressor, SplitConformalRegressor
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

N, LEVEL, SEED = 60, 0.9, 3


class Column(RegressorMixin, BaseEstimator):
    """Predict a column of the input."""

    def __init__(self, column=0):
        self.column = column

    def fit(self, x, y=None):
        self.n_features_in_ = x.shape[1]
        return self

    def predict(self, x):
        return x[:, self.column]


class Probabilities(ClassifierMixin, BaseEstimator):
    """Predict the input itself."""

    def fit(self, x, y=None):
        self.n_features_in_, self.classes_ = x.shape[1], np.arange(x.shape[1])
        return self

    def predict_proba(self, x):
        return x

    def predict(self, x):
        return x.argmax(axis=1)


def regression():
    rng = np.random.default_rng(0)
    mean, sigma = rng.normal(size=100), rng.uniform(0.5, 2.0, size=100)
    return np.column_stack([mean, sigma, mean - sigma, mean + sigma]), mean + sigma * rng.normal(size=100)


def intervals(mapie, x, y, **options):
    return mapie.conformalize(x[:N], y[:N]).predict_interval(x[N:], **options)[1][:, :, 0].T


def test_split_intervals(x64):
    x, y = regression()
    mapie = SplitConformalRegressor(Column().fit(x), confidence_level=LEVEL)
    ours = conformal.split(x[:N, 0], y[:N]).interval(x[N:, 0], LEVEL)
    np.testing.assert_allclose(ours, intervals(mapie, x, y), rtol=1e-12)


def test_normalized_split_intervals(x64):
    x, y = regression()
    score = ResidualNormalisedScore(residual_estimator=Column(1).fit(x), prefit=True)
    mapie = SplitConformalRegressor(Column().fit(x), confidence_level=LEVEL, conformity_score=score)
    calibrated = conformal.split((x[:N, 0], x[:N, 1] ** 2), y[:N], normalized=True)
    ours = calibrated.interval((x[N:, 0], x[N:, 1] ** 2), LEVEL)
    np.testing.assert_allclose(ours, intervals(mapie, x, y), rtol=1e-12)


def test_cqr(x64):
    x, y = regression()
    estimators = [Column(i).fit(x) for i in (2, 3, 0)]
    mapie = ConformalizedQuantileRegressor(estimators, confidence_level=LEVEL, prefit=True)
    ours = conformal.cqr((x[:N, 2], x[:N, 3]), y[:N]).interval((x[N:, 2], x[N:, 3]), LEVEL)
    np.testing.assert_allclose(ours, intervals(mapie, x, y, symmetric_correction=True), rtol=1e-12)


def classification():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(5, 0.6), 100)
    return probs, np.array([rng.choice(5, p=p) for p in probs])


def uniform(size):
    """Return the random numbers of MAPIE, which starts from the seed at each call."""
    return np.random.RandomState(SEED).uniform(size=size)


def with_most_probable(sets, probs):
    """Add the most probable class, as MAPIE does if a set would be empty."""
    return np.asarray(sets) | np.eye(probs.shape[1], dtype=bool)[probs.argmax(axis=1)]


def test_aps(x64):
    x, y = classification()
    mapie = SplitConformalClassifier(
        Probabilities().fit(x), confidence_level=LEVEL, conformity_score="aps", random_state=SEED
    ).conformalize(x[:N], y[:N])
    calibrated = conformal.aps(x[:N], y[:N], noise=uniform(N))

    def theirs(how):
        return mapie.predict_set(x[N:], conformity_score_params={"include_last_label": how})[1][:, :, 0]

    np.testing.assert_array_equal(calibrated.sets(x[N:], LEVEL, noise=uniform(100 - N)), theirs("randomized"))
    whole = calibrated.sets(x[N:], LEVEL, noise=np.zeros(100 - N))
    np.testing.assert_array_equal(with_most_probable(whole, x[N:]), theirs(False))


def test_raps(x64):
    """Set the penalty through MAPIE's internal functions, since its public functions choose it themselves."""
    x, y = classification()
    penalty, free_classes = 0.2, 2
    score = RAPSConformityScore()
    score.set_external_attributes(classes=np.arange(5), random_state=SEED)
    total, rank = score.get_true_label_cumsum_proba(y[:N], x[:N], np.arange(5))
    plain = total - uniform(N)[:, None] * np.take_along_axis(x[:N], y[:N, None], axis=1)
    theirs = score._regularize_conformity_score(np.array([free_classes]), penalty, plain, rank)[:, 0, 0]
    calibrated = conformal.raps(x[:N], y[:N], penalty=penalty, free_classes=free_classes, noise=uniform(N))
    np.testing.assert_allclose(calibrated.scores, theirs, rtol=1e-12)
    score.lambda_star, score.k_star = penalty, free_classes
    score.quantiles_ = np.asarray(conformal.conformal_quantile(calibrated.scores, LEVEL))[None]
    sets = score.get_prediction_sets(
        np.repeat(x[N:, :, None], 1, axis=2), theirs, np.array([1 - LEVEL]), cv="prefit", include_last_label=False
    )
    whole = calibrated.sets(x[N:], LEVEL, noise=np.zeros(100 - N))
    np.testing.assert_array_equal(with_most_probable(whole, x[N:]), sets[:, :, 0])
