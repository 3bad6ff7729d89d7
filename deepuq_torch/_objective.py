"""The two objectives: one whose units are exact, and the documented one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ._checks import fault, function, number_or_scalar, positive_count, positive_number, some_examples
from ._criteria import Criterion, default_log_likelihood, step_criterion
from ._likelihood import LogLikelihood
from ._noise import Noise, check_draws, one_source, take_draws


def negative_elbo(
    model: Any,
    x: Any,
    y: Any,
    *,
    num_data: float | Tensor,
    log_likelihood: LogLikelihood | None = None,
    kl_weight: float | Tensor = 1.0,
    mc_samples: int = 1,
    noise: Noise | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Per-example negative ELBO, exactly: the batch mean of -log p(y | x, w) plus KL / num_data.

    ``loss = nll + kl_weight * kl / num_data``. Times num_data it is an unbiased estimate of the negative ELBO of the
    whole data set, whatever the batch size.

    Args:
        model: anything with ``forward(x, sample=True)`` and ``kl()``.
        x: inputs of one batch.
        y: its targets.
        num_data: examples in the whole training set, above zero (not batches, and not this batch's size).
        log_likelihood: callable ``(outputs, y) -> [batch]``, nats per example. Where None: the Gaussian density of
            a heteroscedastic model, else categorical; a regression model that does not predict its noise needs one.
        kl_weight: factor of the KL, 1 for the ELBO; a number or 0-d tensor.
        mc_samples: passes with fresh weights that the nll is averaged over.
        noise: what ``model.draw_noise`` returns, each tensor with a leading axis of mc_samples draws.
        generator: where to draw noise from; torch's default generator where not given.

    Returns:
        ``(loss, nll, kl)``, scalars: loss carries the graph; nll (nats per example) and kl (the whole KL, in
        nats) are detached.

    Raises:
        ValueError: a bad count, num_data, kl_weight, noise or target shape, an empty batch, a log_likelihood that does
            not return [batch], or none where the model leaves it open.
        TypeError: an argument of the wrong type.

    Source:
        Blundell et al. 2015, section 3.4, https://arxiv.org/abs/1505.05424

    Example:
        >>> from deepuq_torch import BayesByBackpropMLP
        >>> model = BayesByBackpropMLP(3, [8], 2)
        >>> x, y = torch.randn(16, 3), torch.randint(2, (16,))
        >>> loss, nll, kl = negative_elbo(model, x, y, num_data=1000)
        >>> torch.allclose(loss, nll + kl / 1000)
        True
        >>> loss.backward()
    """
    number_or_scalar("num_data", num_data)
    if not isinstance(num_data, Tensor):  # a tensor's value is left unread
        positive_number("num_data", num_data)
    number_or_scalar("kl_weight", kl_weight)
    mc_samples = positive_count("mc_samples", mc_samples)
    some_examples("x", x)
    log_likelihood = default_log_likelihood(model) if log_likelihood is None else log_likelihood
    function("log_likelihood", log_likelihood)
    total = None
    for outputs in _passes(model, x, mc_samples, noise, generator):
        per_example = log_likelihood(outputs, y)
        _need_batch(per_example, outputs)
        total = per_example.mean() if total is None else total + per_example.mean()
    assert total is not None  # for the type checker: mc_samples is positive
    nll = -total / mc_samples
    kl = model.kl()
    loss = nll + kl_weight * kl / num_data
    return loss, nll.detach(), kl.detach()


