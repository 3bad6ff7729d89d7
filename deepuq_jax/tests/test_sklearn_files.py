"""Estimators for scikit-learn in files and with data frames."""

import pickle

import numpy as np
import pandas as pd
import pytest
import skops.io

from deepuq_jax.sklearn import VIClassifier, VIRegressor
from deepuq_jax.tests.test_sklearn import LABELS, SIGNAL, X, Y

FRAME = pd.DataFrame(X, columns=["width", "height"])


@pytest.fixture(scope="module")
def classifier():
    return VIClassifier((4,), max_iter=3, n_samples=5, random_state=0).fit(FRAME, LABELS)


@pytest.fixture(scope="module")
def regressor():
    return VIRegressor((4,), max_iter=3, n_samples=5, random_state=0).fit(FRAME, Y)


def double(x):
    return x * 2.0


def through_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def through_skops(estimator):
    data = skops.io.dumps(estimator)
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


@pytest.mark.slow
@pytest.mark.parametrize("through", [through_pickle, through_skops])
def test_a_fitted_estimator_comes_back_with_its_predictions(through, classifier, regressor):
    again = through(classifier)
    np.testing.assert_array_equal(again.predict_proba(FRAME), classifier.predict_proba(FRAME))
    np.testing.assert_array_equal(again.classes_, classifier.classes_)
    again = through(regressor)
    for found, expected in zip(*(one.predict(FRAME, return_std=True) for one in (again, regressor)), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert again.get_params() == regressor.get_params()
    assert again.partial_fit(FRAME, Y).n_iter_ == 3


@pytest.mark.slow
def test_skops_has_to_trust_only_classes_of_this_package(regressor):
    names = skops.io.get_untrusted_types(data=skops.io.dumps(regressor))
    assert {name.split(".")[0] for name in names} == {"deepuq_jax"}


def test_an_estimator_that_is_not_fitted_comes_back():
    assert through_pickle(VIRegressor((3,))).get_params() == VIRegressor((3,)).get_params()


@pytest.mark.slow
def test_an_activation_of_the_users_own_is_pickled_by_its_name():
    estimator = VIRegressor((4,), activation=double, max_iter=1, n_samples=2, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(through_pickle(estimator).predict(X), estimator.predict(X))


@pytest.mark.slow
def test_columns_of_frames_are_checked_by_name(regressor, classifier):
    assert list(regressor.feature_names_in_) == ["width", "height"]
    with pytest.raises(ValueError, match="feature names should match"):
        regressor.predict(FRAME.rename(columns={"height": "depth"}))
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        classifier.predict(FRAME[["height", "width"]])


@pytest.mark.slow
def test_series_of_targets_and_labels_are_taken_as_arrays(regressor, classifier):
    again = VIRegressor(**regressor.get_params()).fit(FRAME, pd.Series(Y, name="price"))
    np.testing.assert_array_equal(again.predict(FRAME), regressor.predict(FRAME))
    labels = pd.Series(pd.Categorical(LABELS))
    again = VIClassifier(**classifier.get_params()).fit(FRAME, labels)
    np.testing.assert_array_equal(again.predict(FRAME), classifier.predict(FRAME))
    several = VIRegressor((4,), max_iter=1, random_state=0).fit(FRAME, pd.DataFrame({"a": Y, "b": SIGNAL}))
    assert several.predict(FRAME).shape == (60, 2)
