"""The evidence lower bound per example, in exact units.

Source: Blundell et al. 2015, arXiv 1505.05424, equations 1, 2 and 8.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, Self

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from deepuq_jax._checks import check_batch, check_count, check_finite_number, check_flag, check_num_data, expected
from deepuq_jax._pytree import as_pytree, register
from deepuq_jax.estimators.local_reparameterization import ApproximateLocalReparameterization
from deepuq_jax.likelihoods.base import Likelihood, as_likelihood, per_example
from deepuq_jax.model.own import as_model, check_model
from deepuq_jax.model.posteriors import estimators_of, with_kl_rule
from deepuq_jax.objectives.expectation import expected_terms
from deepuq_jax.objectives.objective import Units, VariationalObjective, value_at
from deepuq_jax.objectives.targets import Score, resolve_likelihood
from deepuq_jax.posterior import AlongPath
from deepuq_jax.types import ELBOTerms


@register(static=("log_likelihood", "mc_samples", "antithetic", "sticking_the_landing"))
@dataclass(frozen=True)
class ELBO(VariationalObjective):
    """The negative evidence lower bound per example, in exact units.

    loss = mean over the batch of E_q[-log p(y|x,w)] + kl_weight * KL(q || p) / num_data

    For a given model and `kl_weight = 1`, the average over the batches of an epoch, weighted by their sizes, is an
    unbiased estimate of -ELBO / num_data of the whole data set, whatever the batch size. The expectation is estimated
    by `mc_samples` draws; draw i uses fold_in(key, i).

    The objective is a pytree with the leaves `num_data`, `kl_weight` and `heteroscedasticity`: changing them does not
    recompile, and `vmap` can run over them. The other fields are static.

    Args:
        num_data: number of examples N in the whole data set (not in the batch). If it is None, `fit` with arrays and
            `train_epoch` fill it in.
        kl_weight: a number, or a schedule, which is a function of the step. 1 is the ELBO; less gives a cold posterior.
            The schedules of `deepuq_jax.schedules` are pytrees. A plain function, such as an optax schedule, is static,
            so another function object recompiles.
        heteroscedasticity: a number from 0 to 1 or a schedule: the share s of an example's own noise in a Gaussian
            likelihood that reads its noise in the outputs. The raw variance v_i of example i counts as
            s v_i + (1 - s) mean(v), with the mean over the batch. A rise from 0 to 1 lets the network fit the means
            before the noise; otherwise a large noise may hide examples that it has not fitted yet. None and 1 give the
            likelihood itself.
        log_likelihood: a likelihood, or any function (outputs, y) -> [batch], in nats per example. The default is the
            model's `likelihood`; a model without a likelihood is refused.
        mc_samples: number of draws.
        antithetic: draw in pairs of opposite noise, which needs an even `mc_samples`. Terms linear in the noise cancel
            in each pair. This works with every estimator, but not with dropout.
        sticking_the_landing: estimate the KL at the draw of the likelihood, even if it has a closed form, with the
            gradient of the draw's path alone (Roeder, Wu & Duvenaud 2017, arXiv 1703.09194). The loss is then an
            estimate too. The mean of the gradient stays the same, and its variance vanishes as q approaches the exact
            posterior. This requires weight sampling, since other estimators do not share their weights with the KL. The
            regressors with learned noise have another default, and need `estimator=weight_sampling`.
    Raises:
        ValueError, TypeError: a number or a count is invalid. A call raises them if the shapes do not match, a label is
            invalid, concrete data hold NaN or infinity, the likelihood has no noise to pool for `heteroscedasticity`,
            or `sticking_the_landing` is set and the `kl` of the model is not computed by a `MeanField` in it or a layer
            has local reparameterization.

    >>> import jax
    >>> from flax import nnx
    >>> import deepuq_jax as dq
    >>> model = dq.BayesByBackpropMLP(2, (4,), 3, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))
    >>> x, y = jnp.ones((8, 2)), jnp.zeros(8, int)
    >>> loss, terms = ELBO(num_data=100)(model, x, y, key=jax.random.key(0))
    >>> bool(jnp.isclose(loss, terms.nll + terms.kl / 100))
    True
    """

    measures: ClassVar[tuple[str, ...]] = (*VariationalObjective.measures, "kl_weight", "elbo")

    num_data: Any = None
    kl_weight: Any = 1.0
    _: KW_ONLY
    heteroscedasticity: Any = None
    log_likelihood: Any = None
    mc_samples: int = 1
    antithetic: bool = False
    sticking_the_landing: bool = False

    def __post_init__(self) -> None:
        if self.num_data is not None:
            check_num_data(self.num_data)
        if self.log_likelihood is not None:
            object.__setattr__(self, "log_likelihood", as_likelihood(self.log_likelihood, "log_likelihood"))
        object.__setattr__(self, "kl_weight", checked_weight("kl_weight", self.kl_weight))
        object.__setattr__(self, "heteroscedasticity", _checked_share(self.heteroscedasticity))
        object.__setattr__(self, "mc_samples", check_count("mc_samples", self.mc_samples))
        object.__setattr__(self, "antithetic", check_flag("antithetic", self.antithetic))
        object.__setattr__(self, "sticking_the_landing", check_flag("sticking_the_landing", self.sticking_the_landing))

    def __call__(
        self, model: Any, x: Any, y: Any, *, key: Array | None = None, noise: Any = None, step: Any = None
    ) -> tuple[Array, ELBOTerms]:
        """Compute the loss and its terms.

        Args:
            model: a Bayesian model.
            x, y: a batch of arrays with a leading axis, [batch, ...].
            key: a key of `jax.random.key`.
            noise: noise in place of the key: a pytree like the result of `model.draw_noise`, with a leading axis of
                draws.
            step: number of the training step, which schedules need.
        Returns:
            (loss, ELBOTerms), with `nll` in nats per example and the whole KL in nats.
        """
        check_model(model)
        size = check_batch(x, y)
        if self.num_data is None:
            what = "to be the number of examples in the whole data set, as in ELBO(num_data=N)"
            raise ValueError(expected("num_data", what, "None"))
        self.check_size(size)
        score = self.score_for(model) if self.heteroscedasticity is None else self._pooled_score(model, step)
        if self.sticking_the_landing:
            model = _along_the_path(model)
        nll, kl, state = expected_terms(
            model, x, y, score, key=key, noise=noise, mc_samples=self.mc_samples, antithetic=self.antithetic
        )
        weight, kl_per_example = value_at("kl_weight", self.kl_weight, step), kl / self.num_data
        loss = nll + weight * kl_per_example
        weight = jnp.asarray(weight, loss.dtype)
        return loss, ELBOTerms(nll, kl, state, loss, kl_weight=weight, elbo=-(nll + kl_per_example))

    def for_data(self, num_data: int) -> Self:
        """Fill in the number of examples if it is None."""
        return self if self.num_data is not None else replace(self, num_data=num_data)

    def units(self, step: Any) -> Units:
        """Return the number of examples and the KL weight at a step."""
        return Units(self.num_data, value_at("kl_weight", self.kl_weight, step))

    def check_size(self, num_data: int) -> None:
        """Refuse more examples than the whole data set has.

        Raises:
            ValueError: `num_data` of the objective is smaller.
        """
        if isinstance(self.num_data, (int, float)) and self.num_data < num_data:
            what = f"to be the number of examples in the whole data set, at least the {num_data} in x"
            raise ValueError(expected("num_data", what, f"{self.num_data}"))

    def likelihood_for(self, model: Any) -> Likelihood:
        """Return the likelihood that scores a model.

        It is `log_likelihood`; if that is None, the model's likelihood.

        Raises:
            ValueError: neither is set.
        """
        return resolve_likelihood(model, self.log_likelihood)

    def score_for(self, model: Any) -> Score:
        """Return the mean negative log-likelihood, in nats per example."""
        return mean_nll(self.likelihood_for(model))

    def _pooled_score(self, model: Any, step: Any) -> Score:
        """Return the score of outputs whose noise is pooled over the batch."""
        likelihood = self.likelihood_for(model)
        if not likelihood.pools_noise:
            what = f"to be None with {type(likelihood).__name__}, which reads no Gaussian noise in the outputs"
            raise ValueError(expected("heteroscedasticity", what, f"{self.heteroscedasticity}"))
        share = value_at("heteroscedasticity", self.heteroscedasticity, step)

        def score(outputs: Any, y: Any) -> Array:
            return -jnp.mean(per_example(likelihood, likelihood.pooled(outputs, y, share), y))

        return score


def mean_nll(likelihood: Likelihood) -> Score:
    """Return the mean negative log-likelihood as a function.

    The function maps (outputs, y) to nats per example.
    """

    def score(outputs: Any, y: Any) -> Array:
        return -jnp.mean(per_example(likelihood, outputs, y))

    return score


def checked_weight(name: str, weight: Any) -> Any:
    """Check a weight and make it a pytree.

    An int becomes a float, so that the weights 1 and 0.5 share a compiled program.

    Args:
        name: name of the argument.
        weight: a number or a schedule.
    Raises:
        ValueError, TypeError: `weight` is neither a finite number nor a valid schedule.
    """
    if callable(weight):
        return as_pytree(name, weight)
    check_finite_number(name, weight)
    return float(weight) if isinstance(weight, int) else weight


def _checked_share(share: Any) -> Any:
    """Check the share of an example's own noise; None stays."""
    if share is None:
        return None
    share = checked_weight("heteroscedasticity", share)
    if callable(share) or isinstance(share, Tracer):
        return share
    values = np.asarray(share)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(expected("heteroscedasticity", "to be from 0 to 1", f"{share}"))
    return share