def vi_elbo_step(
    model: Any,
    x: Any,
    y: Any,
    num_batches: int | None = None,
    n_batches: int | None = None,
    criterion: Criterion | None = None,
    kl_weight: float | Tensor = 1.0,
    mc_samples: int = 1,
    *,
    noise: Noise | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One evaluation of the documented objective: ``loss = nll + kl_weight * KL / num_batches``.

    Units: the default criteria average over the batch of B examples, so this weights the KL B times as much as
    the ELBO does. Pass ``kl_weight = 1 / B``, or use ``negative_elbo``, to train on the ELBO itself.

    Args:
        model: anything with ``forward(x, sample=True)`` and ``kl()``.
        x: inputs of one batch.
        y: its targets.
        num_batches: optimizer steps in an epoch, ``len(train_loader)``.
        n_batches: deprecated name of num_batches.
        criterion: callable ``(outputs, y) -> scalar``. A heteroscedastic model's own ``nll`` comes before it. Where
            None: mean squared error for ``model.task_type == "regression"``, else cross-entropy.
        kl_weight: factor of ``KL / num_batches``; a number or 0-d tensor.
        mc_samples: passes with fresh weights that the nll is averaged over; the KL is computed once.
        noise: what ``model.draw_noise`` returns, each tensor with a leading axis of mc_samples draws.
        generator: where to draw noise from; torch's default generator where not given.

    Returns:
        ``(loss, nll, kl)``, scalars: loss carries the graph; nll (in the criterion's units) and
        kl = KL / num_batches (in nats) are detached.

    Raises:
        ValueError: no batch count, two that differ, a count that is not a positive int, a kl_weight that is not
            finite; from the default criteria, a target that would have to be broadcast, or an empty batch; noise of
            the wrong shape.
        TypeError: an argument of the wrong type.

    Warns:
        DeprecationWarning: n_batches stands in for num_batches.

    Source:
        Blundell et al. 2015, section 3.4, https://arxiv.org/abs/1505.05424

    Example:
        >>> from deepuq_torch import BayesByBackpropMLP
        >>> model = BayesByBackpropMLP(3, [8], 2)
        >>> x, y = torch.randn(16, 3), torch.randint(2, (16,))
        >>> loss, nll, kl = vi_elbo_step(model, x, y, num_batches=10)
        >>> torch.allclose(loss, nll + kl), torch.allclose(10 * kl, model.kl())
        (True, True)
    """
    if num_batches is None and n_batches is not None:
        message = "'n_batches' is deprecated and will go; pass 'num_batches'."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    count = _one_count(num_batches, n_batches)
    number_or_scalar("kl_weight", kl_weight)
    mc_samples = positive_count("mc_samples", mc_samples)
    score = step_criterion(model, criterion)
    if score is not criterion:  # the caller's own may know what a batch of none is worth
        some_examples("x", x)
    total = None
    for outputs in _passes(model, x, mc_samples, noise, generator):
        total = score(outputs, y) if total is None else total + score(outputs, y)
    assert total is not None  # for the type checker: mc_samples is positive
    nll = total / mc_samples
    kl = model.kl() / count
    loss = nll + kl_weight * kl
    return loss, nll.detach(), kl.detach()


def _one_count(num_batches: object, n_batches: object) -> int:
    """The one batch count out of the documented argument and its deprecated alias."""
    if num_batches is None and n_batches is None:
        raise ValueError(fault("num_batches", "to be provided and > 0", None))
    if num_batches is None:
        return positive_count("n_batches (num_batches)", n_batches)
    if n_batches is not None and n_batches != num_batches:
        both = f"{num_batches!r} and {n_batches!r}"
        raise ValueError(fault("num_batches and n_batches", "to be equal, or only one of them", both))
    return positive_count("num_batches", num_batches)


def _passes(
    model: Any, x: Any, mc_samples: int, noise: Noise | None, generator: torch.Generator | None
) -> Iterator[Any]:
    """Outputs of so many stochastic passes. A model that knows only ``sample`` is asked for nothing else."""
    one_source(noise, generator)
    if noise is not None:
        check_draws(noise, mc_samples, "mc_samples")
    extra = {} if generator is None else {"generator": generator}
    for draw in range(mc_samples):
        if noise is not None:
            extra = {"noise": take_draws(noise, draw)}
        yield model(x, sample=True, **extra)


def _need_batch(per_example: object, outputs: Any) -> None:
    """A log-likelihood that sums or averages over the batch would change the units in silence."""
    if not isinstance(per_example, Tensor):
        raise TypeError(fault("log_likelihood", "to return a torch.Tensor", type(per_example).__name__))
    batch = outputs.shape[0] if isinstance(outputs, Tensor) and outputs.ndim > 0 else None
    if per_example.ndim != 1 or (batch is not None and per_example.shape[0] != batch):
        wanted = f"to return one number for each example, shape ({'batch' if batch is None else batch},)"
        raise ValueError(fault("log_likelihood", wanted, f"shape {tuple(per_example.shape)}"))
