"""Natural-gradient variational inference as an optax optimizer.

Source: variational online Newton, Khan et al. 2018, arXiv 1806.04854; the update that keeps the precision positive,
Lin, Schmidt & Khan 2020, arXiv 2002.10060; with a Gaussian prior it is IVON, Shen et al. 2024, arXiv 2402.17641.
"""

from __future__ import annotations

from typing import Any, cast

import optax
from jax.core import Tracer

from deepuq_jax._checks import check_num_data, check_optimizer, check_positive, check_scalar, expected
from deepuq_jax.training._natural import Init, Rule, Update

# The optimizer of all other parameters, if none is given.
_REST = optax.adam(1e-3)


class NaturalGradient(optax.GradientTransformationExtraArgs):
    """The optax optimizer that `natural_gradient` returns.

    Two optimizers with equal settings are equal, so the second finds the programs that were compiled for the first.
    """

    def start(self, params: Any) -> Any:
        """Return the parameters at the start of training, with `initial_precision`."""
        return self._rule.start(params)

    def for_training(self, steps: int | None, num_data: Any) -> NaturalGradient:
        """Fill in settings from the numbers of steps and examples.

        Settings that are set stay, and either number may be unknown.
        """
        return _optimizer(self._rule.for_training(steps, num_data))

    def for_continuing(self, done: int, steps: int | None, num_data: Any) -> NaturalGradient:
        """Fill in settings that are not set, for `steps` more steps after `done` steps.

        Raises:
            ValueError: the learning rate is not set.
        """
        if self._rule.learning_rate is None:
            what = "to be set with a TrainState, as in natural_gradient(0.05), since its default has fallen to 0"
            raise ValueError(expected("learning_rate", what, "None"))
        return self.for_training(None if steps is None else done + steps, num_data)

    def first_rows(self, gradients: Any, params: Any, opt_state: Any) -> tuple[Any, Any, Any]:
        """Cut the arrays of posteriors to their first rows.

        The update of a posterior is elementwise, so the cut arguments give the start of the whole update.
        """
        return self._rule.first_rows(gradients, params, opt_state)

    @property
    def _rule(self) -> Rule:
        return cast(Init, self.init).rule


def natural_gradient(
    learning_rate: Any = None,
    *,
    num_data: Any = None,
    beta1: Any = 0.9,
    beta2: Any = None,
    mean_limit: float = 0.3,
    precision_limit: float = 0.1,
    initial_precision: Any = None,
    rest: optax.GradientTransformation = _REST,
) -> NaturalGradient:
    """Optimize posteriors by natural gradients.

    S <- S (1 + a + a^2 / 2),   a = (1 - beta2) * sigma * dL/dsigma,   S = 1 / sigma^2
    mu <- mu - learning_rate * g / S,   g the debiased moving average of dL/dmu with decay beta1

    L = N * loss / kl_weight is in nats of the whole data set of N examples; a `kl_weight` below 0.01 counts as 0.01. If
    the negative log-likelihood is quadratic in the weights and the prior is Gaussian, S tends to the Hessian plus the
    prior's precision, and a learning rate of 1 is Newton's step. No step in mu is longer than `mean_limit` standard
    deviations, and |a| is at most `precision_limit`. The optimizer keeps one array per posterior, where Adam keeps
    four.

    A posterior is a pair of arrays mu and rho at the same path, as in every model of this package. All other
    parameters are trained by `rest`.

    Args:
        learning_rate: a number or a schedule. In a `fit` whose number of steps is known, the default falls from 0.2 to
            0 as a cosine, so that the noise of the gradient fades from the means; elsewhere it is 0.2. In your own loop
            and in a chain, pass optax.cosine_decay_schedule(0.2, steps).
        num_data: number of examples N in the whole data set. `fit`, `train_epoch` and `train_step` take it from the
            objective `ELBO`. Set it here for an objective or a loop of your own, and for `initial_precision` outside
            `fit`.
        beta1: decay of the average of dL/dmu.
        beta2: decay of the moving average that forms the precision, a number or a schedule. In a `fit` whose number of
            steps is known, the default is 1 - 4 / steps; elsewhere it is 0.9995. With a smaller decay, the average
            forgets its start sooner and is noisier.
        mean_limit: the longest step of a mean, in standard deviations; infinity for no limit.
        precision_limit: the largest |a|; infinity for no limit.
        initial_precision: the least precision at the start, per example. `TrainState.create`, and so `fit`, narrows
            wider posteriors to S = N * initial_precision, which is `hess_init` of IVON. If it is None, the model's own
            sigma stays.
        rest: the optimizer of all other parameters, Adam at 1e-3 by default.
    Returns:
        An optax optimizer with extra arguments.
    Raises:
        ValueError, TypeError: a setting is out of range. `init` raises ValueError if the parameters hold no posterior;
            `update` raises it if the number of examples is unknown, or the loss of the objective is not per example.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> import deepuq_jax as dq
    >>> x = jnp.linspace(-1, 1, 64)[:, None]
    >>> model = dq.BayesByBackpropMLP(1, (16,), 1, likelihood=dq.Gaussian(0.1), rngs=nnx.Rngs(0))
    >>> result = dq.fit(model, x, x**2, key=jax.random.key(0), epochs=300, optimizer=dq.natural_gradient())
    >>> bool(result.history["nll"][-1] < 0)
    True
    """
    for name, limit in (("mean_limit", mean_limit), ("precision_limit", precision_limit)):
        _check_above_zero(name, limit)
        if isinstance(limit, Tracer):
            remedy = 'in optax.inject_hyperparams, pass static_args=("mean_limit", "precision_limit")'
            raise TypeError(expected(name, f"to be a Python number: {remedy}", limit))
    if learning_rate is not None and not callable(learning_rate):
        _check_above_zero("learning_rate", learning_rate)
    for name, decay in (("beta1", beta1), ("beta2", beta2)):
        if decay is not None and not callable(decay):
            _check_decay(name, decay)
    if num_data is not None:
        check_num_data(num_data)
    if initial_precision is not None:
        check_positive("initial_precision", initial_precision)
    check_optimizer("rest", rest)
    rule = Rule(
        learning_rate=learning_rate,
        num_data=num_data,
        beta1=beta1,
        beta2=beta2,
        mean_limit=float(mean_limit),
        precision_limit=float(precision_limit),
        initial_precision=initial_precision,
        rest=optax.with_extra_args_support(rest),
    )
    return _optimizer(rule)


def _optimizer(rule: Rule) -> NaturalGradient:
    return NaturalGradient(Init(rule), Update(rule))


def _check_above_zero(name: str, value: Any) -> None:
    if not isinstance(check_scalar(name, value), Tracer) and not value > 0:
        raise ValueError(expected(name, "to be above zero", f"{value!r}"))


def _check_decay(name: str, value: Any) -> None:
    if not isinstance(check_scalar(name, value), Tracer) and not 0 <= value < 1:
        raise ValueError(expected(name, "to be at least 0 and below 1", f"{value!r}"))
