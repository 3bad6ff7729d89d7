"""How models are constructed, trained, used for predictions, and saved."""

import os
import tempfile

import jax
import numpy as np
import optax
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.tests.hostile.entry import Entry, Made, is_large
from deepuq_jax.training import schedules

KEY = jax.random.key(0)
X = np.asarray([[0.5, -1.0], [2.0, 0.25]], np.float32)
Y = np.asarray([[0.5], [-1.0]], np.float32)
SGD = optax.sgd(0.1)
RNGS = Made(lambda: nnx.Rngs(0))
MODEL = Made(lambda: regressor())
DATA = {"model": MODEL, "x": X, "y": Y, "key": KEY}
MODEL_WORDS = "model|the data|every part|x|net"


def regressor():
    return dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0))


def gaussian():
    return dq.Gaussian(0.5)


def with_noise():
    return dq.BayesByBackpropMLP(2, (), 1, likelihood=gaussian(), rngs=nnx.Rngs(0))


def network():
    return nnx.Linear(2, 1, rngs=nnx.Rngs(0))


def _save(model, metadata):
    with tempfile.TemporaryDirectory() as folder:
        dq.save(os.path.join(folder, "model"), model, metadata=metadata)


def _export(model, x, n_samples, level, batch_size):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        options = {"n_samples": n_samples, "level": level, "batch_size": batch_size}
        dq.export(model, path, x, key=KEY, platforms=["cpu"], **options)


def _step(x, y, key, optimizer):
    state = dq.TrainState.create(with_noise(), SGD)
    return dq.train_step(state, x, y, key=key, objective=dq.ELBO(2), optimizer=optimizer)


def _epoch(x, y, key, batch_size):
    state = dq.TrainState.create(with_noise(), SGD)
    return dq.train_epoch(state, x, y, key=key, optimizer=SGD, batch_size=batch_size)


