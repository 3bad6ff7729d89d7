"""A regressor for scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from deepuq_jax._checks import check_count, check_flag, expected
from deepuq_jax.likelihoods.mixture import PredictiveMixture
from deepuq_jax.prediction.draws import DEFAULT_DRAWS
from deepuq_jax.sklearn._base import FLOATS, VIEstimator
from deepuq_jax.sklearn._networks import Build, regression_network
from deepuq_jax.sklearn._rows import weighted_rows
from deepuq_jax.sklearn._units import Units
from deepuq_jax.types import UQResult, check_level

_COUNTS, _POSITIVE = ("poisson", "negative_binomial"), ("log_normal",)


class VIRegressor(RegressorMixin, VIEstimator):
    """Bayesian multilayer perceptron for regression.

    Every weight has a Gaussian posterior, trained by variational inference. Arguments and attributes that mean the same
    as in `MLPRegressor` have the same names. There may be one target per row, y [n], or several, y [n, targets].

    Args:
        hidden_layer_sizes: sizes of the hidden layers.
        activation: "relu", "gelu", "tanh", "silu" or a function of arrays.
        likelihood: the noise of the targets around the outputs of the network. "gaussian" learns a constant noise,
            "heteroscedastic" a noise that depends on the input, "student_t" a constant noise with heavy tails;
            "poisson" and "negative_binomial" are for counts, "log_normal" for positive targets.
        prior: a prior or a rule of `deepuq_jax.priors`; None is the default of the layers.
        max_iter: number of passes over the data; None is the default of `deepuq_jax.fit`.
        batch_size: number of rows per step; None is the default of `fit`.
        learning_rate_init: the learning rate at which Adam starts; it falls to 0 as a cosine. None leaves the optimizer
            to `fit`. Another rate does not recompile.
        optimizer: an optax optimizer, in place of `learning_rate_init`.
        early_stopping: whether to hold out data, to stop once the log predictive density of these data no longer rises,
            and to return the best network.
        validation_fraction: the share of the data that is held out.
        n_iter_no_change: number of passes without a better density after which early stopping ends the training.
        n_samples: number of draws of the weights in a prediction.
        random_state: a seed, a NumPy generator of type RandomState, or None for a different fit each time.
        warm_start: whether `fit` starts from the last fit, in its units.
        scale: whether to standardize inputs and real targets by the training data. Counts are not scaled, and positive
            targets are divided by their geometric mean.
        verbose: whether to show a progress bar, which needs tqdm.
    Attributes:
        model_: the trained model, for data in their own units; `deepuq_jax.save` saves it, and every function of
            `deepuq_jax` takes it.
        loss_curve_: the loss of each pass in nats per row, in standard units: the negative ELBO, with the KL weight of
            that pass.
        n_iter_: number of passes.
        n_features_in_, feature_names_in_, n_outputs_: numbers and names of the columns in the data of `fit`.

    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = VIRegressor((16,), max_iter=300, random_state=0).fit(X[:331], y[:331])
    >>> lower, upper = model.predict_interval(X[331:], level=0.9)
    >>> bool(np.mean((lower <= y[331:]) & (y[331:] <= upper)) > 0.8)
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (64, 64),
        activation: Callable[..., Any] | str = "relu",
        *,
        likelihood: str = "gaussian",
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
        super().__init__(
            hidden_layer_sizes,
            activation,
            prior=prior,
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            optimizer=optimizer,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_samples=n_samples,
            random_state=random_state,
            warm_start=warm_start,
            scale=scale,
            verbose=verbose,
        )
        self.likelihood = likelihood

    def __sklearn_tags__(self) -> Any:
        """Return the tags, which name the kinds of targets."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.positive_only = self.likelihood in (*_COUNTS, *_POSITIVE)
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the posterior to data.

        Args:
            X: inputs [n, features], an array or a data frame.
            y: targets [n] or [n, targets].
            sample_weight: weights [n]; a weight of 2 counts a row twice.
        """
        return self._fit(X, y, sample_weight, updates=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Update the posterior by new data.

        The posterior of the last fit becomes the prior, and `fit` runs for its full length on the new data alone. The
        units stay those of the first data. The first call is a `fit`.
        """
        return self._fit(X, y, sample_weight, updates=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, updates: bool) -> Self:
        regression_network(self.likelihood)
        goes_on = self._goes_on(updates=updates)
        data: Any = validate_data(self, X, y, dtype=FLOATS, multi_output=True, y_numeric=True, reset=not goes_on)
        targets = data[1].astype(np.float64)
        columns = targets[:, None] if targets.ndim == 1 else targets
        if goes_on and columns.shape[1] != self.n_outputs_:
            raise ValueError(expected("y", f"to have {self.n_outputs_} columns, as in the last fit", targets))
        self.n_outputs_: int = columns.shape[1]
        self._is_vector = targets.ndim == 1
        return self._train(weighted_rows(data[0], columns, sample_weight), updates=updates)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the mean of the targets.

        Args:
            X: inputs [n, features].
            return_std: whether to return the standard deviations too, of noise and weights together.
        Returns:
            means of the shape of y, or (means, standard deviations).
        """
        check_flag("return_std", return_std)
        result = self._prediction(X).moments()
        mean = self._like_y(self._fitted.targets.of_means(result.mean))
        if not return_std:
            return mean
        return mean, self._like_y(np.sqrt(self._fitted.targets.of_variances(result.total_var)))

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Predict central intervals of the targets.

        Args:
            X: inputs [n, features].
            level: probability inside an interval.
        Returns:
            (lower, upper), each of the shape of y.
        """
        check_level(level)
        bounds = self.predict_quantiles(X, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
        return bounds[..., 0], bounds[..., 1]

    def predict_quantiles(self, X: Any, quantiles: Any) -> np.ndarray:
        """Predict quantiles of the targets.

        Args:
            X: inputs [n, features].
            quantiles: probabilities between 0 and 1, a sequence or a number.
        Returns:
            quantiles of the shape of y, with a last axis of probabilities unless `quantiles` is a number.
        """
        wanted = np.asarray(quantiles, np.float64)
        if wanted.ndim > 1 or not wanted.size or not ((wanted > 0) & (wanted < 1)).all():
            raise ValueError(expected("quantiles", "to be probabilities between 0 and 1", f"{quantiles}"))
        found = self._prediction(X).quantiles(np.atleast_1d(wanted).tolist())
        own = np.moveaxis(self._fitted.targets.of_means(np.moveaxis(found, -1, 0)), 0, -1)
        own = self._like_y(own)
        return own if wanted.ndim else own[..., 0]

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> np.ndarray:
        """Draw targets from the predictive distribution.

        Sample i at all inputs belongs to one draw of the weights, so it is a function with noise around it.

        Args:
            X: inputs [n, features].
            n_samples: number of draws.
            random_state: a seed, a NumPy generator of type RandomState, or None.
        Returns:
            targets of the shape of y, with a last axis of samples.
        """
        count = check_count("n_samples", n_samples)
        seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
        key, own_key = jax.random.split(jax.random.key(seed))
        drawn = self._prediction(X)._replace(key=key, count=count).targets(own_key)
        return self._like_y(np.moveaxis(self._fitted.targets.of_means(drawn), 0, -1))

    def predict_uq(self, X: Any) -> UQResult:
        """Predict mean and uncertainty as `deepuq_jax.predict_vi_uq` does.

        Args:
            X: inputs [n, features].
        Returns:
            UQResult in units of the targets, whose arrays are [n, targets], even for y [n].
        """
        result, units = self._prediction(X).distribution(), self._fitted.targets
        mixture = result.mixture
        if isinstance(mixture, PredictiveMixture):
            mixture = PredictiveMixture(mixture.outputs, units.of_likelihood(mixture.likelihood))
        return replace(
            result,
            mean=jnp.asarray(units.of_means(result.mean)),
            epistemic_var=jnp.asarray(units.of_variances(result.epistemic_var)),
            aleatoric_var=jnp.asarray(units.of_variances(result.aleatoric_var)),
            total_var=jnp.asarray(units.of_variances(result.total_var)),
            mixture=mixture,
        )

    def _like_y(self, values: np.ndarray) -> np.ndarray:
        return values[:, 0] if self._is_vector else values

    def _build(self) -> Build:
        return regression_network(self.likelihood)

    def _columns(self) -> int:
        return self.n_outputs_

    def _strata(self, y: np.ndarray) -> None:
        """Regressions hold out rows at random."""
        del y

    def _target_units(self, y: np.ndarray, weight: np.ndarray) -> Units:
        if self.likelihood in _COUNTS:
            return Units.none(y.shape[1])
        if self.likelihood not in _POSITIVE:
            return Units.of_columns("y", y, weight)
        if not (y > 0).all():
            raise ValueError(
                expected("y", f"to be positive for likelihood={self.likelihood!r}", f"{y.min()} among its entries")
            )
        return Units.of_positive(y, weight)
