"""Standard normal numbers as elementwise functions of key and position.

XLA fuses such an expression into the draw that uses it. On a CPU, `jax.random.normal` is a loop over whole arrays of
random words and takes about four times as long. The generator is the same, Threefry-2x32 with all of its 20 rounds
(Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3). The numbers differ from the numbers of `jax.random`,
but they are equally random.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._polynomial import polynomial

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_KEY_PARITY = np.uint32(0x1BD11BDA)

# A ratio of polynomials in t^2, lowest power first, that approximates sin(pi t) / t for |t| <= 1/2. It is exact at the
# five Chebyshev nodes of t^2 in [0, 1/4]; between them its relative error is at most 7e-9, a tenth of a float32 ulp. A
# test solves for the coefficients again.
SINE_NUMERATOR = (3.14159263933, -4.12883038222, 0.990175917761)
SINE_DENOMINATOR = (1.0, 0.330685628784, 0.047425686476)

# This bit is set in the second counter word. `jax.random.split`, and `fold_in` of numbers below 2^31, leave it
# clear, so no number drawn here shares a block of the generator with a key that they derive from the same key.
_DRAWN = np.uint32(1 << 31)


def threefry2x32(k0: Array, k1: Array, c0: Array, c1: Array) -> tuple[Array, Array]:
    """Compute two random words from a key and a counter.

    Args:
        k0, k1: the two words of the key, uint32 scalars or arrays.
        c0, c1: the two words of the counter, uint32 scalars or arrays that broadcast with the key.
    """
    keys = (k0, k1, k0 ^ k1 ^ _KEY_PARITY)
    x0, x1 = c0 + keys[0], c1 + keys[1]
    for i in range(5):
        for distance in _ROTATIONS[i % 2]:
            x0 = x0 + x1
            x1 = x0 ^ ((x1 << np.uint32(distance)) | (x1 >> np.uint32(32 - distance)))
        x0, x1 = x0 + keys[(i + 1) % 3], x1 + keys[(i + 2) % 3] + np.uint32(i + 1)
    return x0, x1


def normal_from_words(first: Array, second: Array) -> Array:
    """Turn two random words into a float32 N(0, 1) number.

    z = sqrt(-2 log u) sin(pi t),  u uniform on (0, 1] in steps of 2^-31, t uniform on [-1/2, 1/2]

    This is the sine form of the Box-Muller transform. Half a turn is enough, since sin(pi t) has the same distribution
    on half a turn as on a whole turn. The largest |z| is 6.56.

    Source: Box & Muller 1958.
    """
    # The words pass through int32, since many processors convert signed words only.
    u = ((first >> np.uint32(1)).astype(jnp.int32).astype(jnp.float32) + 1.0) * np.float32(2.0**-31)
    t = jax.lax.bitcast_convert_type(second, jnp.int32).astype(jnp.float32) * np.float32(2.0**-32)
    square = t * t
    # The sine is a ratio and not a polynomial because of XLA on a CPU: it recomputes an expression that ends in a
    # product at each use (a bias once per row of the batch, a weight again in the backward pass), but an expression
    # that ends in a division only once.
    numerator, denominator = polynomial(SINE_NUMERATOR, square), polynomial(SINE_DENOMINATOR, square)
    z = jnp.sqrt(-2.0 * jnp.log(u)) * t * numerator / denominator
    return jax.lax.platform_dependent(z, cpu=_unchanged, default=_selected)


def _unchanged(z: Array) -> Array:
    return z


def _selected(z: Array) -> Array:
    """Return z, as every |z| is below 8.

    XLA on a GPU fuses the selection with the draw of the weights. Without it, a step of Adam on 784-1200-1200-10 moves
    297 MB instead of 259 MB. On a CPU it would be a pass of its own over the noise, a twelfth of such a step of
    784-400-400-10.
    """
    return jnp.where(jnp.abs(z) < 8.0, z, 0.0)


@partial(jax.jit, static_argnames=("shape", "tag"), inline=True)
def threefry_normal(words: Array, *, shape: tuple[int, ...], tag: int) -> Array:
    """Draw float32 N(0, 1) numbers from a Threefry key.

    Element i uses the counter (i, 2^31 | tag).

    Args:
        words: the key as `jax.random.key_data` returns it, [2] uint32.
        shape: shape of the result, with fewer than 2^32 elements.
        tag: a number below 2^31; tensors with the same key and different tags are independent.

    >>> threefry_normal(jax.random.key_data(jax.random.key(0)), shape=(2, 3), tag=0).shape
    (2, 3)
    """
    index = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    first, second = threefry2x32(words[0], words[1], index, jnp.uint32(tag) | _DRAWN)
    return normal_from_words(first, second)
