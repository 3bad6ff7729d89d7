"""Standard normal numbers as one elementwise expression of a key and a position.

XLA fuses such an expression into the draw that uses it; `jax.random.normal` on a CPU is a loop over whole arrays of
random words, and takes about four times as long. The generator is the same, Threefry-2x32 with all its 20 rounds
(Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3), so the numbers are as random as those of
`jax.random`, though they are other numbers.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_KEY_PARITY = np.uint32(0x1BD11BDA)

# sin(pi t) / t for |t| <= 1/2 as a ratio of polynomials in t^2, lowest power first: equal to it at the five Chebyshev
# nodes of t^2 in [0, 1/4], and within a relative 7e-9, a tenth of a float32 ulp, between. A test solves for them again.
SINE_NUMERATOR = (3.14159263933, -4.12883038222, 0.990175917761)
SINE_DENOMINATOR = (1.0, 0.330685628784, 0.047425686476)

# Set in the second counter word: `jax.random.fold_in` and `split` leave that bit clear, so no number drawn shares a
# block with a key derived from the same key.
_DRAWN = np.uint32(1 << 31)


def threefry2x32(k0: Array, k1: Array, c0: Array, c1: Array) -> tuple[Array, Array]:
    """Two random words of a key (k0, k1) and a counter (c0, c1): uint32 scalars or arrays that broadcast."""
    keys = (k0, k1, k0 ^ k1 ^ _KEY_PARITY)
    x0, x1 = c0 + keys[0], c1 + keys[1]
    for i in range(5):
        for distance in _ROTATIONS[i % 2]:
            x0 = x0 + x1
            x1 = x0 ^ ((x1 << np.uint32(distance)) | (x1 >> np.uint32(32 - distance)))
        x0, x1 = x0 + keys[(i + 1) % 3], x1 + keys[(i + 2) % 3] + np.uint32(i + 1)
    return x0, x1


def normal_from_words(first: Array, second: Array) -> Array:
    """One N(0, 1) in float32 from two random words: Box & Muller 1958, with the sine.

    z = sqrt(-2 log u) sin(pi t),  u uniform on (0, 1] in steps of 2^-31, t uniform on [-1/2, 1/2]

    Half a turn is enough, since sin(pi t) has the same law on it as on the whole. The largest |z| is 6.56.
    """
    # Through int32: processors have no conversion of unsigned words.
    u = ((first >> np.uint32(1)).astype(jnp.int32).astype(jnp.float32) + 1.0) * np.float32(2.0**-31)
    t = jax.lax.bitcast_convert_type(second, jnp.int32).astype(jnp.float32) * np.float32(2.0**-32)
    square = t * t
    # A ratio, not a polynomial: XLA on a CPU computes what ends in a product anew wherever it is used (a bias, once for
    # every row of the batch; a weight, again in the backward pass), and what ends in a division once.
    numerator, denominator = (
        jnp.polyval(np.asarray(coefficients[::-1], np.float32), square)
        for coefficients in (SINE_NUMERATOR, SINE_DENOMINATOR)
    )
    z = jnp.sqrt(-2.0 * jnp.log(u)) * t * numerator / denominator
    # All are below 8. XLA on a CPU hands arithmetic that ends in a matrix product and a sum to a library that is slower
    # at it, but not beyond a selection: a prediction of 784-400-400-10 takes 0.83 of the time that it takes without.
    return jnp.where(jnp.abs(z) < 8.0, z, 0.0)


@partial(jax.jit, static_argnames=("shape", "tag"), inline=True)
def threefry_normal(words: Array, *, shape: tuple[int, ...], tag: int) -> Array:
    """N(0, 1) of `shape` in float32, element i from counter (i, tag).

    Args:
        words: the key, [2] uint32, of `jax.random.key_data`.
        shape: fewer than 2^32 elements.
        tag: below 2^31; tensors of one key that have different tags are independent.

    >>> threefry_normal(jax.random.key_data(jax.random.key(0)), shape=(2, 3), tag=0).shape
    (2, 3)
    """
    index = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    first, second = threefry2x32(words[0], words[1], index, jnp.uint32(tag) | _DRAWN)
    return normal_from_words(first, second)
