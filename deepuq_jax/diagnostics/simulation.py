"""Simulation-based calibration of an inference.

The parameters behind simulated data are ranked among the draws that the inference makes from the data.

Source: Talts, Betancourt, Simpson, Vehtari & Gelman 2018, arXiv 1804.06788.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_count, check_key, expected
from deepuq_jax.noise import draw_key


class CalibrationRanks(NamedTuple):
    """Ranks of true parameters among their posterior draws.

    If the inference is right, the ranks are uniform on 0 ... n_draws. An excess at both ends means that the posterior
    is too narrow, an excess in the middle that it is too wide, and a slope that it is biased.

    Attributes:
        ranks: integers, a pytree like the parameters with a leading axis of simulations.
        n_draws: number of draws from each posterior.
    """

    ranks: Any
    n_draws: int

    def histogram(self, bins: int = 10) -> Any:
        """Count the simulations per bin of ranks.

        Returns:
            A pytree like the parameters with a leading axis of bins.
        Raises:
            ValueError: `bins` does not divide n_draws + 1, so that the bins would hold unequal numbers of ranks.
        """
        if (self.n_draws + 1) % check_count("bins", bins):
            raise ValueError(expected("bins", f"to divide n_draws + 1 = {self.n_draws + 1}", f"{bins}"))

        def count(ranks: Array) -> Array:
            bin_of_rank = ranks * bins // (self.n_draws + 1)
            return jnp.stack([jnp.sum(bin_of_rank == b, axis=0) for b in range(bins)])

        return jax.tree.map(count, self.ranks)

    def p_value(self, bins: int = 10) -> Any:
        """Test by chi-square whether the ranks are uniform.

        X^2 = sum_b (count_b - expected)^2 / expected follows a chi-square distribution with bins - 1 degrees of
        freedom, if 5 or more simulations are expected per bin. With many parameters, look at the smallest p-value times
        the number of parameters.

        Returns:
            A p-value per parameter, in a pytree like the parameters.
        """

        def of_counts(counts: Array) -> Array:
            counts = counts.astype(jnp.promote_types(float, jnp.float32))
            uniform = counts.sum(axis=0, keepdims=True) / bins
            return jax.scipy.stats.chi2.sf(jnp.sum(jnp.square(counts - uniform) / uniform, axis=0), bins - 1)

        return jax.tree.map(of_counts, self.histogram(bins))


def simulation_based_calibration(
    simulate: Callable[[Array], tuple[Any, Any]],
    infer: Callable[..., Any],
    *,
    key: Array,
    n_simulations: int = 500,
    n_draws: int = 99,
    batch_size: int = 100,
) -> CalibrationRanks:
    """Rank true parameters among posterior draws in simulations.

    w ~ p(w), y ~ p(y | w), w_1 ... w_S ~ q(w | y):  rank = number of w_s below w

    For the exact posterior, the ranks of every scalar parameter, or scalar function of the parameters, are uniform.

    Args:
        simulate: key -> (parameters, data): draws parameters, a pytree of arrays, from the prior, and data given the
            parameters.
        infer: (data, key=, n_draws=) -> draws of the parameters, a pytree like the parameters with a leading axis
            [n_draws]. It is traced and vmapped; for example, it may run `train_epoch` or `train_step` under `lax.scan`
            and return the posterior's `sample`.
        key: a single key of `jax.random.key`; simulation i uses fold_in(key, i).
        n_simulations: number of simulations.
        n_draws: number of posterior draws; if n_draws + 1 has many divisors, there is a choice of bins.
        batch_size: simulations per vmap.
    Returns:
        CalibrationRanks.
    Raises:
        ValueError: a size is invalid, or the draws differ from the parameters in structure or shape.

    >>> def simulate(key):  # w ~ N(0, 1), y ~ N(w, 1)
    ...     w, noise = jax.random.normal(key, 2)
    ...     return w, w + noise
    >>> def infer(y, *, key, n_draws):  # the exact posterior, N(y / 2, 1 / 2)
    ...     return y / 2 + jnp.sqrt(0.5) * jax.random.normal(key, (n_draws,))
    >>> result = simulation_based_calibration(simulate, infer, key=jax.random.key(0))
    >>> result.ranks.shape, bool(result.p_value() > 0.001)
    ((500,), True)
    """
    check_key(key)
    for name, size in (("n_simulations", n_simulations), ("n_draws", n_draws), ("batch_size", batch_size)):
        check_count(name, size)

    def one_simulation(i: Array) -> Any:
        data_key, draws_key = jax.random.split(draw_key(key, i))
        truth, data = simulate(data_key)
        draws = infer(data, key=draws_key, n_draws=n_draws)
        _check_draws(truth, draws, n_draws)
        return jax.tree.map(lambda w, draws: jnp.sum(draws < w[None], axis=0), truth, draws)

    @jax.jit
    def every_simulation() -> Any:
        return jax.lax.map(one_simulation, jnp.arange(n_simulations), batch_size=batch_size)

    return CalibrationRanks(every_simulation(), n_draws)


def _check_draws(truth: Any, draws: Any, n_draws: int) -> None:
    shapes = [
        jax.tree.map(lambda w: (n_draws, *jnp.shape(w)), truth, is_leaf=lambda w: hasattr(w, "shape")),
        jax.tree.map(jnp.shape, draws),
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(expected("draws of infer", f"of shapes {shapes[0]}", f"{shapes[1]}"))
