"""A Bayesian head over the features of any network.

Source of the idea: Harrison, Willes & Snoek 2024, arXiv 2404.11599.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from flax import nnx
from jax import Array

from deepuq_jax._arguments import check_choice
from deepuq_jax._checks import check_flag, check_size, expected
from deepuq_jax.adapters import is_foreign, take_apart
from deepuq_jax.adapters.module import PlainModule
from deepuq_jax.layers.frozen import FixedNet, Frozen
from deepuq_jax.layers.heteroscedastic import HeteroscedasticOutputs
from deepuq_jax.layers.linear import BayesianLinear
from deepuq_jax.layers.options import LayerOptions
from deepuq_jax.layers.sequential import Sequential
from deepuq_jax.likelihoods import Categorical, HeteroscedasticGaussian, UnknownNoise
from deepuq_jax.likelihoods.base import Likelihood, Task, as_likelihood
from deepuq_jax.model.base import BaseModel
from deepuq_jax.model.state import Stateful, apply_to_copy, with_streams
from deepuq_jax.model.structure import bayesian_nodes, is_bayesian, refuse_tied
from deepuq_jax.priors.rules import below


class LastLayerVariationalInference(Stateful, BaseModel, HeteroscedasticOutputs, nnx.Module):
    """A Bayesian affine head over deterministic features.

    y = features(x) W + b,  W, b ~ q(w) = N(mu, softplus(rho)^2)

    The KL includes only the head. Unless it is `frozen`, a feature extractor that is a network is trained together with
    the head: its parameters are ordinary parameters without a prior, its state (BatchNorm statistics, dropout streams)
    is carried, and a Flax NNX module is held as it is, not copied. Features without dropout are the same in every draw,
    so `predict_vi_uq` computes them once per batch of inputs.

    Args:
        feature_extractor: maps x to [..., feature_dim]: a network as `bayesianize` takes it (a Flax NNX or Equinox
            module, a pair of a Linen module and its variables, a pair (apply, params)), or any other callable.
        feature_dim: size of the last axis of the features, a positive int.
        output_dim: number of targets or classes, a positive int.
        task: "regression" or "classification".
        heteroscedastic: also predict a raw variance per target; no effect in classification.
        likelihood: `Gaussian(sigma)` if the noise of a regression is known. The default follows from the task. In a
            heteroscedastic regression, the argument must be None.
        frozen: keep a copy of the extractor, always in evaluation mode, and do not train it.
        prior, estimator, kernel_init, sigma_init, param_dtype, dtype, rngs: options of the head, as in
            `BayesianLinear`.
    Raises:
        ValueError: the task is unknown; the likelihood belongs to another task, or is passed with heteroscedastic=True
            in regression; the extractor has Bayesian layers (their KL would not count) or tied layers; or the size of
            the features differs from `feature_dim`.
        TypeError: the extractor cannot be called.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> backbone = nnx.Sequential(nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nnx.relu)
    >>> model = LastLayerVariationalInference(backbone, 8, 3, task="classification", rngs=nnx.Rngs(1))
    >>> model(jnp.ones((5, 4)), key=jax.random.key(2)).shape
    (5, 3)
    """

    def __init__(
        self,
        feature_extractor: Callable[..., Any],
        feature_dim: int,
        output_dim: int,
        task: str = "regression",
        heteroscedastic: bool = False,
        *,
        likelihood: Any = None,
        frozen: bool = False,
        rngs: nnx.Rngs,
        **options: Unpack[LayerOptions],
    ):
        check_flag("heteroscedastic", heteroscedastic)
        named_likelihood = _likelihood(_checked_task(task), heteroscedastic, likelihood)
        if is_foreign(feature_extractor):
            feature_extractor = PlainModule(take_apart(feature_extractor))
        _check_extractor(feature_extractor)
        self.feature_dim: int = check_size("feature_dim", feature_dim)
        self.output_dim: int = check_size("output_dim", output_dim)
        self.heteroscedastic: bool = bool(heteroscedastic) and task == "regression"
        self.likelihood: Any = nnx.static(named_likelihood)
        if frozen and isinstance(feature_extractor, nnx.Module):
            feature_extractor = Frozen(feature_extractor)
        self.feature_extractor = feature_extractor
        raw_output_dim = self.output_dim * (2 if self.heteroscedastic else 1)
        if "prior" in options:
            options["prior"] = below(options["prior"], "head")
        self.head: BayesianLinear = BayesianLinear(self.feature_dim, raw_output_dim, rngs=rngs, **options)
        refuse_tied(self)

    def _forward(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Array:
        """Return outputs [..., output_dim], or [..., 2 output_dim] if heteroscedastic."""
        return self.head(self.features(x, key=key), key=key, noise=noise)

    def features(self, x: Any, *, key: Array | None = None) -> Array:
        """Return the output of the feature extractor, [..., feature_dim].

        `key` drives the dropout of extractors from other libraries, such as Linen and Equinox.

        Raises:
            ValueError: the last axis has another size.
        """
        extractor = self.feature_extractor
        features = extractor(x, key=key) if isinstance(extractor, PlainModule) else extractor(x)
        if getattr(features, "ndim", 0) < 1 or features.shape[-1] != self.feature_dim:
            what = f"to return shape [..., {self.feature_dim}], feature_dim last"
            raise ValueError(expected("feature_extractor", what, features))
        return features

    def propagate(self, mean: Any, var: Array | None = None) -> tuple[Array, Array]:
        """Compute the outputs' mean and variance over the head's weights.

        The moments are exact, since the features are deterministic.

        Raises:
            ValueError: `var` is not None.
        """
        if var is not None:
            raise ValueError(expected("var", "to be None: an extractor takes inputs without a variance", var))
        return self.head.propagate(self.features(mean))

    def draw_noise(self, x: Any, *, key: Array) -> Any:
        """Draw the noise of the head in `model(x, key=key)`.

        Dropout is not part of this noise.
        """
        return apply_to_copy(lambda model: model.head.draw_noise(model.features(x, key=key), key=key), self, key)[0]

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether the head's KL has a closed form."""
        return self.head.has_closed_form_kl

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """Return the head's KL(q || p) in nats.

        Without a closed form, the KL is estimated at the weights that `key` (or `noise`) draws.
        """
        return self.head.kl(key, noise=noise)

    def draw(self, *, key: Array) -> Sequential:
        """Fix head and extractor at a single draw."""
        head = self.head.draw(key=key)
        extractor = with_streams(self, key).feature_extractor
        if isinstance(extractor, PlainModule):
            extractor = extractor.draw(key=key)
        elif isinstance(extractor, nnx.Module):
            extractor = FixedNet(extractor)
        return Sequential(extractor, head, likelihood=self.likelihood)

    def split_prediction(self, prediction: Array) -> tuple[Array, Array]:
        """Split outputs into means and raw variances.

        Raises:
            RuntimeError: the model is not heteroscedastic.
        """
        self._need_noise("split_prediction")
        return super().split_prediction(prediction)

    def nll(self, prediction: Array, target: Array) -> Array:
        """Compute Deep-UQ's Gaussian negative log likelihood, a scalar.

        1/2 ((y - m)^2 / v + log v), as in `HeteroscedasticOutputs.nll`.

        Raises:
            RuntimeError: the model is not heteroscedastic.
        """
        self._need_noise("nll")
        return super().nll(prediction, target)

    def _need_noise(self, method: str) -> None:
        if not self.heteroscedastic:
            raise RuntimeError(expected("the model", f"to be heteroscedastic for {method}", "heteroscedastic=False"))


def _check_extractor(feature_extractor: Any) -> None:
    if not callable(feature_extractor):
        raise TypeError(expected("feature_extractor", "to be a callable", feature_extractor))
    if is_bayesian(feature_extractor) or bayesian_nodes(feature_extractor):
        what = "without Bayesian layers, whose KL would not count (a Sequential counts them)"
        raise ValueError(expected("feature_extractor", what, type(feature_extractor).__name__))


def _checked_task(task: str) -> Task:
    check_choice("task", task, ("regression", "classification"))
    return "classification" if task == "classification" else "regression"


def _likelihood(task: Task, heteroscedastic: bool, likelihood: Any) -> Likelihood:
    """Resolve the likelihood from task and caller's choice."""
    predicts_noise = heteroscedastic and task == "regression"
    if likelihood is None:
        if task == "classification":
            return Categorical()
        return HeteroscedasticGaussian() if predicts_noise else UnknownNoise()
    if predicts_noise:
        raise ValueError(expected("likelihood", "to be None with heteroscedastic=True", likelihood))
    likelihood = as_likelihood(likelihood, task=task)
    if likelihood.task != task:
        raise ValueError(expected("likelihood", f"of task {task!r}", likelihood))
    return likelihood
