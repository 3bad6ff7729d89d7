"""Predictions of a network in standard units, in chunks of few sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.model.modes import in_evaluation_mode
from deepuq_jax.model.structure import flatten_untied
from deepuq_jax.noise import draw_key, noise_source
from deepuq_jax.prediction.draws import outputs_of_draws
from deepuq_jax.prediction.moments import predict_vi_uq
from deepuq_jax.sklearn._rows import as_float, chunks, first_rows
from deepuq_jax.types import UQResult


class Prediction(NamedTuple):
    """A prediction at given inputs, with the draws of a key.

    Attributes:
        network: a model that computes in standard units.
        x: standardized inputs [batch, features].
        key: the key of the draws.
        count: number of draws.
    """

    network: Any
    x: np.ndarray
    key: Array
    count: int

    def moments(self) -> UQResult:
        """Compute the predictive moments, without the outputs of the draws."""
        return _joined([first_rows(replace(result, mixture=None), rows) for result, rows in self._results()])

    def distribution(self) -> UQResult:
        """Compute the moments, with the outputs of the draws if the likelihood keeps them."""
        return _joined([first_rows(result, rows) for result, rows in self._results()])

    def quantiles(self, probabilities: list[float]) -> np.ndarray:
        """Compute quantiles of the predictive distribution, [batch, targets, probabilities]."""
        return np.concatenate([_quantiles(result, probabilities)[:rows] for result, rows in self._results()])

    def targets(self, key: Array) -> np.ndarray:
        """Draw targets, one per draw of the network.

        Args:
            key: the key of the noise around the network.
        Returns:
            [draws, batch, targets].
        """
        leaves, treedef = flatten_untied(self.network)
        likelihood, parts = self.network.likelihood, []
        for i, (chunk, rows) in enumerate(self._chunks()):
            drawn = _targets(
                leaves, chunk, self.key, draw_key(key, i), treedef=treedef, likelihood=likelihood, n_samples=self.count
            )
            parts.append(np.asarray(drawn)[:, :rows])
        return np.concatenate(parts, axis=1)

    def _results(self) -> Iterator[tuple[UQResult, int]]:
        for chunk, rows in self._chunks():
            result = predict_vi_uq(self.network, chunk, key=self.key, n_samples=self.count)
            if not np.isfinite(np.asarray(result.mean)[:rows]).all():
                raise ValueError(expected("X", "in the range of the training data", "rows whose prediction overflows"))
            yield result, rows

    def _chunks(self) -> Iterator[tuple[np.ndarray, int]]:
        x = as_float(self.x)
        if not np.isfinite(x).all():
            what = f"in the range of the training data, at most {np.finfo(x.dtype).max:.0e} in standard units"
            raise ValueError(expected("X", what, f"{np.abs(self.x).max():.0e}"))
        return chunks(x)


def _joined(results: list[Any]) -> Any:
    def join(*parts: np.ndarray) -> np.ndarray:
        return np.concatenate(parts)

    return jax.tree.map(join, *results)


def _quantiles(result: UQResult, probabilities: list[float]) -> np.ndarray:
    if result.mixture is not None:
        found = [np.asarray(result.mixture.quantile(p), np.float64) for p in probabilities]
        return np.stack(found, axis=-1)
    reach = np.array([NormalDist().inv_cdf(p) for p in probabilities])
    mean, var = (np.asarray(part, np.float64)[..., None] for part in (result.mean, result.total_var))
    return mean + np.sqrt(var) * reach


@partial(jax.jit, static_argnames=("treedef", "likelihood", "n_samples"))
def _targets(
    leaves: list[Any], x: Any, key: Array, own_key: Array, *, treedef: Any, likelihood: Likelihood, n_samples: int
) -> Array:
    network = in_evaluation_mode(jax.tree.unflatten(treedef, leaves))
    outputs_of = outputs_of_draws(network, x, noise_source(key, None, n_samples))

    def of_draw(i: Any) -> Array:
        return likelihood.sample(outputs_of(i), key=draw_key(own_key, i))

    return jax.lax.map(of_draw, jnp.arange(n_samples))
