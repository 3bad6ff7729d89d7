"""Cases of layers, networks, an objective and predictions in bfloat16.

Inputs, weights and noise are bfloat16 numbers. JAX keeps its posteriors in float32 and computes in bfloat16
(``dtype=``). Torch does the same under ``torch.autocast``, or keeps its parameters in bfloat16, too. Both ways are
compared with JAX. JAX, and torch with bfloat16 parameters, are also compared with 60 digits. The bounds are those of
`rounding`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch

import deepuq_jax as dj
import deepuq_torch as dt
from parity_tests import models, rounding, transfer
from parity_tests import reference as ref
from parity_tests.cases.objectives import draw_inputs
from parity_tests.harness import LOW, Arrays, Case, torch_device
from parity_tests.models import Spec
from parity_tests.tolerances import CONDITIONING_ULP

_DRAWS, _NUM_DATA, _KL_WEIGHT = 2, 37, 0.25  # the weight is exact in binary
_PREDICTION_DRAWS = 5
_MOMENTS = ("mean", "epistemic_var", "total_var")


class _Computation(torch.nn.Module):
    """Function of a model, as a module for `functional_call`."""

    def __init__(self, model: torch.nn.Module, function: Callable[[Any], Any]):
        super().__init__()
        self.model, self.function = model, function

    def forward(self) -> Any:
        return self.function(self.model)


def _jax_model(spec: Spec, i: dict[str, Any]) -> Any:
    model = models.jax_model(spec, i)
    for layer in transfer.jax_layers(model):
        layer.dtype = jnp.bfloat16
    return model


def _on_torch(spec: Spec, i: dict[str, Any], autocast: bool, function: Callable) -> Any:
    """Apply `function` to the model, under autocast or with bfloat16 parameters."""
    model = models.torch_model(spec, i)
    if autocast:
        with torch.autocast(torch_device().type, torch.bfloat16):
            return function(model)
    weights = {f"model.{name}": i[name].bfloat16() for name in spec.weight_names}
    return torch.func.functional_call(_Computation(model, function), weights, ())


def _torch_data(spec: Spec, i: dict[str, Any], autocast: bool) -> tuple[Any, Any]:
    """Return x and noise in the dtype of the parameters."""
    x, noise = i["x"], models.torch_noise(spec, i)
    if autocast:
        return x, noise
    return x.bfloat16(), tuple((weight.bfloat16(), bias.bfloat16()) for weight, bias in noise)


def _widened(outputs: Any) -> Any:
    """Widen bfloat16 outputs to float32; refuse others."""
    if outputs.dtype not in (jnp.bfloat16, torch.bfloat16):
        raise TypeError(f"Expected outputs in bfloat16; got {outputs.dtype}.")
    return outputs.float() if isinstance(outputs, torch.Tensor) else outputs.astype(jnp.float32)


def _allowed(bounds: Arrays) -> Arrays:
    """Convert bounds on errors to the unit of `Case.conditioning`."""
    return {name: bound / (CONDITIONING_ULP * float(jnp.finfo(LOW).eps)) for name, bound in bounds.items()}


def _in_float64(i: Arrays) -> Arrays:
    return {name: v.astype(np.float64) if np.issubdtype(v.dtype, np.floating) else v for name, v in i.items()}


def _forward_bounds(spec: Spec, i: Arrays) -> Arrays:
    i = _in_float64(i)
    of = rounding.forward(spec, i, ...)
    weights = np.cos(np.arange(of.outputs.size)).reshape(of.outputs.shape)  # of the sum that is differentiated
    gradients = rounding.backward(spec, i, ..., weights, np.zeros_like(weights))
    return _allowed({"value": of.output_error} | {f"d {name}": bound for name, bound in gradients.items()})


def _forward_case(name: str, spec: Spec, autocast: bool, *, smooth: bool = True) -> Case:
    """Case of a draw of a network, and its KL.

    The case has gradients only if the network is `smooth`, because a rounding may flip a relu.
    """

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        model = _jax_model(spec, i)
        return {"value": _widened(model(i["x"], noise=models.jax_noise(spec, i))), "kl": model.kl()}

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        x, noise = _torch_data(spec, i, autocast)
        return _on_torch(spec, i, autocast, lambda model: {"value": _widened(model(x, noise=noise)), "kl": model.kl()})

    def exactly(i: Arrays) -> dict[str, Any]:
        one = {k: v[None] if k.startswith("noise") else v for k, v in i.items()}
        return {"value": models.reference_outputs(spec, one, 0), "kl": models.reference_kl(spec, i)}

    return Case(
        _title(name, autocast),
        lambda dtype: draw_inputs(spec, 50),
        jax_side,
        torch_side,
        None if autocast else exactly,
        wrt=(*spec.weight_names, "x") if smooth else (),
        tolerance="bfloat16",
        grad_tolerance="bfloat16",
        conditioning=lambda i: _forward_bounds(spec, i),
        dtypes=(LOW,),
    )


def _elbo_bounds(spec: Spec, i: Arrays) -> Arrays:
    i = _in_float64(i)
    scale = _KL_WEIGHT / _NUM_DATA
    of_nll, gradients = 0.0, {k: scale * bound for k, bound in rounding.kl_gradients(spec, i).items()}
    for draw in range(_DRAWS):
        error, slopes, slope_errors = rounding.cross_entropy(i, rounding.forward(spec, i, draw))
        found = rounding.backward(spec, i, draw, slopes, slope_errors)
        of_nll = of_nll + error / _DRAWS
        gradients = {name: bound + found[name] / _DRAWS for name, bound in gradients.items()}
    bounds = {"loss": np.asarray(of_nll), "nll": np.asarray(of_nll)}
    return _allowed(bounds | {f"d {name}": bound for name, bound in gradients.items()})


def _elbo_case(spec: Spec, autocast: bool) -> Case:
    """Case of the exact objective."""
    common: dict[str, Any] = dict(num_data=_NUM_DATA, kl_weight=_KL_WEIGHT, mc_samples=_DRAWS)

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        noise = models.jax_noise(spec, i)
        loss, terms = dj.negative_elbo(_jax_model(spec, i), i["x"], i["y"], noise=noise, **common)
        return {"loss": loss, "nll": terms.nll, "kl": terms.kl}

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        x, noise = _torch_data(spec, i, autocast)
        found = _on_torch(spec, i, autocast, lambda model: dt.negative_elbo(model, x, i["y"], noise=noise, **common))
        return dict(zip(("loss", "nll", "kl"), found, strict=True))

    def exactly(i: Arrays) -> dict[str, Any]:
        labels, rows = i["y"], np.arange(len(i["y"]))
        draws = [ref.log_softmax(models.reference_outputs(spec, i, d))[rows, labels] for d in range(_DRAWS)]
        nll, kl = -np.mean(draws), models.reference_kl(spec, i)
        return {"loss": nll + ref.mp.mpf(_KL_WEIGHT) * kl / _NUM_DATA, "nll": nll, "kl": kl}

    return Case(
        _title(f"negative_elbo categorical mc_samples={_DRAWS}", autocast),
        lambda dtype: draw_inputs(spec, 60, _DRAWS),
        jax_side,
        torch_side,
        None if autocast else exactly,
        wrt=spec.weight_names,
        grad_of="loss",
        tolerance="bfloat16",
        grad_tolerance="bfloat16",
        conditioning=lambda i: _elbo_bounds(spec, i),
        dtypes=(LOW,),
    )


def _prediction_bounds(spec: Spec, i: Arrays) -> Arrays:
    i = _in_float64(i)
    passes = [rounding.forward(spec, i, draw) for draw in range(_PREDICTION_DRAWS)]
    of_draws = [(of.outputs, of.output_error) for of in passes]
    if _is_classification(spec):
        of_draws = [rounding.probabilities(of) for of in passes]
    mean, var = rounding.moments(*(np.stack(parts) for parts in zip(*of_draws, strict=True)))
    return _allowed({"mean": mean, "epistemic_var": var, "total_var": var})


def _prediction_case(name: str, spec: Spec, autocast: bool) -> Case:
    """Case of predictive moments.

    JAX returns the moments in float32, torch in the dtype of the outputs.
    """
    common: dict[str, Any] = dict(n_samples=_PREDICTION_DRAWS, apply_softmax=_is_classification(spec))

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        found = dj.predict_vi_uq(_jax_model(spec, i), i["x"], noise=models.jax_noise(spec, i), **common)
        return {field: getattr(found, field) for field in _MOMENTS}

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        x, noise = _torch_data(spec, i, autocast)
        found = _on_torch(spec, i, autocast, lambda model: dt.predict_vi_uq(model, x, noise=noise, **common))
        return {field: _widened(getattr(found, field)) for field in _MOMENTS}

    def exactly(i: Arrays) -> dict[str, Any]:
        outputs = np.stack([models.reference_outputs(spec, i, draw) for draw in range(_PREDICTION_DRAWS)])
        values = ref.exp(ref.log_softmax(outputs)) if _is_classification(spec) else outputs
        mean, var = ref.moments(values)
        return {"mean": mean, "epistemic_var": var, "total_var": var}

    return Case(
        _title(f"predict_vi_uq {name} n_samples={_PREDICTION_DRAWS}", autocast),
        lambda dtype: draw_inputs(spec, 90, _PREDICTION_DRAWS),
        jax_side,
        torch_side,
        None if autocast else exactly,
        tolerance="bfloat16",
        conditioning=lambda i: _prediction_bounds(spec, i),
        dtypes=(LOW,),
    )


def _is_classification(spec: Spec) -> bool:
    return isinstance(spec.likelihood, dj.Categorical)


def _title(name: str, autocast: bool) -> str:
    return f"{name}, bfloat16 by autocast" if autocast else f"{name}, bfloat16 parameters"


_TANH = Spec(hidden=(4, 3), activation="tanh")
_CLASSES = Spec(outputs=3, activation="tanh", likelihood=dj.Categorical())

CASES = [
    case
    for autocast in (False, True)
    for case in (
        _forward_case("BayesianLinear", Spec(hidden=()), autocast),
        _forward_case("MLP relu", Spec(hidden=(4, 3)), autocast, smooth=False),
        _forward_case("MLP tanh", _TANH, autocast),
        _elbo_case(_CLASSES, autocast),
        _prediction_case("regression", _TANH, autocast),
        _prediction_case("classification", _CLASSES, autocast),
    )
]
