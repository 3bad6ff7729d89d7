"""Cases of the objectives' weights.

In some cases, the weight of the KL and the number of examples are arrays, and the loss is also differentiated by them.
In another case, the weight is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import deepuq_jax as dj
import deepuq_torch as dt
from parity_tests import models
from parity_tests import reference as ref
from parity_tests.cases.objectives import SPECS, draw_inputs
from parity_tests.harness import Arrays, Case

_SPEC = SPECS["categorical"]
_NAMES = ("loss", "nll", "kl")


def _case(name: str, jax_objective: Callable, torch_objective: Callable, exact_loss: Callable, how: Any) -> Case:
    """Case of a single draw.

    Args:
        how: weights of the objective; arrays among them are inputs to differentiate by.
    """
    arrays = {k: v for k, v in how.items() if isinstance(v, np.ndarray)}

    def weights(i: dict[str, Any]) -> dict[str, Any]:
        return {k: i[k] if k in arrays else v for k, v in how.items()}

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.jax_model(_SPEC, i), models.jax_noise(_SPEC, i)
        loss, terms = jax_objective(model, i["x"], i["y"], noise=noise, **weights(i))
        return {"loss": loss, "nll": terms.nll, "kl": terms.kl}

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.torch_model(_SPEC, i), models.torch_noise(_SPEC, i)
        return dict(zip(_NAMES, torch_objective(model, i["x"], i["y"], noise=noise, **weights(i)), strict=True))

    def exactly(i: Arrays) -> dict[str, Any]:
        outputs = models.reference_outputs(_SPEC, i, 0)
        nll = -ref.log_softmax(outputs)[np.arange(len(i["y"])), i["y"]].mean()
        return exact_loss(nll, models.reference_kl(_SPEC, i), {k: np.asarray(v)[()] for k, v in weights(i).items()})

    return Case(
        name,
        lambda dtype: draw_inputs(_SPEC, 70, 1) | arrays,
        jax_side,
        torch_side,
        exactly,
        wrt=(*_SPEC.weight_names, *arrays),
        grad_of="loss",
    )


def _elbo(name: str, **how: Any) -> Case:
    def exact(nll: Any, kl: Any, i: dict[str, Any]) -> dict[str, Any]:
        return {"loss": nll + i["kl_weight"] * kl / i["num_data"], "nll": nll, "kl": kl}

    return _case(name, dj.negative_elbo, dt.negative_elbo, exact, how)


def _step(name: str, **how: Any) -> Case:
    def exact(nll: Any, kl: Any, i: dict[str, Any]) -> dict[str, Any]:
        kl = kl / i["num_batches"]
        return {"loss": nll + i["kl_weight"] * kl, "nll": nll, "kl": kl}

    return _case(name, dj.vi_elbo_step, dt.vi_elbo_step, exact, how)


CASES = [
    _elbo("negative_elbo, kl_weight and num_data as arrays", kl_weight=np.array(2.5), num_data=np.array(37.0)),
    _elbo("negative_elbo kl_weight=0", kl_weight=0.0, num_data=37),
    _step("vi_elbo_step, kl_weight as an array", kl_weight=np.array(2.5), num_batches=9),
]
