"""Hostile values of every kind that a caller may pass by mistake or by malice."""

import decimal
import fractions

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

HALF = np.asarray([[0.5, -1.0], [2.0, 0.25]], np.float32)
LIMITS = np.finfo(np.float32)


class OwnError(Exception):
    """An error from a function of the caller's own, which the library lets through."""


def refuse(*args, **options):
    """Stand in for any function that a caller passes."""
    raise OwnError


def plain():
    """Python objects and numbers, by name."""
    return {
        "None": None,
        "a word": "word",
        "an empty string": "",
        "bytes": b"1",
        "an empty list": [],
        "a list of numbers": [1.0, 2.0],
        "a list of words": ["a", "b"],
        "a ragged list": [[1.0], [2.0, 3.0]],
        "an empty tuple": (),
        "a tuple": (1.0, 2.0),
        "an empty dict": {},
        "a dict": {"a": 1.0},
        "a set": {1.0},
        "a range": range(2),
        "an object": object(),
        "a class": float,
        "a function": refuse,
        "True": True,
        "False": False,
        "0": 0,
        "1": 1,
        "-1": -1,
        "2^31": 2**31,
        "10^400": 10**400,
        "0.0": 0.0,
        "-0.0": -0.0,
        "0.5": 0.5,
        "-1.5": -1.5,
        "NaN": float("nan"),
        "infinity": float("inf"),
        "-infinity": float("-inf"),
        "1e300": 1e300,
        "1e30": 1e30,
        "-1e30": -1e30,
        "1e-30": 1e-30,
        "the smallest float": 5e-324,
        "complex": 1.0 + 2.0j,
        "a fraction": fractions.Fraction(1, 3),
        "a decimal": decimal.Decimal("0.5"),
    }


def numpy_scalars():
    """Scalars of NumPy, by name."""
    return {
        "np.float64": np.float64(0.5),
        "np.float64 NaN": np.float64("nan"),
        "np.float16": np.float16(0.5),
        "np.int8": np.int8(1),
        "np.uint64": np.uint64(2**64 - 1),
        "np.bool_": np.bool_(True),
        "np.complex64": np.complex64(1j),
        "np.str_": np.str_("a"),
        "np.datetime64": np.datetime64("2020-01-01"),
        "np.longdouble": np.longdouble(0.5),
    }


def arrays():
    """Arrays of every kind of dtype, value and shape, by name."""
    return {
        "float32": HALF,
        "float64": HALF.astype(np.float64),
        "float16": HALF.astype(np.float16),
        "bfloat16": jnp.asarray(HALF, jnp.bfloat16),
        "long double": HALF.astype(np.longdouble),
        "big-endian": HALF.astype(">f4"),
        "int32": np.ones((2, 2), np.int32),
        "int8": -np.ones((2, 2), np.int8),
        "uint64": np.full((2, 2), 2**64 - 1, np.uint64),
        "bool": HALF > 0,
        "complex": HALF + 1j,
        "objects": HALF.astype(object),
        "None in an array": np.full((2, 2), None),
        "words": np.full((2, 2), "a"),
        "dates": np.full((2, 2), np.datetime64("2020-01-01")),
        "records": np.zeros((2, 2), [("a", np.float32)]),
        "masked": np.ma.masked_array(HALF, HALF > 1),
        "keys": jax.random.split(jax.random.key(0), 2),
        "a shape": jax.ShapeDtypeStruct((2, 2), jnp.float32),
        "NaN among them": np.where(HALF > 1, np.nan, HALF).astype(np.float32),
        "infinities": np.where(HALF > 1, np.inf, -np.inf).astype(np.float32),
        "the largest": np.where(HALF > 1, LIMITS.max, -LIMITS.max).astype(np.float32),
        "subnormal": np.full((2, 2), LIMITS.smallest_subnormal, np.float32),
        "the smallest normal": np.full((2, 2), LIMITS.tiny, np.float32),
        "beyond float32": HALF.astype(np.float64) * 1e300,
        "zeros": np.zeros((2, 2), np.float32),
        "negative": -np.ones((2, 2), np.float32),
        "0-d": np.asarray(0.5, np.float32),
        "[0]": np.zeros(0, np.float32),
        "[0, 2]": np.zeros((0, 2), np.float32),
        "[2, 0]": np.zeros((2, 0), np.float32),
        "[1]": np.ones(1, np.float32),
        "[2]": np.ones(2, np.float32),
        "[3]": np.ones(3, np.float32),
        "[2, 1]": np.ones((2, 1), np.float32),
        "[2, 3]": np.ones((2, 3), np.float32),
        "[2, 1, 2]": np.ones((2, 1, 2), np.float32),
        "int [2]": np.arange(2),
        "int [2] of -5": np.full(2, -5),
        "strides": HALF[::-1, ::-1],
    }


VALUES = plain() | numpy_scalars() | arrays()
NAMES = st.sampled_from(sorted(VALUES))
# Finite numbers of every magnitude, always of the shape that entries use, so that each example needs no compilation.
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True)
MATRICES = st.lists(FINITE, min_size=4, max_size=4).map(lambda four: np.asarray(four, np.float32).reshape(2, 2))
ANY = st.one_of(NAMES.map(VALUES.__getitem__), MATRICES)
