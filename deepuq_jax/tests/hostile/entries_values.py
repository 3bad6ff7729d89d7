"""How likelihoods, priors and rules are constructed, and how their methods are called."""

import jax
import jax.numpy as jnp
import numpy as np

import deepuq_jax as dq
from deepuq_jax.tests.hostile.entry import Entry, Made, is_large

KEY = jax.random.key(0)
OUTPUTS = np.asarray([[0.5, -1.0], [2.0, 0.25]], np.float32)
THREE = np.asarray([[0.5, -1.0, 1.0], [2.0, 0.25, 0.0]], np.float32)
COUNTS = np.asarray([[0, 1], [2, 3]], np.int32)
LABELS = np.asarray([0, 1], np.int32)
POSITIVE = np.asarray([[0.5, 1.0], [2.0, 0.25]], np.float32)
MASK = np.asarray([True, False])

# name -> (likelihood, outputs, targets)
LIKELIHOODS = {
    "Bernoulli": (dq.Bernoulli(), OUTPUTS, COUNTS % 2),
    "Categorical": (dq.Categorical((1.0, 2.0), 0.1), OUTPUTS, LABELS),
    "Gaussian": (dq.Gaussian(0.5), OUTPUTS, OUTPUTS),
    "HeteroscedasticGaussian": (dq.HeteroscedasticGaussian(), OUTPUTS, OUTPUTS[:, :1]),
    "HomoscedasticGaussian": (dq.HomoscedasticGaussian(), OUTPUTS, OUTPUTS[:, :1]),
    "LogNormal": (dq.LogNormal(0.5), OUTPUTS, POSITIVE),
    "Masked": (dq.Masked(dq.Gaussian(0.5)), OUTPUTS, OUTPUTS),
    "NegativeBinomial": (dq.NegativeBinomial(0.5), OUTPUTS, COUNTS),
    "Poisson": (dq.Poisson(), OUTPUTS, COUNTS),
    "StudentT": (dq.StudentT(), THREE, OUTPUTS[:, :1]),
    "Weighted": (dq.Weighted(dq.Gaussian(0.5)), OUTPUTS, OUTPUTS),
}
NUMBERS = {
    "Categorical": (dq.Categorical, {"class_weights": (1.0, 2.0), "label_smoothing": 0.1}),
    "Gaussian": (dq.Gaussian, {"sigma": 0.5}),
    "LogNormal": (dq.LogNormal, {"sigma": 0.5}),
    "Masked": (dq.Masked, {"likelihood": dq.Gaussian(0.5)}),
    "NegativeBinomial": (dq.NegativeBinomial, {"dispersion": 0.5}),
    "Weighted": (dq.Weighted, {"likelihood": dq.Gaussian(0.5)}),
}
PRIORS = {
    "EmpiricalGaussianPrior": (dq.EmpiricalGaussianPrior, {"mu": 0.0}),
    "GaussianPrior": (dq.GaussianPrior, {"mu": 0.0, "sigma": 0.5}),
    "LaplacePrior": (dq.LaplacePrior, {"mu": 0.0, "scale": 0.5}),
    "LearnedPrior": (dq.LearnedPrior, {"prior": dq.GaussianPrior(0.0, 0.5)}),
    "ScaleMixturePrior": (dq.ScaleMixturePrior, {"pi": 0.5, "sigma1": 1.0, "sigma2": 0.1}),
    "StudentTPrior": (dq.StudentTPrior, {"df": 4.0, "mu": 0.0, "scale": 0.5}),
}


def _log_prob(likelihood):
    """Return a call of `log_prob`. A likelihood whose targets are pairs also takes the second part, `factor`."""
    return lambda outputs, y, factor=None: likelihood.log_prob(outputs, y if factor is None else (y, factor))


def _methods(name):
    likelihood, outputs, y = LIKELIHOODS[name]
    factor = {"Masked": {"factor": MASK}, "Weighted": {"factor": POSITIVE[:, 0]}}.get(name, {})
    words = {"factor": "the mask|the weights|the second part", "outputs": "outputs|class_weights"}
    yield "log_prob", Entry(_log_prob(likelihood), {"outputs": outputs, "y": y, **factor}, words, may_be_nan=is_large)
    yield "moments", Entry(likelihood.moments, {"outputs": outputs})
    yield "sample", Entry(likelihood.sample, {"outputs": outputs, "key": KEY})
    if likelihood.task == "regression":
        points = np.asarray(likelihood.of_targets().moments(outputs)[0])
        yield "cdf", Entry(likelihood.cdf, {"outputs": outputs, "t": points})
        if not likelihood.is_discrete:  # The special functions of counts take minutes for hostile numbers.
            yield "interval", Entry(likelihood.interval, {"outputs": outputs, "level": 0.5}, {"level": "level|p"})


def _density(kind, arguments):
    def call(w, **options):
        prior = kind(**options).resolve(OUTPUTS, OUTPUTS)
        return prior.log_prob(w), prior.kl(w, w) if prior.has_closed_form_kl else None

    return Entry(call, {"w": OUTPUTS, **arguments}, may_be_nan=is_large)


ENTRIES = {
    **{f"{name}.{method}": entry for name in LIKELIHOODS for method, entry in _methods(name)},
    **{name: Entry(kind, arguments) for name, (kind, arguments) in NUMBERS.items()},
    **{name: Entry(kind, arguments) for name, (kind, arguments) in PRIORS.items()},
    **{f"{name}.log_prob": _density(kind, arguments) for name, (kind, arguments) in PRIORS.items()},
    "UnknownNoise": Entry(
        lambda outputs, y: dq.UnknownNoise().criterion(outputs, y), {"outputs": OUTPUTS, "y": OUTPUTS}
    ),
    "by_path": Entry(
        lambda priors: dq.by_path(priors)("kernel", jnp.zeros((2, 2))),
        {"priors": Made(lambda: {"*": dq.GaussianPrior()})},
        {"priors": "priors|prior of|pattern|by_path"},
    ),
    "fan_in_gaussian": Entry(
        lambda gain, out_axis: dq.fan_in_gaussian(gain, out_axis=out_axis)("kernel", jnp.zeros((2, 2))),
        {"gain": 1.0, "out_axis": -1},
    ),
}
