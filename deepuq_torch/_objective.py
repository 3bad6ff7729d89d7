"""The exact objective, and the documented objective."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ._checks import fault, function, number_or_scalar, positive_count, positive_number, some_examples
from ._criteria import Criterion, compares_elements, default_log_likelihood, need_equal_shapes, step_criterion
from ._likelihood import LogLikelihood
from ._module import A_PASS, WHICH_MODELS
from ._noise import Noise, check_draws, one_source, take_draws
from ._wrappers import no_shared_noise, unwrapped


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
    """Negative ELBO per example.

    ``loss = nll + kl_weight * kl / num_data``, where nll is the batch mean of ``-log p(y | x, w)``. For
    ``kl_weight = 1``, num_data times the loss is an unbiased estimate of the negative ELBO of the whole data set,
    whatever the batch size.

    Args:
        model: a model with ``forward(x, sample=True)`` and ``kl()``, also inside ``DistributedDataParallel``,
            ``DataParallel`` or ``AveragedModel``. Passes go through the wrapper, and the KL is computed by the model
            inside.
        x: inputs of a batch.
        y: targets of the batch.
        num_data: number of examples in the whole training set (not of batches), at least the size of this batch. The
            value of a tensor is not checked.
        log_likelihood: callable ``(outputs, y) -> [batch]``, nats per example. If None, it is the Gaussian density for
            a model that predicts its noise, or whose ``noise_sigma`` was set by ``load``. It is categorical for other
            models, unless their ``task_type`` is "regression": these need a log_likelihood.
        kl_weight: factor of the KL, 1 for the ELBO; a number or a 0-d tensor.
        mc_samples: number of passes with fresh weights over which the nll is averaged.
        noise: results of ``model.draw_noise``, with a leading axis of mc_samples draws on every tensor.
        generator: generator of the noise; torch's default generator if None.

    Returns:
        ``(loss, nll, kl)``, scalars. The loss carries the graph; nll (nats per example) and kl (the whole KL, in nats)
        are detached.

    Raises:
        ValueError: a bad count, num_data, kl_weight, noise or target shape; an empty batch; a log_likelihood that does
            not return [batch]; or no log_likelihood, if the model does not determine it.
        TypeError: an argument of the wrong type, or a model without ``kl()``.

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
    num_data = number_or_scalar("num_data", num_data)
    if not isinstance(num_data, Tensor):  # a tensor's value is not read
        positive_number("num_data", num_data)
    kl_weight = number_or_scalar("kl_weight", kl_weight)
    mc_samples = positive_count("mc_samples", mc_samples)
    some_examples("x", x)
    inner = unwrapped(model)
    log_likelihood = default_log_likelihood(inner) if log_likelihood is None else log_likelihood
    function("log_likelihood", log_likelihood)
    _need_kl(inner)
    total = None
    for outputs in _passes(model, x, mc_samples, noise, generator):
        per_example = log_likelihood(outputs, y)
        _need_batch(per_example, outputs)
        _need_whole_data_set(num_data, per_example.shape[0])
        total = per_example.mean() if total is None else total + per_example.mean()
    assert total is not None  # for the type checker: mc_samples is positive
    nll = total / -mc_samples
    kl = inner.kl()
    loss = nll + _weighted(kl, kl_weight) / num_data
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
    """The documented objective.

    ``loss = nll + kl_weight * KL / num_batches``

    Units: the default criteria average over the B examples of a batch, so the KL has B times the weight that it has in
    the ELBO. Pass ``kl_weight = 1 / B``, or use ``negative_elbo``, to train on the ELBO itself.

    Args:
        model: a model with ``forward(x, sample=True)`` and ``kl()``, also inside ``DistributedDataParallel``,
            ``DataParallel`` or ``AveragedModel``. Passes go through the wrapper, and the KL is computed by the model
            inside.
        x: inputs of a batch.
        y: targets of the batch.
        num_batches: optimizer steps per epoch, ``len(train_loader)``.
        n_batches: deprecated name of num_batches.
        criterion: callable ``(outputs, y) -> scalar``; a model that predicts its noise uses its own ``nll`` instead. If
            None, it is the Gaussian nll if ``load`` has set the model's ``noise_sigma``, else the mean squared error if
            ``model.task_type == "regression"``, and otherwise the cross-entropy.
            Torch's elementwise regression losses, such as ``torch.nn.MSELoss()``, need targets of the outputs' shape.
            For a function of your own, which may reshape the targets, their shape is not checked.
        kl_weight: factor of ``KL / num_batches``; a number or a 0-d tensor.
        mc_samples: number of passes with fresh weights over which the nll is averaged; the KL is computed once.
        noise: results of ``model.draw_noise``, with a leading axis of mc_samples draws on every tensor.
        generator: generator of the noise; torch's default generator if None.

    Returns:
        ``(loss, nll, kl)``, scalars. The loss carries the graph; nll (in the criterion's units) and
        kl = KL / num_batches (in nats) are detached.

    Raises:
        ValueError: no batch count, two different counts, a count that is not a positive int, a kl_weight that is not
            finite, noise of the wrong shape, or a criterion that does not return a scalar. The default criteria also
            refuse an empty batch and a label out of range. They and torch's elementwise regression losses refuse a
            target that would have to be broadcast.
        TypeError: an argument of the wrong type, or a model without ``kl()``.

    Warns:
        DeprecationWarning: n_batches is given in place of num_batches.

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
        message = "'n_batches' is deprecated and will be removed; pass 'num_batches'."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    count = _one_count(num_batches, n_batches)
    kl_weight = number_or_scalar("kl_weight", kl_weight)
    mc_samples = positive_count("mc_samples", mc_samples)
    inner = unwrapped(model)
    score = step_criterion(inner, criterion)
    if score is not criterion:  # the caller's criterion may be defined for an empty batch
        some_examples("x", x)
    elementwise = compares_elements(score)
    _need_kl(inner)
    total = None
    for outputs in _passes(model, x, mc_samples, noise, generator):
        if elementwise:
            need_equal_shapes(outputs, y)
        value = score(outputs, y)
        _need_scalar(value)
        total = value if total is None else total + value
    assert total is not None  # for the type checker: mc_samples is positive
    nll = total if mc_samples == 1 else total / mc_samples
    kl = inner.kl() / count
    loss = nll + _weighted(kl, kl_weight)
    return loss, nll.detach(), kl.detach()


def _weighted(kl: Tensor, kl_weight: float | Tensor) -> Tensor:
    """Multiply the KL by its weight, unless that is 1.

    A step of a small network has only a few dozen operations, so saving a multiplication is worth it.
    """
    # When compiling, the test is skipped: a schedule that reaches 1 would recompile the function.
    if type(kl_weight) is float and kl_weight == 1.0 and not torch.compiler.is_compiling():
        return kl
    return kl_weight * kl


def _one_count(num_batches: object, n_batches: object) -> int:
    """Resolve the documented batch count and its deprecated alias."""
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
    """Yield the outputs of stochastic passes.

    Without noise or a generator, the model gets only ``sample``, the documented argument.
    """
    one_source(noise, generator)
    if noise is not None:
        check_draws(noise, mc_samples, "mc_samples")
        no_shared_noise(model, noise)
    extra = {} if generator is None else {"generator": generator}
    for draw in range(mc_samples):
        if noise is not None:
            extra = {"noise": take_draws(noise, draw)}
        yield model(x, sample=True, **extra)


def _need_kl(model: Any) -> None:
    if not callable(getattr(model, "kl", None)):
        raise TypeError(fault("model", f"to have kl() and to take {A_PASS}", type(model).__name__, WHICH_MODELS))


def _need_scalar(value: object) -> None:
    """Require a tensor of one number, such as the average over a batch."""
    if not isinstance(value, Tensor):
        raise TypeError(fault("criterion", "to return a torch.Tensor", type(value).__name__))
    if value.ndim != 0 and value.numel() != 1:
        advice = "Average over the batch, as reduction='mean' does."
        raise ValueError(fault("criterion", "to return a scalar", f"shape {tuple(value.shape)}", advice))


def _need_whole_data_set(num_data: float | Tensor, examples: int) -> None:
    """Refuse a data set smaller than its batch; a tensor's value is not read."""
    if not isinstance(num_data, Tensor) and num_data < examples:
        wanted = f"to be the size of the whole training set, at least that of the batch, {examples}"
        raise ValueError(fault("num_data", wanted, repr(num_data)))


def _need_batch(per_example: object, outputs: Any) -> None:
    """Require a log-likelihood per example.

    A sum or an average over the batch would silently change the units.
    """
    if not isinstance(per_example, Tensor):
        raise TypeError(fault("log_likelihood", "to return a torch.Tensor", type(per_example).__name__))
    batch = outputs.shape[0] if isinstance(outputs, Tensor) and outputs.ndim > 0 else None
    if per_example.ndim != 1 or (batch is not None and per_example.shape[0] != batch):
        wanted = f"to return one number per example, shape ({'batch' if batch is None else batch},)"
        raise ValueError(fault("log_likelihood", wanted, f"shape {tuple(per_example.shape)}"))
