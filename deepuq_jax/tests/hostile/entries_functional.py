"""How each name of `deepuq_jax.functional`, `deepuq_jax.metrics` and `deepuq_jax.conformal` is called."""

import jax
import jax.numpy as jnp
import numpy as np

from deepuq_jax import conformal, metrics
from deepuq_jax import functional as fn
from deepuq_jax.tests.hostile.entry import Entry, is_large

MU = np.asarray([[0.5, -1.0], [2.0, 0.25]], np.float32)
SIGMA = np.asarray([[0.5, 0.1], [1.0, 2.0]], np.float32)
PROBS = np.asarray([[0.9, 0.1], [0.25, 0.75]], np.float32)
LABELS = np.asarray([0, 1], np.int32)
SCORES = np.asarray([0.25, 0.5], np.float32)


def _not_positive(name):
    return lambda arguments: not (np.asarray(arguments[name], np.float64) >= np.finfo(np.float32).tiny).all()


def _moments(mean, m2, count=2.0):
    return fn.Moments(jnp.float32(count), mean, m2)


FUNCTIONAL = {
    "Moments": Entry(
        lambda count, mean, m2, value: fn.update_moments(fn.Moments(count, mean, m2), value),
        {"count": jnp.float32(2.0), "mean": MU, "m2": SIGMA, "value": MU},
        may_be_nan=lambda arguments: np.any(np.asarray(arguments["count"]) == -1),
    ),
    "PrecisionStep": Entry(fn.PrecisionStep, {"rho": MU, "sigma": SIGMA}, fixed=("rho", "sigma")),
    "ScaleStep": Entry(fn.ScaleStep, {"change": MU, "sigma": SIGMA}, fixed=("change", "sigma")),
    "categorical_log_likelihood": Entry(fn.categorical_log_likelihood, {"outputs": MU, "y": LABELS}),
    "empty_moments": Entry(fn.empty_moments, {"shape": (2,), "dtype": jnp.float32}),
    "entropy": Entry(fn.entropy, {"log_probs": np.log(PROBS)}),
    "entropy_of_probs": Entry(fn.entropy_of_probs, {"probs": PROBS}),
    "gaussian_kl": Entry(
        fn.gaussian_kl,
        {"mu": MU, "rho": MU, "prior_mu": 0.0, "prior_sigma": 1.0},
        may_be_nan=_not_positive("prior_sigma"),
    ),
    "gaussian_log_likelihood": Entry(
        fn.gaussian_log_likelihood, {"outputs": MU, "y": MU, "sigma": 0.5}, may_be_nan=_not_positive("sigma")
    ),
    "gaussian_log_prob": Entry(
        fn.gaussian_log_prob,
        {"x": MU, "mu": MU, "sigma": SIGMA, "log_sigma": np.log(SIGMA)},
        may_be_nan=_not_positive("sigma"),
    ),
    "heteroscedastic_log_likelihood": Entry(fn.heteroscedastic_log_likelihood, {"outputs": MU, "y": MU[:, :1]}),
    "heteroscedastic_nll": Entry(fn.heteroscedastic_nll, {"outputs": MU, "y": MU[:, :1]}),
    "log_sigma": Entry(fn.log_sigma, {"rho": MU}),
    "mean_squared_error": Entry(fn.mean_squared_error, {"outputs": MU, "y": MU}),
    "mean_step": Entry(
        fn.mean_step, {"gradient": MU, "sigma": SIGMA, "learning_rate": 0.1, "limit": 0.5}, may_be_nan=is_large
    ),
    "merge_moments": Entry(
        lambda mean, m2: fn.merge_moments(_moments(mean, m2), _moments(MU, SIGMA)),
        {"mean": MU, "m2": SIGMA},
        {"mean": "a|b"},
    ),
    "precision_step": Entry(
        fn.precision_step, {"rho": MU, "gradient": MU, "rate": 0.1, "limit": 0.5}, may_be_nan=is_large
    ),
    "scale_step": Entry(
        fn.scale_step, {"sigma": SIGMA, "gradient": MU, "rate": 0.1, "limit": 0.5}, may_be_nan=is_large
    ),
    "relu_moments": Entry(fn.relu_moments, {"mean": MU, "var": SIGMA}),
    "reparameterize": Entry(fn.reparameterize, {"mu": MU, "sigma": SIGMA, "noise": MU}),
    "rho_from_sigma": Entry(fn.rho_from_sigma, {"sigma": SIGMA}, may_be_nan=_not_positive("sigma")),
    "sigma_from_rho": Entry(fn.sigma_from_rho, {"rho": MU}),
    "split_mean_variance": Entry(fn.split_mean_variance, {"outputs": MU}),
    "update_moments": Entry(
        lambda value: fn.update_moments(fn.empty_moments((2, 2), jnp.float32), value), {"value": MU}
    ),
    "variance": Entry(lambda m2: fn.variance(_moments(MU, m2)), {"m2": SIGMA}),
    "variance_from_raw": Entry(fn.variance_from_raw, {"raw_var": MU}),
}

