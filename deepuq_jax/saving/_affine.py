"""The Bayesian affine layers and their priors."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx

from deepuq_jax import estimators
from deepuq_jax._checks import expected
from deepuq_jax.layers.affine import AffineLayer
from deepuq_jax.model.variables import PruneMask, VariableTree, unwrap
from deepuq_jax.priors.base import Prior, as_prior
from deepuq_jax.priors.tree import PriorTree
from deepuq_jax.saving._builder import Node
from deepuq_jax.saving._codec import CLASS, Codec, Describe, Place, join
from deepuq_jax.saving._layout import AS_IS, KERNEL, Layout
from deepuq_jax.saving._registry import Registry, dtype_name

_ESTIMATORS = {name: getattr(estimators, name) for name in estimators.__all__}
_PER_TENSOR = "PriorPerTensor"
# The names of the posteriors in the model and in the file, in the order of the model's dicts.
_IN_FILE = {"bias": "bias", "kernel": "weight"}


class AffineCodec(Codec):
    """The codec of a Bayesian affine layer.

    Args:
        kind: the class, whose name is its name in the file.
        settings: the arguments of the constructor that are attributes of the layer.
        has_bias: whether the constructor takes `use_bias`.
        kernel: the layout of the kernel.
    """

    def __init__(
        self, kind: type[AffineLayer], settings: tuple[str, ...], has_bias: bool = True, kernel: Layout = KERNEL
    ):
        self.kind = kind
        self.name = kind.__name__
        self._settings = settings
        self._has_bias = has_bias
        self._kernel = kernel

    def describe(self, value: Any, path: str, describe: Describe) -> dict[str, Any]:
        """Describe sizes, prior, estimator, dtypes and mask."""
        settings = {name: describe(getattr(value, name), join(path, name)) for name in self._settings}
        if self._has_bias:
            settings["use_bias"] = value.bias_posterior is not None
        return settings | {
            "prior": _describe_prior(unwrap(value.prior), join(path, "prior"), describe),
            "estimator": _describe_estimator(value.estimator, path, describe),
            "param_dtype": dtype_name(value.kernel_posterior.mu.dtype),
            "dtype": dtype_name(value.dtype),
            "prune_mask": value.prune_mask is not None,
        }

    def build(self, node: Node) -> Any:
        """Build the layer, with the arrays of its prior from the file."""
        options: dict[str, Any] = {name: node.build(name) for name in self._settings}
        if self._has_bias:
            options["use_bias"] = node["use_bias"]
        layer: Any = self.kind(
            **options,
            prior=_build_prior(node),
            estimator=_build_estimator(node),
            param_dtype=node.dtype("param_dtype"),
            dtype=node.dtype("dtype"),
            rngs=nnx.Rngs(0),
        )
        if node["prune_mask"] is True:
            masks = {"kernel_posterior": jnp.zeros(layer.kernel_posterior.mu.shape, bool)}
            if layer.bias_posterior is not None:
                masks["bias_posterior"] = jnp.zeros(layer.bias_posterior.mu.shape, bool)
            layer.prune_mask = nnx.data(VariableTree(masks, PruneMask))
        return layer

    def places(self, value: Any, registry: Registry) -> list[Place]:
        """List the posteriors, the masks and the priors."""
        prior = unwrap(value.prior)
        of_tensors = _tensors(prior) if isinstance(prior, PriorTree) else []
        return [
            Place("kernel_posterior", "weight_posterior", self._kernel),
            Place("prune_mask.kernel_posterior", "prune_mask.weight", self._kernel),
            Place("prune_mask.bias_posterior", "prune_mask.bias"),
            *(Place(f"prior.priors.{i}", f"prior.{_IN_FILE[name]}", AS_IS) for i, name in enumerate(of_tensors)),
        ]


def _tensors(prior: PriorTree) -> list[str]:
    """List the posteriors to which the priors belong, in order."""
    names = prior.treedef.unflatten(range(prior.treedef.num_leaves))
    return sorted(names, key=names.__getitem__)


def _describe_prior(prior: Any, path: str, describe: Describe) -> Any:
    if not isinstance(prior, PriorTree):
        return describe(as_prior(prior), path)
    settings: dict[str, Any] = {CLASS: _PER_TENSOR, "weight": None, "bias": None}
    for name, one in zip(_tensors(prior), prior.priors, strict=True):
        settings[_IN_FILE[name]] = describe(one, join(path, _IN_FILE[name]))
    return settings


def _build_prior(node: Node) -> Any:
    setting = node["prior"]
    if not isinstance(setting, dict) or setting.get(CLASS) != _PER_TENSOR:
        return _checked(node.builder.value(setting))
    parts = Node(setting, node.builder)
    found = {name: parts.build(in_file) for name, in_file in _IN_FILE.items() if parts[in_file] is not None}

    def rule(path: str, leaf: Any) -> Prior:
        del leaf
        if path not in found:
            raise ValueError(expected("PriorPerTensor", f"to hold a prior of the {_IN_FILE[path]}", "null"))
        return _checked(found[path])

    return rule


def _checked(prior: Any) -> Prior:
    if not isinstance(prior, Prior):
        raise ValueError(expected("prior", "to be a prior", f"{type(prior).__name__}"))
    return prior


def _describe_estimator(estimator: Any, path: str, describe: Describe) -> Any:
    names = [name for name, known in _ESTIMATORS.items() if known == estimator and type(known) is type(estimator)]
    return names[0] if names else describe(estimator, join(path, "estimator"))


def _build_estimator(node: Node) -> Any:
    setting = node["estimator"]
    if isinstance(setting, str):
        if setting not in _ESTIMATORS:
            raise ValueError(expected("estimator", f"to be one of {', '.join(_ESTIMATORS)}", f"{setting!r:.100}"))
        return _ESTIMATORS[setting]
    return node.builder.value(setting)
