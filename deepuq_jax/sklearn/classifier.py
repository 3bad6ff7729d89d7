"""A classifier for scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d, validate_data

from deepuq_jax._checks import expected
from deepuq_jax.sklearn._base import FLOATS, VIEstimator
from deepuq_jax.sklearn._networks import Build, bernoulli_network, categorical_network
from deepuq_jax.sklearn._rows import weighted_rows
from deepuq_jax.sklearn._units import Units
from deepuq_jax.types import UQResult


class VIClassifier(ClassifierMixin, VIEstimator):
    """Bayesian multilayer perceptron for classification.

    Every weight has a Gaussian posterior, trained by variational inference. Arguments and attributes that mean the same
    as in `MLPClassifier` have the same names. For two classes the likelihood is `Bernoulli`; for more, it is
    `Categorical`.

    Args:
        hidden_layer_sizes, activation, prior: as in `VIRegressor`.
        max_iter, batch_size, learning_rate_init, optimizer: as in `VIRegressor`.
        early_stopping, validation_fraction, n_iter_no_change: as in `VIRegressor`; data for early stopping are held out
            in each class.
        n_samples, random_state, warm_start, verbose: as in `VIRegressor`.
        scale: whether to standardize inputs by the training data.
    Attributes:
        classes_: the labels, sorted.
        model_, loss_curve_, n_iter_, n_features_in_, feature_names_in_: as in `VIRegressor`.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = VIClassifier((16,), max_iter=200, random_state=0).fit(X[::2], y[::2])
    >>> bool(model.score(X[1::2], y[1::2]) > 0.9)
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the posterior to data.

        Args:
            X: inputs [n, features], an array or a data frame.
            y: labels [n], numbers or strings.
            sample_weight: weights [n]; a weight of 2 counts a row twice.
        """
        return self._fit(X, y, sample_weight, classes=None, updates=False)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Update the posterior by new data.

        The posterior of the last fit becomes the prior, and `fit` runs for its full length on the new data alone. The
        units stay those of the first data. The first call is a `fit`.

        Args:
            X, y, sample_weight: as in `fit`.
            classes: in the first call, all labels that any call will have; by default, the labels in `y`.
        """
        return self._fit(X, y, sample_weight, classes=classes, updates=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, classes: Any, updates: bool) -> Self:
        goes_on = self._goes_on(updates=updates)
        data: Any = validate_data(self, X, y, dtype=FLOATS, multi_output=True, reset=not goes_on)
        check_classification_targets(data[1])
        if type_of_target(data[1]) == "multilabel-indicator":
            what = "to hold one label per row; with several, wrap sklearn.multioutput.MultiOutputClassifier around this"
            raise ValueError(expected("y", what, data[1]))
        rows = weighted_rows(data[0], column_or_1d(data[1], warn=True), sample_weight)
        known = self._known_classes(rows.y, classes, goes_on=goes_on)
        others = np.setdiff1d(rows.y, known)
        if others.size:
            what = f"to hold the classes {known.tolist()} alone"
            raise ValueError(expected("y", what, f"{others[0]} among its entries"))
        self.classes_ = known
        return self._train(rows._replace(y=np.searchsorted(known, rows.y)), updates=updates)

    def _known_classes(self, y: np.ndarray, classes: Any, *, goes_on: bool) -> np.ndarray:
        """Return the labels, sorted; those of an earlier fit stay."""
        given = None if classes is None else unique_labels(classes)
        if goes_on:
            if given is not None and not np.array_equal(given, self.classes_):
                what = f"to be {self.classes_.tolist()}, as in the last fit"
                raise ValueError(expected("classes", what, f"{given.tolist()}"))
            return self.classes_
        found = np.unique(y) if given is None else given
        if len(found) < 2:
            raise ValueError(expected("y", "to hold at least two classes", f"one class, {found.tolist()[0]!r}"))
        return found

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable label of each row, [n]."""
        best = np.argmax(self.predict_proba(X), axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities [n, classes], averaged over the posterior.

        The columns are in the order of `classes_`.
        """
        probs = np.asarray(self._prediction(X).moments().probs, np.float64)
        return probs / probs.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict log probabilities [n, classes], in nats."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict_uq(self, X: Any) -> UQResult:
        """Predict probabilities and uncertainty as `deepuq_jax.predict_vi_uq` does.

        Args:
            X: inputs [n, features].
        Returns:
            UQResult, whose classes are in the order of `classes_`.
        """
        return self._prediction(X).distribution()

    def _build(self) -> Build:
        return bernoulli_network if len(self.classes_) == 2 else categorical_network

    def _columns(self) -> int:
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def _strata(self, y: np.ndarray) -> np.ndarray:
        return y

    def _target_units(self, y: np.ndarray, weight: np.ndarray) -> Units:
        del y, weight
        return Units.none(1)
