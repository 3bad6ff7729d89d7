"""Monte Carlo predictive moments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._checks import broadcasts_to, fault, finite_number, flag, positive_count, real_tensor
from ._criteria import is_heteroscedastic, known_noise, need_variance_methods, predicts_noise
from ._draws import evaluating, output_chunks
from ._gaussian import at_least_float32
from ._module import need_stochastic_pass
from ._moments import StreamingMoments
from ._noise import Noise, check_draws, one_source
from ._wrappers import no_shared_noise, to_predict_with, unwrapped
from .types import UQResult


def predict_vi_uq(
    model: Any,
    x: Any,
    n_samples: int = 50,
    apply_softmax: bool = False,
    aleatoric_var: Tensor | float | None = None,
    *,
    noise: Noise | None = None,
    generator: torch.Generator | None = None,
) -> UQResult:
    """Predictive mean and variances over posterior draws.

    ``total_var = epistemic_var + aleatoric_var``. ``epistemic_var`` is the variance over draws: the sum of the squared
    deviations, divided by n_samples. ``aleatoric_var`` is the variance of the noise: the model predicts it (and it is
    averaged over draws), or it is known, or the caller gives it. In classification, the moments are those of
    ``softmax(outputs)`` over the last axis.

    The model runs in evaluation mode, without gradients, and its modes are restored afterwards. The draws are merged in
    chunks of bounded size, so memory does not grow with n_samples beyond that of a chunk.

    Inside a function that ``torch.compile`` compiles, the prediction runs outside of the graph. So a seed gives the
    same draws as without compilation, the time to compile does not depend on n_samples, and ``fullgraph=True`` is not
    possible.

    Args:
        model: a model with ``forward(x, sample=True)``, also inside ``DistributedDataParallel``, ``DataParallel``,
            ``AveragedModel`` or ``torch.compile``.
        x: inputs, ``[batch, ...]``.
        n_samples: number of draws.
        apply_softmax: whether the outputs are logits; always true if ``model.task_type`` is "classification".
        aleatoric_var: variance (not a std) of the noise in regression: a number, or a tensor that broadcasts to the
            mean. It has no effect in classification, nor on a model that predicts its own noise. If it is None and
            ``load`` has set ``model.noise_sigma``, the variance is the square of the latter.
        noise: results of ``model.draw_noise``, with a leading axis of n_samples draws on every tensor.
        generator: generator of the noise; torch's default generator if None.

    Returns:
        a ``UQResult`` in the dtype of the outputs. Its ``metadata`` has ``method`` ("vi"), ``n_samples``, ``task``
        ("regression" or "classification") and, in regression, ``heteroscedastic``.

    Raises:
        ValueError: n_samples is not a positive int; aleatoric_var is negative, or does not broadcast to the mean; a
            model that predicts its noise lacks ``split_prediction`` or ``predictive_variance``; or the noise has the
            wrong shape.
        TypeError: an argument of the wrong type, or a model whose call does not take ``sample``.

    Source:
        Blundell et al. 2015, https://arxiv.org/abs/1505.05424; Kendall and Gal 2017,
        https://arxiv.org/abs/1703.04977, for the two kinds of variance

    Example:
        >>> from deepuq_torch import BayesByBackpropMLP
        >>> result = predict_vi_uq(BayesByBackpropMLP(3, [8], 1), torch.randn(4, 3), aleatoric_var=0.5)
        >>> torch.equal(result.total_var, result.epistemic_var + 0.5)
        True
        >>> result.metadata
        {'method': 'vi', 'n_samples': 50, 'task': 'regression', 'heteroscedastic': False}
    """
    predict = _outside_the_graph() if torch.compiler.is_compiling() else _predict
    return predict(model, x, n_samples, apply_softmax, aleatoric_var, noise, generator)


@functools.cache
def _outside_the_graph() -> Callable[..., UQResult]:
    """Keep the prediction out of compiled functions.

    The compiler would unroll the draws, and take minutes for dozens of them. This is a function because importing the
    compiler takes a second, which only its users should have to wait for.
    """
    return torch.compiler.disable(_predict)  # type: ignore[return-value]


def _predict(
    model: Any,
    x: Any,
    n_samples: int,
    apply_softmax: bool,
    aleatoric_var: Tensor | float | None,
    noise: Noise | None,
    generator: torch.Generator | None,
) -> UQResult:
    n_samples = positive_count("n_samples", n_samples)
    flag("apply_softmax", apply_softmax)
    one_source(noise, generator)
    if noise is not None:
        check_draws(noise, n_samples, "n_samples")
        no_shared_noise(model, noise)
    passes, model = to_predict_with(model), unwrapped(model)
    classify = bool(apply_softmax) or getattr(model, "task_type", "regression") == "classification"
    own_noise = predicts_noise(model) and not classify
    if own_noise:
        need_variance_methods(model)
    need_stochastic_pass(model)
    sigma = known_noise(model)
    if aleatoric_var is None and sigma is not None:
        aleatoric_var = sigma**2

    means, noises, dtype = StreamingMoments(), StreamingMoments(), None
    with torch.no_grad(), evaluating(passes):
        for outputs in output_chunks(passes, x, n_samples, noise, generator):
            dtype = outputs.dtype
            if classify:
                outputs = torch.softmax(at_least_float32(outputs), dim=-1)
            elif own_noise:
                outputs, noise_vars = _read_noise(model, outputs)
                noises.add(noise_vars)
            means.add(outputs)
        mean, epistemic_var = means.mean.to(dtype), means.var.to(dtype)
        if classify:
            return _classification(mean, epistemic_var, n_samples)
        if own_noise:
            noise_var = noises.mean.to(dtype)
        else:
            noise_var = None if aleatoric_var is None else _given_variance(aleatoric_var, mean)
        return _regression(mean, epistemic_var, noise_var, n_samples, is_heteroscedastic(model))


def _read_noise(model: Any, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Read the means and noise variances of a chunk.

    They are read draw by draw, because a model's methods may count axes from the front.
    """
    means, noise_vars = [], []
    for output in outputs:
        mean, raw_var = model.split_prediction(output)
        means.append(mean)
        noise_vars.append(model.predictive_variance(raw_var))
    return torch.stack(means), torch.stack(noise_vars)


