"""`predict_vi_uq` on one stack of noises: regression, classification, learned noise, given noise."""

from __future__ import annotations

from typing import Any

import numpy as np

import deepuq_jax as dj
import deepuq_torch as dt
from parity_tests import models, original
from parity_tests import reference as ref
from parity_tests.cases.objectives import SPECS, draw_inputs
from parity_tests.harness import Arrays, Case
from parity_tests.models import Spec

_FIELDS = ("mean", "epistemic_var", "aleatoric_var", "total_var", "probs", "probs_var")
_REGRESSION = Spec(outputs=2)
_CLASSIFICATION = Spec(outputs=3)
_LAST_LAYERS = {kind: spec for kind, spec in SPECS.items() if spec.features and not kind.endswith("gaussian")}
_GIVEN = np.array([[0.25, 2.0]])  # broadcasts over the batch


def _fields(result: Any) -> dict[str, Any]:
    """What the result holds; a field that is None on one side only is then a quantity too few."""
    values = {name: getattr(result, name) for name in _FIELDS}
    return {name: value for name, value in values.items() if value is not None}


def _moments(outputs: np.ndarray) -> tuple[Any, Any]:
    mean = outputs.sum(axis=0) / len(outputs)
    return mean, ((outputs - mean) ** 2).sum(axis=0) / len(outputs)


def _reference(spec: Spec, i: Arrays, draws: int, softmax: bool, given: Any) -> dict[str, Any]:
    outputs = np.stack([models.reference_outputs(spec, i, draw) for draw in range(draws)])
    if softmax or (spec.features and spec.task == "classification"):
        mean, var = _moments(ref.exp(ref.log_softmax(outputs)))
        return {"mean": mean, "epistemic_var": var, "total_var": var, "probs": mean, "probs_var": var}
    if spec.predicts_noise:
        given = (ref.softplus(outputs[..., spec.outputs :]) + ref.mp.mpf(1e-6)).sum(axis=0) / draws
        outputs = outputs[..., : spec.outputs]
    mean, var = _moments(outputs)
    if given is None:
        return {"mean": mean, "epistemic_var": var, "total_var": var}
    noise_var = var * 0 + ref.exact(np.asarray(given)) if not spec.predicts_noise else given
    return {"mean": mean, "epistemic_var": var, "aleatoric_var": noise_var, "total_var": var + noise_var}


def _case(
    name: str, spec: Spec, draws: int, *, softmax: bool = False, jax_var: Any = None, torch_var: Any = None
) -> Case:
    """`jax_var` and `torch_var` are the `aleatoric_var` of each side: a number, or the name of an input."""
    pick = lambda i, var: i[var] if isinstance(var, str) else var
    common: dict[str, Any] = dict(n_samples=draws, apply_softmax=softmax)

    def inputs(dtype: str) -> Arrays:
        return {**draw_inputs(spec, 40, draws), "given": _GIVEN}

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.jax_model(spec, i), models.jax_noise(spec, i)
        return _fields(dj.predict_vi_uq(model, i["x"], noise=noise, aleatoric_var=pick(i, jax_var), **common))

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.torch_model(spec, i), models.torch_noise(spec, i)
        found = _fields(dt.predict_vi_uq(model, i["x"], noise=noise, aleatoric_var=pick(i, torch_var), **common))
        # Documented as the caller's variance, which torch gives back as it came; JAX broadcasts it to the mean.
        return {k: v.expand_as(found["mean"]) for k, v in found.items()}

    def original_side(module: Any, i: dict[str, Any]) -> dict[str, Any]:
        model = models.original_model(module, spec, i)
        with original.fed_noise(models.torch_noise(spec, i), draws):
            found = _fields(module.predict_vi_uq(model, i["x"], aleatoric_var=pick(i, torch_var), **common))
        return {k: v.expand_as(found["mean"]) for k, v in found.items()}

    exactly = lambda i: _reference(spec, i, draws, softmax, pick({"given": _GIVEN}, torch_var))
    can = spec.likelihood is None and (torch_var is None or isinstance(torch_var, str))
    side = original_side if can else None
    return Case(name, inputs, jax_side, torch_side, exactly, original_side=side)


# Torch batches 8 draws or more by vmap and runs fewer one by one: both paths.
CASES = [
    _case("predict_vi_uq regression n_samples=5", _REGRESSION, 5),
    _case("predict_vi_uq regression n_samples=16", _REGRESSION, 16),
    _case("predict_vi_uq regression, aleatoric_var number", _REGRESSION, 5, jax_var=0.5, torch_var=0.5),
    _case("predict_vi_uq regression, aleatoric_var array", _REGRESSION, 5, jax_var="given", torch_var="given"),
    _case("predict_vi_uq regression, likelihood's noise", SPECS["gaussian"], 5, torch_var=0.25),
    _case("predict_vi_uq heteroscedastic n_samples=5", SPECS["heteroscedastic"], 5),
    _case("predict_vi_uq heteroscedastic n_samples=16", SPECS["heteroscedastic"], 16),
    _case("predict_vi_uq heteroscedastic, one target", SPECS["heteroscedastic, one target"], 5),
    _case("predict_vi_uq homoscedastic n_samples=5", SPECS["homoscedastic"], 5, jax_var=0.5, torch_var=0.5),
    _case("predict_vi_uq homoscedastic n_samples=16", SPECS["homoscedastic"], 16),
    # A given variance has no effect here, on either side.
    _case("predict_vi_uq heteroscedastic, aleatoric_var", SPECS["heteroscedastic"], 5, jax_var=0.5, torch_var=0.5),
    _case("predict_vi_uq classification, aleatoric_var", _CLASSIFICATION, 5, softmax=True, jax_var=0.5, torch_var=0.5),
    _case("predict_vi_uq regressor n_samples=16", SPECS["regression"], 16),
    # A classification by its task takes the softmax by itself.
    *[_case(f"predict_vi_uq {kind} n_samples=16", spec, 16) for kind, spec in _LAST_LAYERS.items()],
    _case("predict_vi_uq classification n_samples=5", _CLASSIFICATION, 5, softmax=True),
    _case("predict_vi_uq classification n_samples=16", _CLASSIFICATION, 16, softmax=True),
]
