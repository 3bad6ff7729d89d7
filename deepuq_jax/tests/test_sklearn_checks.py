"""scikit-learn's own checks of estimators."""

import functools

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from deepuq_jax.sklearn import VIClassifier, VIRegressor

SMALL = {"max_iter": 60, "n_samples": 20, "batch_size": 1024, "learning_rate_init": 0.03}
ESTIMATORS = [VIRegressor((4,), **SMALL), VIClassifier((4,), **SMALL)]

# The checks that `make test` runs: those that compile nothing, and a few that train, on shapes that they share. Each of
# the others costs a compilation.
QUICK = {
    "check_all_zero_sample_weights_error",
    "check_classifiers_one_label",
    "check_classifiers_one_label_sample_weights",
    "check_classifiers_regression_target",
    "check_classifiers_train",
    "check_complex_data",
    "check_decision_proba_consistency",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_estimator_sparse_tag",
    "check_estimator_tags_renamed",
    "check_estimators_empty_data_messages",
    "check_estimators_unfitted",
    "check_fit1d",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_regressors_train",
    "check_requires_y_none",
    "check_set_params",
    "check_supervised_y_no_nan",
    "check_valid_tag_types",
}


def expected_failures(estimator):
    del estimator
    reason = "Repeated rows fall into other batches, in another order, than rows with weights."
    return {"check_sample_weight_equivalence_on_dense_data": reason}


def with_marks(checks):
    """Mark the checks that are not quick.

    The cases become a list, since older versions of scikit-learn pass a generator, which pytest refuses.
    """
    names, cases = checks.args
    marked = []
    for case in cases:
        values, marks = (case.values, list(case.marks)) if hasattr(case, "marks") else (case, [])
        check = values[1]
        name = check.func.__name__ if isinstance(check, functools.partial) else check.__name__
        marked.append(pytest.param(*values, marks=marks if name in QUICK else [*marks, pytest.mark.long]))
    return pytest.mark.parametrize(names, marked, **checks.kwargs)


@pytest.mark.slow
@with_marks(parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures))
def test_a_check_of_scikit_learn_passes(estimator, check):
    check(estimator)
