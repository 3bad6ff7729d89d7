"""Cases of `predict_vi_uq`, in which both packages get the same random numbers.

They cover regression, classification, learned and given variances of the noise, and the ways in which torch runs the
draws.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
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
_DRAWS = 16
# On a CPU, torch runs at once as many draws as fit into 2^19 numbers. With `_COPIES` copies of the batch, these are 7
# draws of `_REGRESSION`. The moments of such chunks are merged.
_COPIES = 8192


def _fields(result: Any) -> dict[str, Any]:
    """Return the fields of a result that are not None.

    A field that is None in only one of the packages then counts as a missing quantity.
    """
    values = {name: getattr(result, name) for name in _FIELDS}
    return {name: value for name, value in values.items() if value is not None}


def _reference(spec: Spec, i: Arrays, draws: int, softmax: bool, given: Any) -> dict[str, Any]:
    outputs = np.stack([models.reference_outputs(spec, i, draw) for draw in range(draws)])
    if softmax or (spec.features and spec.task == "classification"):
        mean, var = ref.moments(ref.exp(ref.log_softmax(outputs)))
        return {"mean": mean, "epistemic_var": var, "total_var": var, "probs": mean, "probs_var": var}
    if spec.predicts_noise:
        given = (ref.softplus(outputs[..., spec.outputs :]) + ref.mp.mpf(1e-6)).sum(axis=0) / draws
        outputs = outputs[..., : spec.outputs]
    mean, var = ref.moments(outputs)
    if given is None:
        return {"mean": mean, "epistemic_var": var, "total_var": var}
    noise_var = given if spec.predicts_noise else var * 0 + ref.exact(np.asarray(given))
    return {"mean": mean, "epistemic_var": var, "aleatoric_var": noise_var, "total_var": var + noise_var}


def _case(
    name: str, spec: Spec, draws: int, *, softmax: bool = False, jax_var: Any = None, torch_var: Any = None
) -> Case:
    """Case of a prediction.

    Args:
        jax_var, torch_var: `aleatoric_var` of each side: a number, the name of an input, or None.
    """
    common: dict[str, Any] = dict(n_samples=draws, apply_softmax=softmax)

    def pick(i: dict[str, Any], var: Any) -> Any:
        return i[var] if isinstance(var, str) else var

    def inputs(dtype: str) -> Arrays:
        return {**draw_inputs(spec, 40, draws), "given": _GIVEN}

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.jax_model(spec, i), models.jax_noise(spec, i)
        return _fields(dj.predict_vi_uq(model, i["x"], noise=noise, aleatoric_var=pick(i, jax_var), **common))

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.torch_model(spec, i), models.torch_noise(spec, i)
        found = _fields(dt.predict_vi_uq(model, i["x"], noise=noise, aleatoric_var=pick(i, torch_var), **common))
        # Torch returns the caller's `aleatoric_var` as given, and JAX broadcasts it to the shape of the mean.
        return {k: v.expand_as(found["mean"]) for k, v in found.items()}

    def original_side(module: Any, i: dict[str, Any]) -> dict[str, Any]:
        model = models.original_model(module, spec, i)
        with original.fed_noise(models.torch_noise(spec, i), draws):
            found = _fields(module.predict_vi_uq(model, i["x"], aleatoric_var=pick(i, torch_var), **common))
        return {k: v.expand_as(found["mean"]) for k, v in found.items()}

    def exactly(i: Arrays) -> dict[str, Any]:
        return _reference(spec, i, draws, softmax, pick({"given": _GIVEN}, torch_var))

    can = spec.likelihood is None and (torch_var is None or isinstance(torch_var, str))
    return Case(name, inputs, jax_side, torch_side, exactly, original_side=original_side if can else None)


class _AnyMLP(dt.BayesByBackpropMLP):
    """Subclass of the MLP. Its passes may do anything, so torch runs its draws one at a time."""


def _one_at_a_time_case() -> Case:
    """Case of draws that torch runs and merges one at a time."""
    spec = _REGRESSION

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.jax_model(spec, i), models.jax_noise(spec, i)
        return _fields(dj.predict_vi_uq(model, i["x"], noise=noise, n_samples=_DRAWS))

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        model = models.put_parameters(_AnyMLP(spec.inputs, spec.hidden, spec.outputs), spec, i)
        return _fields(dt.predict_vi_uq(model, i["x"], noise=models.torch_noise(spec, i), n_samples=_DRAWS))

    return Case(
        f"predict_vi_uq regression, one draw at a time n_samples={_DRAWS}",
        lambda dtype: draw_inputs(spec, 41, _DRAWS),
        jax_side,
        torch_side,
        lambda i: _reference(spec, i, _DRAWS, False, None),
    )


def _in_chunks_case() -> Case:
    """Case of draws that torch runs in chunks on a CPU.

    The batch is large: it consists of `_COPIES` copies of a small batch.
    """
    spec = _REGRESSION

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        model, x = models.jax_model(spec, i), jnp.tile(i["x"], (_COPIES, 1))
        return _fields(dj.predict_vi_uq(model, x, noise=models.jax_noise(spec, i), n_samples=_DRAWS))

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        model, x = models.torch_model(spec, i), i["x"].tile((_COPIES, 1))
        return _fields(dt.predict_vi_uq(model, x, noise=models.torch_noise(spec, i), n_samples=_DRAWS))

    def exactly(i: Arrays) -> dict[str, Any]:
        found = _reference(spec, i, _DRAWS, False, None)
        return {name: np.tile(ref.to_floats(values), (_COPIES, 1)) for name, values in found.items()}

    return Case(
        f"predict_vi_uq regression, in chunks n_samples={_DRAWS}",
        lambda dtype: draw_inputs(spec, 42, _DRAWS),
        jax_side,
        torch_side,
        exactly,
    )


CASES = [
    _case("predict_vi_uq regression n_samples=5", _REGRESSION, 5),
    _case("predict_vi_uq regression n_samples=16", _REGRESSION, 16),
    _one_at_a_time_case(),
    _in_chunks_case(),
    _case("predict_vi_uq regression, aleatoric_var number", _REGRESSION, 5, jax_var=0.5, torch_var=0.5),
    _case("predict_vi_uq regression, aleatoric_var array", _REGRESSION, 5, jax_var="given", torch_var="given"),
    _case("predict_vi_uq regression, likelihood's noise", SPECS["gaussian"], 5, torch_var=0.25),
    _case("predict_vi_uq heteroscedastic n_samples=5", SPECS["heteroscedastic"], 5),
    _case("predict_vi_uq heteroscedastic n_samples=16", SPECS["heteroscedastic"], 16),
    _case("predict_vi_uq heteroscedastic, one target", SPECS["heteroscedastic, one target"], 5),
    _case("predict_vi_uq homoscedastic n_samples=5", SPECS["homoscedastic"], 5, jax_var=0.5, torch_var=0.5),
    _case("predict_vi_uq homoscedastic n_samples=16", SPECS["homoscedastic"], 16),
    # A given variance has no effect on a model that predicts its noise, nor in classification.
    _case("predict_vi_uq heteroscedastic, aleatoric_var", SPECS["heteroscedastic"], 5, jax_var=0.5, torch_var=0.5),
    _case("predict_vi_uq classification, aleatoric_var", _CLASSIFICATION, 5, softmax=True, jax_var=0.5, torch_var=0.5),
    _case("predict_vi_uq regressor n_samples=16", SPECS["regression"], 16),
    # A model whose task is classification applies the softmax without being asked.
    *[_case(f"predict_vi_uq {kind} n_samples=16", spec, 16) for kind, spec in _LAST_LAYERS.items()],
    _case("predict_vi_uq classification n_samples=5", _CLASSIFICATION, 5, softmax=True),
    _case("predict_vi_uq classification n_samples=16", _CLASSIFICATION, 16, softmax=True),
]
