"""deepuq_jax: each estimator in three call styles, and predictions."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import deepuq_jax as dq
from benchmarks.speed.contestant import Contestant, Predictor, Setting, Style, Trainer, Unsupported
from benchmarks.speed.contestants import jax_parts as parts
from benchmarks.speed.workloads import (
    CONV_PADDING,
    CONV_STRIDE,
    NOISE_SIGMA,
    POSTERIOR_SIGMA,
    PRIOR_SIGMA,
    Network,
    Predict,
    Train,
)

PACKAGE = MODULE = "deepuq_jax"
ESTIMATORS = {
    "weight sampling": dq.weight_sampling,
    "local reparameterization": dq.local_reparameterization,
    "flipout": dq.flipout,
}


def model_of(network: Network, setting: Setting, estimator: Any = dq.weight_sampling) -> dq.Sequential:
    """Build the network with Bayesian layers, whose means are the start values."""
    if network.is_convolutional and estimator is dq.local_reparameterization:
        raise Unsupported("deepuq_jax refuses local reparameterization for a convolution, where it is not exact")
    options: dict[str, Any] = dict(prior=dq.GaussianPrior(0.0, PRIOR_SIGMA), sigma_init=POSTERIOR_SIGMA)
    options.update(estimator=estimator, dtype=jnp.bfloat16 if setting.precision == "bfloat16" else None)
    rngs, members, layers = nnx.Rngs(0), [], []
    for shape in network.kernels:
        if len(shape) == 4:
            conv = dict(strides=CONV_STRIDE, padding=CONV_PADDING)
            layer = dq.BayesianConv(shape[2], shape[3], shape[:2], **conv, rngs=rngs, **options)
        else:
            layer = dq.BayesianLinear(*shape, rngs=rngs, **options)
            members += [parts.pool] if layers and network.is_convolutional else []
        members += [layer, nnx.relu]
        layers.append(layer)
    for layer, (kernel, bias) in zip(layers, parts.means(network), strict=True):
        for held, mu in ((layer.kernel_posterior, kernel), (layer.bias_posterior, bias)):
            held.mu.set_value(mu)
    likelihood = dq.Gaussian(NOISE_SIGMA) if network.is_regression else dq.Categorical()
    return dq.Sequential(*members[:-1], likelihood=likelihood)


def _objective(work: Train) -> dq.ELBO:
    return dq.ELBO(work.network.num_data, mc_samples=work.mc_samples)


def _state(work: Train, setting: Setting, estimator: Any, optimizer: Any = parts.OPTIMIZER) -> dq.TrainState:
    return dq.TrainState.create(model_of(work.network, setting, estimator), optimizer)


def _train_scanned(work: Train, setting: Setting, *, estimator: Any, optimizer: Any = parts.OPTIMIZER) -> Trainer:
    x, y = parts.data(work)
    objective = _objective(work)

    @jax.jit
    def epoch(state, key):
        state, history = dq.train_epoch(
            state, x, y, key=key, objective=objective, optimizer=optimizer, batch_size=work.batch
        )
        return state, history.loss

    return parts.scanned(epoch, _state(work, setting, estimator, optimizer), work)


def _train_call(work: Train, setting: Setting, *, estimator: Any) -> Trainer:
    objective = _objective(work)

    @jax.jit
    def step(state, x, y, key):
        state, terms = dq.train_step(state, x, y, key=key, objective=objective, optimizer=parts.OPTIMIZER)
        return state, terms.loss

    return parts.loop(step, _state(work, setting, estimator), work)


def _train_flat(work: Train, setting: Setting, *, estimator: Any) -> Trainer:
    objective = _objective(work)
    leaves, treedef = jax.tree.flatten(_state(work, setting, estimator))

    @partial(jax.jit, donate_argnums=0)
    def step(leaves, x, y, key):
        state = jax.tree.unflatten(treedef, leaves)
        state, terms = dq.train_step(state, x, y, key=key, objective=objective, optimizer=parts.OPTIMIZER)
        return jax.tree.leaves(state), terms.loss

    # Donation frees the buffers, so each must occur once and belong to this contestant.
    return parts.loop(step, [jnp.array(leaf, copy=True) for leaf in leaves], work)


def _predict(work: Predict, setting: Setting) -> Predictor:
    model, x, keys = model_of(work.network, setting), parts.inputs(work), parts.key_cycle()

    def predict():
        result = dq.predict_vi_uq(
            model, x, key=next(keys), n_samples=work.draws, apply_softmax=not work.network.is_regression
        )
        return result.mean, result.epistemic_var

    return predict


def contestants() -> list[Contestant]:
    """Nine ways to train with Adam, one way with natural gradients, and one way to predict.

    Predictions draw weights, whatever the estimator.
    """
    styles: tuple[tuple[Style, str, Any], ...] = (
        ("scanned", "scanned epoch", _train_scanned),
        ("call", "one call per step", _train_call),
        ("flat", "one call per step, flat donated state", _train_flat),
    )
    found = [
        Contestant(PACKAGE, f"{name}, {words}", "jax", style, partial(train, estimator=estimator))
        for name, estimator in ESTIMATORS.items()
        for style, words, train in styles
    ]
    natural = partial(_train_scanned, estimator=dq.weight_sampling, optimizer=dq.natural_gradient())
    found.append(Contestant(PACKAGE, "weight sampling, natural gradients, scanned epoch", "jax", "scanned", natural))
    return [*found, Contestant(PACKAGE, "", "jax", "scanned", predict=_predict)]
