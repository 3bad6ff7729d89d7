"""A mark on the traced program where a layer draws its noise.

Only a traced check of independence (`deepuq_jax.model.independence`) labels layers; elsewhere nothing is marked, and no
program that runs holds a mark.
"""

from __future__ import annotations

from typing import Any

from jax.extend.core import Primitive
from jax.interpreters import ad, batching

# The identity in its first operand. The second is a parameter of the layer, which shows whether the layer's parameters
# vary over a loop or a vmap.
noise_use: Primitive = Primitive("noise_use")


def marked(label: str | None, value: Any, parameter: Any, *, is_key: bool) -> Any:
    """Mark a value as the noise of a layer, or as its weights at the means.

    Args:
        label: the label of the layer; None leaves the value unmarked.
        value: the key, or a weight at its mean.
        parameter: an array of the layer's parameters.
        is_key: whether the value is a key.
    """
    if label is None:
        return value
    return noise_use.bind(value, parameter, label=label, is_key=is_key, is_shared=False)


def _batch(values: Any, axes: Any, *, label: str, is_key: bool, is_shared: bool) -> Any:
    value_is_mapped, parameter_is_mapped = (axis is not None for axis in axes)
    is_shared = is_shared or (parameter_is_mapped and not value_is_mapped)
    return noise_use.bind(*values, label=label, is_key=is_key, is_shared=is_shared), axes[0]


def _differentiate(primals: Any, tangents: Any, **params: Any) -> Any:
    return noise_use.bind(*primals, **params), tangents[0]


noise_use.def_abstract_eval(lambda value, parameter, **params: value)
batching.primitive_batchers[noise_use] = _batch
ad.primitive_jvps[noise_use] = _differentiate
