"""The classes of the library that a file may name."""

from __future__ import annotations

from flax import nnx

from deepuq_jax import layers, likelihoods, priors
from deepuq_jax.layers.activations import Activation
from deepuq_jax.layers.homoscedastic import LearnedNoise
from deepuq_jax.layers.student_t_noise import LearnedStudentTNoise
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.likelihoods.rescaled import Rescaled
from deepuq_jax.priors.base import OwnPrior, Prior
from deepuq_jax.priors.learned import LearnedPrior
from deepuq_jax.saving._affine import AffineCodec
from deepuq_jax.saving._codec import FUNCTION, Place
from deepuq_jax.saving._dataclasses import DataclassCodec, LearnedPriorCodec, OwnPriorCodec
from deepuq_jax.saving._flax import DropoutCodec, EmbedCodec, FlaxCodec, StackCodec
from deepuq_jax.saving._functions import FUNCTIONS, ActivationCodec, FunctionCodec
from deepuq_jax.saving._last_layer import LastLayerCodec, StandardizedCodec
from deepuq_jax.saving._layout import AS_IS, KERNEL
from deepuq_jax.saving._networks import LearnedNoiseCodec, MLPCodec, SequentialCodec
from deepuq_jax.saving._registry import Registry
from deepuq_jax.standardized import Standardized

# The arguments of Flax layers that a file keeps, and the place of their kernels.
_CONV = (
    *("in_features", "out_features", "kernel_size", "strides", "padding", "input_dilation", "kernel_dilation"),
    *("feature_group_count", "use_bias", "dtype", "param_dtype"),
)
_NORM = ("num_features", "epsilon", "dtype", "param_dtype", "use_bias", "use_scale", "axis_name", "use_fast_variance")
_BATCH_NORM = (*_NORM, "use_running_average", "axis", "momentum")
_LAYER_NORM = (*_NORM, "reduction_axes", "feature_axes")
_LINEAR = ("in_features", "out_features", "use_bias", "dtype", "param_dtype")
_EMBED = ("num_embeddings", "features", "dtype", "param_dtype")
_DROPOUT = ("rate", "broadcast_dims", "deterministic", "rng_collection")
_WEIGHT = Place("kernel", "weight", KERNEL)

_BAYESIAN_CONV = (
    *("in_features", "out_features", "kernel_size", "strides", "padding", "kernel_dilation", "feature_group_count"),
)
_LATER_REGRESSORS = (
    layers.HeteroscedasticBayesByBackpropRegressor,
    layers.HeteroscedasticMultiOutputBayesByBackpropRegressor,
    layers.HomoscedasticBayesByBackpropRegressor,
)


def known_classes() -> Registry:
    """Return a registry of the classes of the library."""
    registry = Registry()
    registry.functions.update(FUNCTIONS)
    registry.by_name[FUNCTION] = FunctionCodec(registry.functions)
    registry.add(ActivationCodec(), Activation)
    _add_values(registry)
    _add_layers(registry)
    _add_flax(registry)
    return registry


def _add_values(registry: Registry) -> None:
    """Add priors and likelihoods."""
    kinds = [getattr(folder, name) for folder in (priors, likelihoods) for name in folder.__all__]
    for kind in [*kinds, Rescaled]:
        if isinstance(kind, type) and issubclass(kind, (Prior, Likelihood)):
            registry.add(DataclassCodec(kind, kind.__name__), kind)
    registry.add(LearnedPriorCodec(), LearnedPrior)
    registry.add(OwnPriorCodec(), OwnPrior)


def _add_layers(registry: Registry) -> None:
    """Add the models of this library."""
    registry.add(AffineCodec(layers.BayesianLinear, ("in_features", "out_features")), layers.BayesianLinear)
    registry.add(AffineCodec(layers.BayesianConv, _BAYESIAN_CONV), layers.BayesianConv)
    embed = AffineCodec(layers.BayesianEmbed, ("num_embeddings", "features"), has_bias=False, kernel=AS_IS)
    registry.add(embed, layers.BayesianEmbed)
    registry.add(SequentialCodec(), layers.Sequential)
    registry.add(MLPCodec(layers.BayesByBackpropMLP, is_later=False, sets_likelihood=True), layers.BayesByBackpropMLP)
    multiple = layers.MultiOutputBayesByBackpropRegressor
    registry.add(MLPCodec(multiple, is_later=True, sets_likelihood=True), multiple)
    for later in _LATER_REGRESSORS:
        registry.add(MLPCodec(later, is_later=True, sets_likelihood=False), later)
    for noise in (LearnedNoise, LearnedStudentTNoise):
        registry.add(LearnedNoiseCodec(noise), noise)
    registry.add(LastLayerCodec(), layers.LastLayerVariationalInference)
    registry.add(StandardizedCodec(), Standardized)


def _add_flax(registry: Registry) -> None:
    """Add layers of Flax."""
    registry.add(StackCodec(), nnx.Sequential)
    registry.add(FlaxCodec(nnx.Linear, "Linear", _LINEAR, (_WEIGHT,)), nnx.Linear)
    registry.add(FlaxCodec(nnx.Conv, "flax.Conv", _CONV, (_WEIGHT,)), nnx.Conv)
    registry.add(FlaxCodec(nnx.BatchNorm, "flax.BatchNorm", _BATCH_NORM), nnx.BatchNorm)
    registry.add(FlaxCodec(nnx.LayerNorm, "flax.LayerNorm", _LAYER_NORM), nnx.LayerNorm)
    registry.add(EmbedCodec(nnx.Embed, "flax.Embed", _EMBED), nnx.Embed)
    registry.add(DropoutCodec(nnx.Dropout, "flax.Dropout", _DROPOUT), nnx.Dropout)
