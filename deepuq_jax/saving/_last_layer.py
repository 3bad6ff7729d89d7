"""Codecs of the Bayesian head, and of models of standardized data."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepuq_jax._checks import check_size, expected
from deepuq_jax.layers.frozen import Frozen
from deepuq_jax.layers.last_layer import LastLayerVariationalInference
from deepuq_jax.layers.linear import BayesianLinear
from deepuq_jax.likelihoods import HeteroscedasticGaussian
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.saving._builder import Node
from deepuq_jax.saving._codec import Codec, Describe, Part, Place, join
from deepuq_jax.saving._registry import Registry, dtype_name
from deepuq_jax.standardized import Scaling, Standardized


class LastLayerCodec(Codec):
    """The codec of a Bayesian head over features."""

    name = "LastLayerVariationalInference"

    def describe(self, value: LastLayerVariationalInference, path: str, describe: Describe) -> dict[str, Any]:
        """Describe the task, the likelihood, the extractor and the head."""
        return {
            "feature_dim": value.feature_dim,
            "output_dim": value.output_dim,
            "task": value.likelihood.task,
            "heteroscedastic": value.heteroscedastic,
            "frozen": isinstance(value.feature_extractor, Frozen),
            "likelihood": describe(value.likelihood, join(path, "likelihood")),
            "feature_extractor": describe(_extractor(value), join(path, "feature_extractor")),
            "head": describe(value.head, join(path, "head")),
        }

    def build(self, node: Node) -> LastLayerVariationalInference:
        """Build the extractor and the head."""
        likelihood, is_heteroscedastic = node.build("likelihood"), node["heteroscedastic"]
        if is_heteroscedastic:
            if likelihood != HeteroscedasticGaussian():
                raise ValueError(expected("likelihood", "to be HeteroscedasticGaussian", type(likelihood).__name__))
            likelihood = None
        head = node.build("head")
        if type(head) is not BayesianLinear:
            raise ValueError(expected("head", "to be a BayesianLinear", type(head).__name__))
        model = LastLayerVariationalInference(
            node.build("feature_extractor"),
            node["feature_dim"],
            node["output_dim"],
            node["task"],
            is_heteroscedastic,
            likelihood=likelihood,
            frozen=node["frozen"],
            rngs=nnx.Rngs(0),
        )
        model.head = head
        return model

    def places(self, value: LastLayerVariationalInference, registry: Registry) -> list[Place]:
        """Name the arrays of a frozen extractor."""
        if not isinstance(value.feature_extractor, Frozen):
            return []
        leaves = registry.leaves(value.feature_extractor.net())
        own = "feature_extractor"
        return [Place(f"{own}.state.{i}", f"{own}.{leaf.name}", leaf.layout) for i, leaf in enumerate(leaves)]

    def parts(self, value: LastLayerVariationalInference) -> list[Part]:
        """List extractor and head."""
        own = "feature_extractor"
        return [Part(_extractor(value), own, own, (own,)), Part(value.head, "head", "head", ("head",))]


def _extractor(value: LastLayerVariationalInference) -> Any:
    extractor = value.feature_extractor
    return extractor.net() if isinstance(extractor, Frozen) else extractor


class StandardizedCodec(Codec):
    """The codec of a model of standardized data."""

    name = "Standardized"

    def describe(self, value: Standardized, path: str, describe: Describe) -> dict[str, Any]:
        """Describe the model inside, and the likelihood."""
        return {
            "features": value.x_mean.shape[0],
            "likelihood": describe(value.likelihood, join(path, "likelihood")),
            "scaling_dtype": dtype_name(value.x_mean.dtype),
            "model": describe(value.model, join(path, "model")),
        }

    def build(self, node: Node) -> Standardized:
        """Build the model; its scaling is filled in later."""
        features = check_size("features", node["features"])
        likelihood = node.build("likelihood")
        if not isinstance(likelihood, Likelihood):
            raise ValueError(expected("likelihood", "to be a likelihood", type(likelihood).__name__))
        x = np.broadcast_to(np.zeros((), np.float32), (1, features))
        model = Standardized(node.build("model"), x, np.zeros((1, 1), np.float32))
        scaling = jnp.zeros(features, node.dtype("scaling_dtype"))
        model.x_mean, model.x_std = Scaling(scaling), Scaling(scaling)
        model.likelihood = nnx.static(likelihood)
        return model

    def parts(self, value: Standardized) -> list[Part]:
        """List the model inside."""
        return [Part(value.model, "model", "model", ("model",))]
