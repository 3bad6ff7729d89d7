"""The noise generator: published answers, its sine against mpmath, and the law of its draws."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import stats

from deepuq_jax.noise import normal_like, threefry
from deepuq_jax.tests import tolerances

# Salmon et al. 2011, file kat_vectors of their Random123 library: threefry2x32, 20 rounds.
KNOWN_ANSWERS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]
MILLION = 10**6


@pytest.fixture(scope="module")
def draws():
    """Draw a thousand numbers with each of a thousand consecutive keys."""
    keys = jax.random.split(jax.random.key(7), 1000)
    return np.asarray(jax.jit(jax.vmap(lambda k: normal_like(k, jnp.zeros(1000))))(keys), np.float64)


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN_ANSWERS)
def test_threefry_gives_the_published_answers(key, counter, answer):
    words = [jnp.uint32(word) for word in (*key, *counter)]
    assert tuple(map(int, jax.jit(threefry.threefry2x32)(*words))) == answer


def test_threefry_is_the_generator_of_jax(key):
    words = threefry.threefry2x32(*jax.random.key_data(key), jnp.uint32(0), jnp.uint32(5))
    np.testing.assert_array_equal(jnp.stack(words), jax.random.key_data(jax.random.fold_in(key, 5)))


def test_no_number_shares_a_block_with_a_derived_key(key):
    """Derived keys are the words of counter (0, i), and no tag reaches such a counter."""
    first = threefry.threefry_normal(jax.random.key_data(key), shape=(1,), tag=3)
    folded = threefry.normal_from_words(*jax.random.key_data(jax.random.fold_in(key, 3)))
    assert not np.isclose(first[0], folded)


def sine_ratio(s):
    def poly(coefficients):
        return sum(mpmath.mpf(c) * s**i for i, c in enumerate(coefficients))

    return poly(threefry.SINE_NUMERATOR) / poly(threefry.SINE_DENOMINATOR)


def exact_sine(s):
    return mpmath.sin(mpmath.pi * mpmath.sqrt(s)) / mpmath.sqrt(s)


def test_sine_coefficients_solve_for_the_chebyshev_nodes():
    nodes = [(1 + mpmath.cos(mpmath.pi * (2 * k + 1) / 10)) / 8 for k in range(5)]
    rows = [[1, s, s**2, -exact_sine(s) * s, -exact_sine(s) * s**2] for s in nodes]
    solution = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix([exact_sine(s) for s in nodes]))
    np.testing.assert_allclose(
        [*threefry.SINE_NUMERATOR, *threefry.SINE_DENOMINATOR[1:]], [float(c) for c in solution], rtol=1e-9
    )


def test_sine_is_right_between_the_nodes():
    points = [mpmath.mpf(i) / 4000 for i in range(1, 1001)]
    assert max(abs(sine_ratio(s) / exact_sine(s) - 1) for s in points) < 7e-9


def test_a_number_is_its_formula_to_rounding():
    """The formula holds under jit, where XLA's simplifier could break it, for all kinds of words."""
    words = np.random.default_rng(0).integers(0, 2**32, (2, 500), dtype=np.uint32)
    first = np.concatenate([words[0], np.array([0, 1, 2, 2**31, 2**32 - 1], np.uint32)])
    second = np.concatenate([words[1], np.array([2**31, 0, 2**31 - 1, 2**32 - 1, 7], np.uint32)])
    got = jax.jit(threefry.normal_from_words)(first, second)
    u = (np.float32(first >> 1).astype(np.float64) + 1) * 2.0**-31
    t = second.view(np.int32) * 2.0**-32

    def formula(u, t):
        return float(mpmath.sqrt(-2 * mpmath.log(min(u, 1.0))) * mpmath.sin(mpmath.pi * t))

    exact = [formula(*pair) for pair in zip(u, t, strict=True)]
    # Near u = 1, the argument of the logarithm is rounded by up to half an ulp, which is 2 * 2^-24 in r^2.
    np.testing.assert_allclose(got, exact, rtol=1e-5, atol=np.sqrt(2.0 * 2.0**-24))
    assert np.isfinite(got).all()
    assert np.abs(got).max() < 6.57


def test_moments_to_the_sixth_are_those_of_the_normal(draws):
    flat = draws.ravel()
    exact = [0, 1, 0, 3, 0, 15, 0, 105, 0, 945, 0, 10395]
    for k in range(1, 7):
        error = np.sqrt((exact[2 * k - 1] - exact[k - 1] ** 2) / flat.size)
        assert abs((flat**k).mean() - exact[k - 1]) < tolerances.STANDARD_ERRORS * error, k


def test_law_and_tails_are_those_of_the_normal(draws):
    flat = draws.ravel()
    assert stats.kstest(flat, "norm").pvalue > 1e-3
    for z in (2.0, 3.0, 4.0):
        p = 2 * stats.norm.sf(z)
        error = tolerances.STANDARD_ERRORS * np.sqrt(p / flat.size)
        assert abs((np.abs(flat) > z).mean() - p) < error, z


def test_neighbours_in_place_tensor_and_key_are_independent(draws, key):
    """The correlations of n numbers and of their squares have a standard error of 1/sqrt(n)."""
    tree = {"a": jnp.zeros(MILLION), "b": jnp.zeros(MILLION)}
    one = {name: np.asarray(leaf, np.float64) for name, leaf in normal_like(key, tree).items()}
    flat = one["a"]
    pairs = [(flat[:-lag], flat[lag:]) for lag in (1, 2, 32, 1000)] + [(one["a"], one["b"])]
    pairs.append((draws[:-1].ravel(), draws[1:].ravel()))
    seeds = [np.asarray(normal_like(jax.random.key(seed), jnp.zeros(MILLION)), np.float64) for seed in (0, 1)]
    pairs.append((seeds[0], seeds[1]))
    for a, b in pairs:
        for f in (lambda v: v, lambda v: v**2):
            correlation = np.corrcoef(f(a), f(b))[0, 1]
            assert abs(correlation) < tolerances.STANDARD_ERRORS / np.sqrt(a.size)


def test_chunks_and_vmap_do_not_change_a_number(key):
    keys = jax.random.split(key, 3)
    batched = jax.vmap(lambda k: normal_like(k, jnp.zeros((4, 5))))(keys)
    for k, row in zip(keys, batched, strict=True):
        np.testing.assert_array_equal(row, normal_like(k, jnp.zeros((4, 5))))


def test_other_generators_are_chosen_by_the_key():
    rbg = jax.random.key(0, impl="rbg")
    expected = jax.random.normal(jax.random.fold_in(rbg, 0), (3,))
    np.testing.assert_array_equal(normal_like(rbg, jnp.zeros(3)), expected)


def test_float64_is_drawn_by_jax(x64, key):
    expected = jax.random.normal(jax.random.fold_in(key, 0), (3,), jnp.float64)
    np.testing.assert_array_equal(normal_like(key, jnp.zeros(3, jnp.float64)), expected)
