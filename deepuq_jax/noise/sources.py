"""Sources of noise for the draws of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_key, check_one_of, expected
from deepuq_jax._pytree import register
from deepuq_jax.noise.normal import draw_key


class Draw(NamedTuple):
    """Noise of one draw, as arguments of a model's call.

    At most one of the two fields is set.
    """

    key: Array | None = None
    noise: Any = None


class NoiseSource(Protocol):
    """A source of numbered noise draws."""

    def of_draw(self, i: int | Array, model: Any, x: Any) -> Draw:
        """Return the noise of draw `i` for `model(x)`."""
        ...


@register()
@dataclass(frozen=True)
class FromKey:
    """Independent draws; draw i uses ``fold_in(key, i)``.

    >>> FromKey(jax.random.key(0)).of_draw(3, None, None).key == jax.random.fold_in(jax.random.key(0), 3)
    Array(True, dtype=bool)
    """

    key: Array

    def of_draw(self, i: int | Array, model: Any, x: Any) -> Draw:
        """Return the key of draw `i`."""
        return Draw(key=draw_key(self.key, i))


@register()
@dataclass(frozen=True)
class Antithetic:
    """Draws in pairs of opposite noise.

    Pair i consists of draws 2i and 2i + 1, and its noise is drawn with ``fold_in(key, i)``.
    """

    key: Array

    def of_draw(self, i: int | Array, model: Any, x: Any) -> Draw:
        """Return the noise of pair `i // 2`, negated if `i` is odd."""
        return Draw(noise=_opposite(model.draw_noise(x, key=draw_key(self.key, i // 2)), i % 2 == 1))


@register()
@dataclass(frozen=True)
class Given:
    """Noise given by the caller.

    Attributes:
        noise: a pytree like the result of `model.draw_noise`, with a leading axis of draws.

    >>> Given(jnp.arange(3.0)).of_draw(1, None, None).noise
    Array(1., dtype=float32)
    """

    noise: Any

    def of_draw(self, i: int | Array, model: Any, x: Any) -> Draw:
        """Return entry `i` of the leading axis."""
        return Draw(noise=jax.tree.map(lambda leaf: leaf[i], self.noise))


def noise_source(key: Array | None, noise: Any, count: int, *, antithetic: bool = False) -> NoiseSource:
    """Turn a caller's arguments into a source of `count` draws.

    Args:
        key: a key of `jax.random.key`, or None.
        noise: a pytree like the result of `model.draw_noise`, with a leading axis of `count` draws, or None.
        count: the number of draws.
        antithetic: draw in pairs of opposite noise.
    Returns:
        `FromKey`, `Antithetic` or `Given`.
    Raises:
        TypeError: neither `key` nor `noise` is given.
        ValueError: both are given, `noise` has another number of draws, `antithetic` is set with an odd `count`, or
            `antithetic` is set with `noise`.

    >>> noise_source(None, jnp.zeros(3), 3).of_draw(1, None, None).noise
    Array(0., dtype=float32)
    """
    check_one_of("key and noise", key, noise)
    if noise is not None:
        if antithetic:
            raise ValueError("Expected key instead of noise with antithetic=True; got noise.")
        for leaf in jax.tree.leaves(noise):
            if jnp.shape(leaf)[:1] != (count,):
                raise ValueError(expected("noise", f"with a leading axis of {count} draws", leaf))
        return Given(noise)
    if key is None:
        raise TypeError("Expected key (one key of jax.random.key) or noise; got neither.")
    check_key(key)
    if not antithetic:
        return FromKey(key)
    if count % 2:
        raise ValueError(expected("the number of draws", "to be even with antithetic=True", f"{count}"))
    return Antithetic(key)


def _opposite(noise: Any, is_second: bool | Array) -> Any:
    """Negate the noise if `is_second`.

    Leaves that are not floating, such as the signs of Flipout, stay as they are.
    """

    def turn(leaf: Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.where(is_second, -leaf, leaf)
        return leaf

    return jax.tree.map(turn, noise)