def _classification(probs: Tensor, probs_var: Tensor, n_samples: int) -> UQResult:
    return UQResult(
        mean=probs,
        epistemic_var=probs_var,
        aleatoric_var=None,
        total_var=probs_var,
        probs=probs,
        probs_var=probs_var,
        metadata={"method": "vi", "n_samples": n_samples, "task": "classification"},
    )


def _regression(
    mean: Tensor, epistemic_var: Tensor, noise_var: Tensor | None, n_samples: int, heteroscedastic: bool
) -> UQResult:
    metadata = {
        "method": "vi",
        "n_samples": n_samples,
        "task": "regression",
        "heteroscedastic": heteroscedastic,
    }
    return UQResult(
        mean=mean,
        epistemic_var=epistemic_var,
        aleatoric_var=noise_var,
        total_var=epistemic_var if noise_var is None else epistemic_var + noise_var,
        metadata=metadata,
    )


def _given_variance(aleatoric_var: Tensor | float, mean: Tensor) -> Tensor:
    """Return the given variance in the mean's dtype and device."""
    if not isinstance(aleatoric_var, Tensor):
        if finite_number("aleatoric_var", aleatoric_var) < 0.0:
            raise ValueError(fault("aleatoric_var", "to be a variance, not negative", repr(aleatoric_var)))
        aleatoric_var = torch.tensor(float(aleatoric_var), dtype=mean.dtype, device=mean.device)
    given = real_tensor("aleatoric_var", aleatoric_var).detach().to(mean.device, mean.dtype)
    broadcasts_to("aleatoric_var", given, mean.shape, "the predicted mean")
    # Unlike a training step, a prediction may read a tensor, since it waits for the device only once.
    if not given.is_meta and not (given >= 0.0).all():
        raise ValueError(fault("aleatoric_var", "to be a variance, not negative and not NaN", given.min().item()))
    return given
