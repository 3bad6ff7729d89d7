"""Both packages accept the same arguments, and their results have the same fields."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import deepuq_jax as dj
import deepuq_torch as dt
from parity_tests import refusals

_MODELS = [
    (refusals.jax_mlp, refusals.torch_mlp),
    (refusals.jax_regressor, refusals.torch_regressor),
    (refusals.jax_heteroscedastic, refusals.torch_heteroscedastic),
    (refusals.jax_homoscedastic, refusals.torch_homoscedastic),
    (refusals.jax_last_layer, refusals.torch_last_layer),
    (lambda: refusals.jax_last_layer("classification"), lambda: refusals.torch_last_layer("classification")),
    (lambda: refusals.jax_last_layer(heteroscedastic=True), lambda: refusals.torch_last_layer(heteroscedastic=True)),
]


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("given", [None, 1.0])
@pytest.mark.parametrize(("one", "other"), _MODELS)
def test_metadata_and_the_fields_that_are_none(one, other, given, softmax: bool):
    common: dict[str, Any] = dict(n_samples=2, apply_softmax=softmax, aleatoric_var=given)
    model, x = one(), jnp.asarray(refusals.X)
    # Tracing the program determines the fields and the metadata, so it need not be compiled.
    found = jax.eval_shape(lambda key: dj.predict_vi_uq(model, x, key=key, **common), jax.random.key(0))
    expected = dt.predict_vi_uq(other(), torch.tensor(refusals.X), **common)
    assert found.metadata == expected.metadata
    for name in ("mean", "epistemic_var", "aleatoric_var", "total_var", "probs", "probs_var"):
        assert (getattr(found, name) is None) == (getattr(expected, name) is None), name


@pytest.mark.parametrize("count", ["num_batches", "mc_samples"])
def test_numpy_integers_are_counts(count: str):
    for step in (refusals.jax_step, refusals.torch_step):
        step(**{count: np.int64(3)})


def test_numpy_integers_are_numbers_of_draws():
    for predict in (refusals.jax_predict, refusals.torch_predict):
        assert type(predict(n_samples=np.int32(3)).metadata["n_samples"]) is int


def test_a_later_name_of_the_same_class():
    for package in (dj, dt):
        assert package.BayesByBackpropRegressor is package.BayesByBackpropMLP


@pytest.mark.parametrize(
    ("model", "step"),
    [
        (refusals.jax_heteroscedastic(), lambda m, **how: refusals.jax_step(model=m, **how)[1].nll),
        (refusals.torch_heteroscedastic(), lambda m, **how: refusals.torch_step(model=m, **how)[1]),
        (refusals.jax_homoscedastic(), lambda m, **how: refusals.jax_step(model=m, **how)[1].nll),
        (refusals.torch_homoscedastic(), lambda m, **how: refusals.torch_step(model=m, **how)[1]),
    ],
    ids=["jax heteroscedastic", "torch heteroscedastic", "jax homoscedastic", "torch homoscedastic"],
)
def test_learned_noise_takes_precedence_over_a_criterion(model, step):
    y = np.zeros((4, 1), np.float32)
    assert float(step(model, y=y, criterion=lambda outputs, y: outputs.sum() * 0 + 1e3)) < 1e2