SIZES = {"hidden_dims": (2,), "rngs": RNGS}
MADE = {
    "BayesByBackpropMLP": Entry(
        dq.BayesByBackpropMLP,
        {
            "input_dim": 2,
            **SIZES,
            "output_dim": 1,
            "prior": dq.GaussianPrior(),
            "activation": "relu",
            "sigma_init": 0.1,
        },
        {"prior": "prior|rule", "activation": "activation"},
    ),
    "BayesianLinear": Entry(
        dq.BayesianLinear,
        {
            "in_features": 2,
            "out_features": 1,
            "prior": dq.GaussianPrior(),
            "use_bias": True,
            "sigma_init": 0.1,
            "estimator": dq.weight_sampling,
            "rngs": RNGS,
        },
        {"prior": "prior|rule"},
    ),
    "BayesianConv": Entry(
        dq.BayesianConv, {"in_features": 2, "out_features": 1, "kernel_size": (2,), "strides": 1, "rngs": RNGS}
    ),
    "BayesianEmbed": Entry(dq.BayesianEmbed, {"num_embeddings": 2, "features": 1, "rngs": RNGS}),
    **{
        name: Entry(
            getattr(dq, name),
            {"input_dim": 2, "hidden_dims": (2,), "output_dim": 1, "prior": dq.GaussianPrior(), "rngs": RNGS},
            {"prior": "prior|rule"},
        )
        for name in (
            "BayesByBackpropRegressor",
            "HeteroscedasticBayesByBackpropRegressor",
            "HeteroscedasticMultiOutputBayesByBackpropRegressor",
            "HomoscedasticBayesByBackpropRegressor",
            "MultiOutputBayesByBackpropRegressor",
        )
    },
    "LastLayerVariationalInference": Entry(
        lambda **options: dq.LastLayerVariationalInference(network(), **options),
        {"feature_dim": 1, "output_dim": 1, "task": "regression", "heteroscedastic": False, "rngs": RNGS},
    ),
    "LearnedNoise": Entry(dq.LearnedNoise, {"output_dim": 1}),
    "LearnedStudentTNoise": Entry(dq.LearnedStudentTNoise, {"output_dim": 1}),
    "Sequential": Entry(
        lambda *layers, likelihood: dq.Sequential(regressor(), likelihood=likelihood), {"likelihood": None}
    ),
    "MeanField": Entry(
        lambda mu, rho: dq.MeanField(mu, rho).kl(dq.GaussianPrior()), {"mu": X, "rho": X}, may_be_nan=is_large
    ),
    "bayesianize": Entry(
        dq.bayesianize,
        {
            "net": Made(network),
            "where": "all",
            "rest": "trained",
            "sigma": 0.1,
            "prior": dq.GaussianPrior(),
            "centred": False,
        },
        {"prior": "prior|rule", "net": "net|model|network"},
    ),
    "relative": Entry(
        lambda factor, floor: dq.relative(factor, floor=floor)("kernel", X), {"factor": 0.1, "floor": 1e-3}
    ),
    "moped": Entry(dq.moped, {"net": Made(network), "delta": 0.1, "floor": 1e-3}, {"net": "net|model|network"}),
    "ELBO": Entry(
        dq.ELBO, {"num_data": 2, "kl_weight": 1.0, "log_likelihood": gaussian(), "mc_samples": 1, "antithetic": False}
    ),
    "DocumentedELBO": Entry(
        dq.DocumentedELBO, {"num_batches": 2, "kl_weight": 1.0, "criterion": gaussian().criterion, "mc_samples": 1}
    ),
    "natural_gradient": Entry(
        dq.natural_gradient,
        {"learning_rate": 0.1, "num_data": 2, "beta1": 0.9, "beta2": 0.99, "mean_limit": 0.3, "precision_limit": 0.1},
    ),
    "schedules.linear": Entry(schedules.linear, {"steps": 2, "temperature": 1.0}),
}
CALLED = {
    "BayesianLinear.call": Entry(
        lambda model, x, key: model(x, key=key), {"model": MODEL, "x": X, "key": KEY}, fixed=("model",)
    ),
    "as_prior": Entry(dq.as_prior, {"model": MODEL}, {"model": MODEL_WORDS}),
    "draw": Entry(dq.draw, {"model": MODEL, "key": KEY}),
    "kl_divergence": Entry(dq.kl_divergence, {"model": MODEL, "key": KEY}),
    "partition": Entry(dq.partition, {"model": MODEL}),
    "prune": Entry(dq.prune, {"model": MODEL, "fraction": 0.5}, {"model": MODEL_WORDS}),
    "signal_to_noise_curve": Entry(dq.signal_to_noise_curve, {"model": MODEL, "points": 2}, {"model": MODEL_WORDS}),
    "negative_elbo": Entry(
        dq.negative_elbo,
        {**DATA, "num_data": 2, "log_likelihood": gaussian(), "kl_weight": 1.0, "mc_samples": 1},
        {"model": MODEL_WORDS},
    ),
    "vi_elbo_step": Entry(dq.vi_elbo_step, {**DATA, "num_batches": 2, "kl_weight": 1.0}, {"model": MODEL_WORDS}),
    "predict_vi_uq": Entry(
        dq.predict_vi_uq,
        {
            "model": MODEL,
            "x": X,
            "key": KEY,
            "n_samples": 2,
            "apply_softmax": False,
            "aleatoric_var": 0.5,
            "batch_size": 2,
            "compute_dtype": None,
        },
        {"model": MODEL_WORDS},
    ),
    "log_predictive_density": Entry(
        dq.log_predictive_density,
        {**DATA, "n_samples": 2, "log_likelihood": gaussian(), "batch_size": 2, "compute_dtype": None},
        {"model": MODEL_WORDS},
    ),
    "log_density_with_error": Entry(
        dq.log_density_with_error,
        {**DATA, "n_samples": 2, "log_likelihood": gaussian(), "batch_size": 2, "compute_dtype": None},
        {"model": MODEL_WORDS},
    ),
    "export": Entry(
        _export,
        {"model": Made(with_noise), "x": X, "n_samples": 2, "level": 0.5, "batch_size": 2},
        {"model": MODEL_WORDS},
    ),
    "save": Entry(_save, {"model": MODEL, "metadata": {"a": 1}}, {"model": MODEL_WORDS}),
    "TrainState": Entry(dq.TrainState.create, {"model": MODEL, "optimizer": SGD}, {"model": MODEL_WORDS}),
    "with_prior": Entry(
        dq.with_prior, {"model": MODEL, "prior": dq.GaussianPrior()}, {"model": MODEL_WORDS, "prior": "prior|rule"}
    ),
    "Standardized": Entry(dq.Standardized, {"model": Made(with_noise), "x": X, "y": Y}, {"model": MODEL_WORDS}),
}
TRAINED = {
    "train_step": Entry(_step, {"x": X, "y": Y, "key": KEY, "optimizer": SGD}),
    "train_epoch": Entry(_epoch, {"x": X, "y": Y, "key": KEY, "batch_size": 2}),
    "fit": Entry(
        lambda **options: dq.fit(optimizer=SGD, **options).history,
        {
            "model": Made(with_noise),
            "x": X,
            "y": Y,
            "key": KEY,
            "epochs": 1,
            "batch_size": 2,
            "patience": None,
            "compute_dtype": None,
        },
        {"model": MODEL_WORDS, "patience": "patience|validation_data", "y": "y|pair"},
    ),
    "choose_prior": Entry(
        lambda **options: dq.choose_prior(priors={"own": dq.GaussianPrior()}, optimizer=SGD, **options).scores,
        {"model": Made(with_noise), "x": X, "y": Y, "key": KEY, "held_out": 0.5, "epochs": 1, "batch_size": 1},
        {"model": MODEL_WORDS, "y": "y|pair"},
    ),
    "diagnose": Entry(
        lambda **options: dq.diagnose(**options).kl,
        {"model": Made(with_noise), "x": X, "y": Y, "key": KEY, "kl_weight": 1.0, "num_data": 2, "n_samples": 40},
        {"model": MODEL_WORDS},
    ),
}
ENTRIES = MADE | CALLED | TRAINED
