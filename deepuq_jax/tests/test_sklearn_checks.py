"""scikit-learn's own checks of estimators."""

import pytest

pytest.importorskip("sklearn")
from sklearn.utils.estimator_checks import parametrize_with_checks

from deepuq_jax.sklearn import VIClassifier, VIRegressor

SMALL = {"max_iter": 60, "n_samples": 20, "batch_size": 1024, "learning_rate_init": 0.03}
ESTIMATORS = [VIRegressor((4,), **SMALL), VIClassifier((4,), **SMALL)]


def expected_failures(estimator):
    del estimator
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "Repeated rows are drawn in another order and at other noise than weighted ones."
        )
    }


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_a_check_of_scikit_learn_passes(estimator, check):
    check(estimator)
