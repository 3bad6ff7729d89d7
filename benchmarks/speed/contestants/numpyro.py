"""numpyro: SVI with an AutoNormal guide, and an ELBO with the KL in closed form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.speed.contestant import Contestant, Predictor, Setting, Trainer, load
from benchmarks.speed.contestants import jax_parts as parts
from benchmarks.speed.workloads import POSTERIOR_SIGMA, PRIOR_SIGMA, Network, Predict, Train

PACKAGE = MODULE = "numpyro"


def _names(network: Network) -> list[tuple[str, str]]:
    return [(f"kernel{i}", f"bias{i}") for i in range(len(network.kernels))]


def _model(network: Network, setting: Setting) -> Any:
    """The network with a Gaussian prior on each tensor; a batch stands for all data."""
    numpyro, distributions = load("numpyro"), load("numpyro.distributions")

    def draw(name, like):
        prior = distributions.Normal(0.0, PRIOR_SIGMA).expand(like.shape).to_event(like.ndim)
        return numpyro.sample(name, prior)

    def model(x, y=None):
        pairs = zip(_names(network), network.means(), strict=True)
        weights = [(draw(a, kernel), draw(b, bias)) for (a, b), (kernel, bias) in pairs]
        outputs = parts.forward(weights, x, setting)
        if y is None:
            return numpyro.deterministic("prediction", parts.prediction_of(network, outputs))
        numpyro.factor("data", network.num_data * parts.log_likelihood(network, outputs, y))

    return model


def _guide(network: Network, model: Any) -> Any:
    start = {
        name: value
        for names, layer in zip(_names(network), parts.means(network), strict=True)
        for name, value in zip(names, layer, strict=True)
    }
    infer = load("numpyro.infer")
    return load("numpyro.infer.autoguide").AutoNormal(
        model, init_loc_fn=infer.init_to_value(values=start), init_scale=POSTERIOR_SIGMA
    )


def _svi(work: Train, setting: Setting) -> tuple[Any, Any]:
    infer = load("numpyro.infer")
    model = _model(work.network, setting)
    elbo = infer.TraceMeanField_ELBO(num_particles=work.mc_samples)
    svi = infer.SVI(model, _guide(work.network, model), parts.OPTIMIZER, elbo)
    x, y = parts.data(work)
    return svi, svi.init(jax.random.key(0), x[: work.batch], y[: work.batch])


def _step(svi: Any, work: Train) -> Any:
    def step(state, x, y, key):  # `key` is unused, since the state holds a key
        state, loss = svi.update(state, x, y)
        return state, loss / work.network.num_data

    return step


def _train_call(work: Train, setting: Setting) -> Trainer:
    svi, state = _svi(work, setting)
    return parts.loop(jax.jit(_step(svi, work)), state, work)


def _train_scanned(work: Train, setting: Setting) -> Trainer:
    svi, state = _svi(work, setting)
    return parts.scanned(parts.epoch_of(_step(svi, work), work), state, work)


def _predict(work: Predict, setting: Setting) -> Predictor:
    infer = load("numpyro.infer")
    model = _model(work.network, setting)
    guide, x, keys = _guide(work.network, model), parts.inputs(work), parts.key_cycle()
    svi = infer.SVI(model, guide, parts.OPTIMIZER, infer.Trace_ELBO())
    params = svi.get_params(svi.init(jax.random.key(0), x))
    at_once = work.network.size < parts.FEW_WEIGHTS
    predictive = infer.Predictive(
        model, guide=guide, params=params, num_samples=work.draws, return_sites=("prediction",), parallel=at_once
    )

    @jax.jit
    def predict(key, x):
        draws = predictive(key, x)["prediction"]
        return draws.mean(axis=0), jnp.var(draws, axis=0)

    return lambda: predict(next(keys), x)


def contestants() -> list[Contestant]:
    """SVI with one call per step and scanned; Predictive, jitted."""
    return [
        Contestant(PACKAGE, "SVI, one call per step", "jax", "call", _train_call),
        Contestant(PACKAGE, "SVI, scanned", "jax", "scanned", _train_scanned),
        Contestant(PACKAGE, "Predictive, jitted", "jax", "scanned", predict=_predict),
    ]
