"""Methods of this library on tabular sets.

`fit` is called with nothing set. The tuned method makes its choices on a validation part of the training rows, and then
trains on all training rows. The splits of a set have equal shapes, so each program is compiled once per set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

import deepuq_jax as dq
from benchmarks.accuracy import tabular_score
from benchmarks.accuracy.tabular_data import LabelledSplit, RealSplit, labelled_validation, real_validation
from benchmarks.accuracy.uci_recipe import predict
from benchmarks.accuracy.uci_score import Draws

FIT, FIT_DEFAULT_DRAWS = "fit, nothing set", "fit, nothing set, default draws"
FIT_OWN_NOISE = "fit, nothing set, heteroscedastic"
TUNED = "deepuq_jax, tuned"
HIDDEN = (64, 64)
REGRESSORS = {
    "homoscedastic": dq.HomoscedasticBayesByBackpropRegressor,
    "heteroscedastic": dq.HeteroscedasticBayesByBackpropRegressor,
}

Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class Plan:
    """Size of the trainings.

    Attributes:
        epochs: number of epochs of `fit`; None leaves its default.
        draws: number of draws of the posterior in a prediction.
        gains: the gains of the priors `fan_in_gaussian(gain)` from which the tuned method chooses.
        members: number of networks in the ensemble.
    """

    epochs: int | None = None
    draws: int = 200
    gains: tuple[float, ...] = (2.0, 3.0, 4.0, 6.0)
    members: int = 5


QUICK = Plan(epochs=20, draws=20, gains=(2.0, 4.0), members=2)


class Found(NamedTuple):
    """Predictions at the test rows of a split.

    Attributes:
        predictions: class probabilities [m, classes], or draws in the target's units, keyed by the name of the method.
        notes: entries for the record, such as the choices that were made; or None.
    """

    predictions: dict[str, Any]
    notes: dict[str, Any] | None = None


class _Keys(NamedTuple):
    model: Array
    fit: Array
    predict: Array


def _keys(seed: int) -> _Keys:
    return _Keys(*jax.random.split(jax.random.key(seed), 3))


def fit_classifier(split: LabelledSplit, seed: int, plan: Plan) -> Found:
    """Run `fit` with nothing set; predict with many draws, and with the default number."""
    keys = _keys(seed)
    model = dq.BayesByBackpropMLP(
        split.x.shape[1], HIDDEN, split.classes, likelihood=dq.Categorical(), rngs=nnx.Rngs(keys.model)
    )
    model = _fit_labels(model, split, keys, plan)
    default = dq.predict_vi_uq(model, np.asarray(split.test_x, np.float32), key=keys.predict)
    predictions = {FIT: _probabilities(model, split, keys, plan), FIT_DEFAULT_DRAWS: np.asarray(default.probs)}
    return Found(predictions, {"draws": plan.draws, "default_draws": default.metadata["n_samples"]})


def tuned_classifier(split: LabelledSplit, seed: int, plan: Plan) -> Found:
    """Choose the prior of natural gradients by the NLL of a validation part."""
    keys, inner = _keys(seed), labelled_validation(split, seed)

    def trained_on(part: LabelledSplit, gain: float) -> np.ndarray:
        # A gain that is an array is a leaf of the priors, so all gains share a compiled program.
        model = dq.BayesByBackpropMLP(
            part.x.shape[1],
            HIDDEN,
            part.classes,
            likelihood=dq.Categorical(),
            prior=dq.fan_in_gaussian(jnp.asarray(gain)),
            rngs=nnx.Rngs(keys.model),
        )
        model = _fit_labels(model, part, keys, plan, dq.natural_gradient(initial_precision=1.0))
        return _probabilities(model, part, keys, plan)

    def nll(gain: float) -> float:
        return tabular_score.of_probabilities(trained_on(inner, gain), inner.test_y)["nll"]

    gain = _best(plan.gains, nll)
    return Found({TUNED: trained_on(split, gain)}, {"gain": gain})


def fit_homoscedastic(split: RealSplit, seed: int, plan: Plan) -> Found:
    """Run `fit` with nothing set; the noise is the same for all inputs."""
    return Found({FIT: _fit_regressor("homoscedastic", split, seed, plan)})


def fit_heteroscedastic(split: RealSplit, seed: int, plan: Plan) -> Found:
    """Run `fit` with nothing set; the noise is a function of the input."""
    return Found({FIT_OWN_NOISE: _fit_regressor("heteroscedastic", split, seed, plan)})


def tuned_regressor(split: RealSplit, seed: int, plan: Plan) -> Found:
    """Choose the noise and the prior by the NLL of a validation part."""
    keys, inner = _keys(seed), real_validation(split, seed)

    def trained_on(part: RealSplit, noise: str, gain: float) -> Draws:
        prior = dq.fan_in_gaussian(jnp.asarray(gain))
        model = REGRESSORS[noise](part.x.shape[1], HIDDEN, prior=prior, rngs=nnx.Rngs(keys.model))
        return _fit_targets(model, part, keys, plan)

    def nll(candidate: tuple[str, float]) -> float:
        return tabular_score.of_draws(trained_on(inner, *candidate), inner.test_y)["nll"]

    noise, gain = _best(product(REGRESSORS, plan.gains), nll)
    return Found({TUNED: trained_on(split, noise, gain)}, {"noise": noise, "gain": gain})


def _fit_labels(
    model: Any,
    split: LabelledSplit,
    keys: _Keys,
    plan: Plan,
    optimizer: optax.GradientTransformation | None = None,
) -> Any:
    x, y = np.asarray(split.x, np.float32), np.asarray(split.y, np.int32)
    return dq.fit(model, x, y, key=keys.fit, epochs=plan.epochs, optimizer=optimizer).model


def _probabilities(model: Any, split: LabelledSplit, keys: _Keys, plan: Plan) -> np.ndarray:
    x = np.asarray(split.test_x, np.float32)
    return np.asarray(dq.predict_vi_uq(model, x, key=keys.predict, n_samples=plan.draws).probs)


def _fit_regressor(noise: str, split: RealSplit, seed: int, plan: Plan) -> Draws:
    keys = _keys(seed)
    model = REGRESSORS[noise](split.x.shape[1], HIDDEN, rngs=nnx.Rngs(keys.model))
    return _fit_targets(model, split, keys, plan)


_predict = jax.jit(predict, static_argnames="draws")


def _fit_targets(model: Any, split: RealSplit, keys: _Keys, plan: Plan) -> Draws:
    """Train and predict, in the target's own units."""
    x, y = np.asarray(split.x, np.float32), np.asarray(split.y, np.float32)[:, None]
    model = dq.fit(model, x, y, key=keys.fit, epochs=plan.epochs).model
    mean, var = _predict(model, np.asarray(split.test_x, np.float32), keys.predict, draws=plan.draws)
    return split.in_own_units(Draws(np.asarray(mean), np.asarray(var)))


def _best(candidates: Iterable[Candidate], nll: Callable[[Candidate], float]) -> Candidate:
    """Return the candidate with the lowest validation NLL; a training with non-finite steps ranks last."""

    def score(candidate: Candidate) -> float:
        try:
            return float(np.nan_to_num(nll(candidate), nan=np.inf))
        except dq.NonFiniteError:
            return float("inf")

    return min(candidates, key=score)