def _along_the_path(model: Any) -> Any:
    """Let the model's KL follow the path of a draw.

    Its gradient then flows through the draw alone. The omitted gradient, through the density of q at a fixed draw, has
    mean 0.
    """
    model = with_kl_rule(model, AlongPath())
    if any(isinstance(own, ApproximateLocalReparameterization) for own in estimators_of(model)):
        what = "to have estimator=weight_sampling in its layers, for sticking_the_landing"
        raise ValueError(expected("model", what, "local reparameterization"))
    if as_model(model).has_closed_form_kl:
        what = "to take its kl from a MeanField that it holds, for sticking_the_landing"
        raise ValueError(expected("model", what, type(model).__name__))
    return model


def negative_elbo(
    model: Any,
    x: Any,
    y: Any,
    *,
    key: Array | None = None,
    num_data: Any,
    log_likelihood: Any = None,
    kl_weight: Any = 1.0,
    mc_samples: int = 1,
    sticking_the_landing: bool = False,
    antithetic: bool = False,
    noise: Any = None,
) -> tuple[Array, ELBOTerms]:
    """Compute the negative evidence lower bound per example.

    This is `ELBO` as a function.

    loss = mean over the batch of E_q[-log p(y|x,w)] + kl_weight * KL(q || p) / num_data

    Args:
        model, x, y, key, noise: as in a call of `ELBO`.
        num_data, log_likelihood, mc_samples, sticking_the_landing, antithetic: the fields of `ELBO`.
        kl_weight: a number, which may be traced.
    Returns:
        (loss, ELBOTerms): `nll` is in nats per example, `kl` is the whole KL in nats, and `state` is the carried state
        after the call.
    Raises:
        ValueError, TypeError: as `ELBO`, or `kl_weight` is a schedule, which would need a step.

    >>> import jax
    >>> from flax import nnx
    >>> import deepuq_jax as dq
    >>> model = dq.BayesByBackpropMLP(2, (4,), 3, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))
    >>> x, y = jnp.ones((8, 2)), jnp.zeros(8, int)
    >>> loss, terms = negative_elbo(model, x, y, key=jax.random.key(0), num_data=100)
    >>> bool(jnp.isclose(loss, terms.nll + terms.kl / 100))
    True
    """
    check_num_data(num_data)
    check_finite_number("kl_weight", kl_weight)
    objective = ELBO(
        num_data,
        kl_weight,
        log_likelihood=log_likelihood,
        mc_samples=mc_samples,
        antithetic=antithetic,
        sticking_the_landing=sticking_the_landing,
    )
    return objective(model, x, y, key=key, noise=noise)
