"""Units of inputs and targets, and the change to standard units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.likelihoods.rescaled import Rescaled
from deepuq_jax.standardized import Standardized


@dataclass(frozen=True)
class Units:
    """Centre and scale of each column, in float64.

    standard = (values - centre) / scale

    Attributes:
        centre, scale: arrays [columns].
    """

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def none(cls, columns: int) -> Units:
        """Return units that change nothing."""
        return cls(np.zeros(columns), np.ones(columns))

    @classmethod
    def of_columns(cls, name: str, values: np.ndarray, weight: np.ndarray) -> Units:
        """Compute the weighted mean and standard deviation of each column.

        A column that is constant up to rounding gets the scale 1.

        Raises:
            ValueError: the values are too large for a standard deviation.

        >>> Units.of_columns("X", np.array([[1.0], [3.0]]), np.ones(2))
        Units(centre=array([2.]), scale=array([1.]))
        """
        values = np.asarray(values, np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.average(values, axis=0, weights=weight)
            var = np.average((values - mean) ** 2, axis=0, weights=weight)
        if not np.isfinite(var).all():
            raise ValueError(expected(name, "to have a finite variance", f"{np.abs(values).max()} among its entries"))
        rounding = len(values) * np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(var > rounding**2, np.sqrt(var), 1.0))

    @classmethod
    def of_positive(cls, values: np.ndarray, weight: np.ndarray) -> Units:
        """Take the weighted geometric mean of positive columns as their scale."""
        return cls(np.zeros(values.shape[1]), np.exp(np.average(np.log(values), axis=0, weights=weight)))

    @property
    def is_none(self) -> bool:
        """Whether the units change nothing."""
        return not self.centre.any() and bool((self.scale == 1.0).all())

    def to_standard(self, values: np.ndarray) -> np.ndarray:
        """Change values to standard units; labels, which have none, stay integers."""
        return values if self.is_none else (values - self.centre) / self.scale

    def of_means(self, means: Any) -> np.ndarray:
        """Change means or quantiles [..., columns] from standard units."""
        return self.centre + self.scale * np.asarray(means, np.float64)

    def of_variances(self, variances: Any) -> np.ndarray:
        """Change variances [..., columns] from standard units."""
        return self.scale**2 * np.asarray(variances, np.float64)

    def of_likelihood(self, likelihood: Likelihood) -> Likelihood:
        """Change the likelihood of targets from standard units."""
        if self.is_none:
            return likelihood
        return Rescaled(likelihood, tuple(self.centre.tolist()), tuple(self.scale.tolist()))


def in_units(network: Any, inputs: Units, targets: Units) -> Standardized:
    """Wrap a network of standard units for data in their own units.

    Args:
        network: a model with a likelihood.
        inputs, targets: units of the columns of X and y.
    """
    # Two rows have exactly this mean and this standard deviation.
    rows = np.stack([inputs.centre - inputs.scale, inputs.centre + inputs.scale])
    model = Standardized(network, rows, np.zeros((2, targets.centre.size)))
    model.likelihood = nnx.static(targets.of_likelihood(network.likelihood))
    return model
