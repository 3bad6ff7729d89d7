"""The base of the estimators for regression and classification."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import jax
import numpy as np
from flax import nnx
from jax import Array
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from deepuq_jax._checks import check_count, check_flag, check_scalar, check_sizes, expected
from deepuq_jax.noise import draw_key
from deepuq_jax.prediction.draws import DEFAULT_DRAWS
from deepuq_jax.sklearn._networks import Build, Shape
from deepuq_jax.sklearn._prediction import Prediction
from deepuq_jax.sklearn._priors import starting_at, traced
from deepuq_jax.sklearn._rows import WeightedRows
from deepuq_jax.sklearn._state import packed, unpacked
from deepuq_jax.sklearn._training import Training
from deepuq_jax.sklearn._units import Units, in_units
from deepuq_jax.standardized import Standardized
from deepuq_jax.updating import as_prior

FLOATS = (np.float64, np.float32)
# The purposes of the keys of a fit.
_INIT, _TRAIN, _PREDICT = range(3)


class VIEstimator(BaseEstimator):
    """Base class of the estimators.

    A subclass defines `_build` and `_target_units`, and calls `_train` with encoded targets.
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (64, 64),
        activation: Callable[..., Any] | str = "relu",
        *,
        prior: Any = None,
        max_iter: int | None = None,
        batch_size: int | None = None,
        learning_rate_init: float | None = None,
        optimizer: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_samples: int = DEFAULT_DRAWS,
        random_state: Any = None,
        warm_start: bool = False,
        scale: bool = True,
        verbose: bool = False,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.prior = prior
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.optimizer = optimizer
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.n_samples = n_samples
        self.random_state = random_state
        self.warm_start = warm_start
        self.scale = scale
        self.verbose = verbose

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the model as the bytes of its file."""
        state: Any = super().__getstate__()
        return packed(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a state of `__getstate__`."""
        super().__setstate__(unpacked(state))

    @abstractmethod
    def _build(self) -> Build:
        """Return the function that builds the network."""

    @abstractmethod
    def _target_units(self, y: np.ndarray, weight: np.ndarray) -> Units:
        """Compute the units of encoded targets."""

    @abstractmethod
    def _columns(self) -> int:
        """Return the number of columns of real targets, or of classes."""

    @abstractmethod
    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        """Return the labels by which to stratify held-out data, or None."""

    def _goes_on(self, *, updates: bool) -> bool:
        """Whether training starts from an earlier fit."""
        return (check_flag("warm_start", self.warm_start) or updates) and hasattr(self, "model_")

    def _train(self, rows: WeightedRows, *, updates: bool) -> Self:
        """Train on encoded targets in their own units.

        Args:
            rows: the data.
            updates: whether the posterior of the last fit, if there is one, becomes the prior.
        """
        training, goes_on = self._training(), self._goes_on(updates=updates)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        rows, held_out = self._split(rows, seed)
        if goes_on:
            fitted = self._fitted._replace(seed=seed, number=self._fitted.number + 1)
        else:
            fitted = Fitted(*self._units_of(rows), seed, 0)
        network = self._network(rows, fitted, goes_on=goes_on, updates=updates)
        scored = None if held_out is None else fitted.in_standard_units(held_out)
        key = fitted.key(_TRAIN)
        trained = training.run(network, fitted.in_standard_units(rows), scored, key=key, goes_on=goes_on)
        self._fitted = fitted
        self.model_: Any = in_units(trained.network, fitted.inputs, fitted.targets) if self.scale else trained.network
        self.loss_curve_: list[float] = trained.losses
        self.n_iter_: int = len(trained.losses)
        return self

    def _training(self) -> Training:
        stops_early = check_flag("early_stopping", self.early_stopping)
        return Training(
            self.max_iter,
            self.batch_size,
            self.learning_rate_init,
            self.optimizer,
            self.n_iter_no_change if stops_early else None,
            self.verbose,
        )

    def _split(self, rows: WeightedRows, seed: int) -> tuple[WeightedRows, WeightedRows | None]:
        """Hold out data for early stopping."""
        if not self.early_stopping:
            return rows, None
        share = check_scalar("validation_fraction", self.validation_fraction)
        if not 0 < share < 1:
            raise ValueError(expected("validation_fraction", "to be between 0 and 1", f"{share}"))
        parts: Any = train_test_split(
            np.arange(len(rows.x)),
            test_size=share,
            random_state=seed,
            stratify=self._strata(rows.y),
        )
        return rows.at(parts[0]), rows.at(parts[1])

    def _units_of(self, rows: WeightedRows) -> tuple[Units, Units]:
        if not check_flag("scale", self.scale):
            return Units.none(rows.x.shape[1]), Units.none(self._columns())
        return Units.of_columns("X", rows.x, rows.weight), self._target_units(rows.y, rows.weight)

    def _network(self, rows: WeightedRows, fitted: Fitted, *, goes_on: bool, updates: bool) -> Any:
        """Build the network before training."""
        prior = as_prior(self._trained_network()) if goes_on and updates else traced(self.prior)
        hidden = check_sizes("hidden_layer_sizes", self.hidden_layer_sizes)
        shape = Shape(rows.x.shape[1], self._columns(), hidden, self.activation, prior)
        network = self._build()(shape, nnx.Rngs(fitted.key(_INIT)))
        return starting_at(network, self._trained_network()) if goes_on else network

    def _trained_network(self) -> Any:
        """Return the network, which computes in standard units."""
        return self.model_.model if isinstance(self.model_, Standardized) else self.model_

    def _prediction(self, X: Any) -> Prediction:
        """Check inputs and prepare their prediction; each call makes the same draws."""
        check_is_fitted(self)
        x: Any = validate_data(self, X, dtype=FLOATS, reset=False)
        count = check_count("n_samples", self.n_samples)
        standard = self._fitted.inputs.to_standard(x)
        return Prediction(self._trained_network(), standard, self._fitted.key(_PREDICT), count)


class Fitted(NamedTuple):
    """The results of a fit besides its model.

    Attributes:
        inputs, targets: units of the columns of X and y.
        seed: the seed of its keys.
        number: how many earlier fits this fit continues.
    """

    inputs: Units
    targets: Units
    seed: int
    number: int

    def key(self, purpose: int) -> Array:
        """Return a key of this fit."""
        return draw_key(draw_key(jax.random.key(self.seed), self.number), purpose)

    def in_standard_units(self, rows: WeightedRows) -> WeightedRows:
        """Change rows to standard units; labels and counts stay as they are."""
        return WeightedRows(self.inputs.to_standard(rows.x), self.targets.to_standard(rows.y), rows.weight)