METRICS = {
    "Reliability": Entry(
        lambda confidence, accuracy, count: metrics.Reliability(confidence, accuracy, count, SCORES).error,
        {"confidence": SCORES, "accuracy": SCORES, "count": LABELS},
        fixed=("confidence", "accuracy", "count"),
    ),
    "RiskCoverage": Entry(
        lambda coverage, risk: metrics.RiskCoverage(coverage, risk).area,
        {"coverage": SCORES, "risk": SCORES},
        fixed=("coverage", "risk"),
    ),
    "auroc": Entry(metrics.auroc, {"scores": SCORES, "is_positive": LABELS > 0}, may_be_nan=lambda arguments: True),
    "brier_score": Entry(metrics.brier_score, {"prediction": PROBS, "y": LABELS}),
    "crps": Entry(lambda mean, var, y: metrics.crps((mean, var), y), {"mean": MU, "var": SIGMA, "y": MU}),
    "crps_from_draws": Entry(metrics.crps_from_draws, {"draws": MU, "y": SCORES, "fair": True}),
    # The documentation says that this is NaN if all predictions are right, or all are wrong.
    "error_auroc": Entry(
        metrics.error_auroc,
        {"prediction": PROBS, "y": np.zeros(2, np.int32), "scores": SCORES},
        may_be_nan=lambda arguments: True,
    ),
    "expected_calibration_error": Entry(
        metrics.expected_calibration_error, {"prediction": PROBS, "y": LABELS, "bins": 2, "binning": "mass"}
    ),
    "interval_coverage": Entry(
        lambda mean, var, y, level: metrics.interval_coverage((mean, var), y, level=level),
        {"mean": MU, "var": SIGMA, "y": MU, "level": 0.5},
    ),
    "interval_width": Entry(
        lambda prediction, level: metrics.interval_width(prediction, level=level),
        {"prediction": (MU, SIGMA), "level": 0.5},
    ),
    "negative_log_likelihood": Entry(metrics.negative_log_likelihood, {"prediction": PROBS, "y": LABELS}),
    "ood_auroc": Entry(metrics.ood_auroc, {"seen": SCORES, "unseen": SCORES}, may_be_nan=lambda arguments: True),
    "reliability": Entry(
        lambda prediction, y, bins: metrics.reliability(prediction, y, bins=bins).count,
        {"prediction": PROBS, "y": LABELS, "bins": 2},
    ),
    "risk_coverage": Entry(metrics.risk_coverage, {"scores": SCORES, "losses": SCORES}),
}
CONFORMAL = {
    "conformal_quantile": Entry(conformal.conformal_quantile, {"scores": MU, "level": 0.5}, {"level": "level|data"}),
    "split": Entry(
        lambda mean, var, y, normalized, level: conformal.split((mean, var), y, normalized=normalized).interval(
            (mean, var), level
        ),
        {"mean": MU, "var": SIGMA, "y": MU, "normalized": True, "level": 0.5},
        {"mean": "prediction|mean|the variance", "var": "prediction|variance", "level": "level|data"},
        may_be_nan=is_large,
    ),
    "cqr": Entry(
        lambda lower, upper, y, level: conformal.cqr((lower, upper), y).interval((lower, upper), level),
        {"lower": MU, "upper": MU, "y": MU, "level": 0.5},
        {"lower": "bounds|mean", "upper": "bounds", "level": "level|data"},
        may_be_nan=is_large,
    ),
    "aps": Entry(
        lambda prediction, y, noise, level: conformal.aps(prediction, y, noise=noise).sets(
            prediction, level, noise=SCORES
        ),
        {"prediction": PROBS, "y": LABELS, "noise": SCORES, "level": 0.5},
        {"noise": "noise", "level": "level|data"},
    ),
    "raps": Entry(
        conformal.raps,
        {"prediction": PROBS, "y": LABELS, "penalty": 0.1, "free_classes": 1, "key": jax.random.key(0)},
        may_be_nan=is_large,
    ),
}
ENTRIES = FUNCTIONAL | METRICS | CONFORMAL
