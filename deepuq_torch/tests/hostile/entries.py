"""How each public name of `deepuq_torch` is called, and the values that replace its arguments."""

import decimal
import fractions
import os
import re
import tempfile

import numpy as np
import torch
from torch import nn

import deepuq_torch as dq
from deepuq_torch import functional as fn

X = torch.tensor([[0.5, -1.0], [2.0, 0.25]])
SIGMA = torch.tensor([[0.5, 0.1], [1.0, 2.0]])
Y = X[:, :1]
LABELS = torch.tensor([0, 1])


class OwnError(Exception):
    """An error from a function of the caller's own, which the library lets through."""


def refuse(*args, **options):
    """Stand in for any function that a caller passes."""
    raise OwnError


VALUES = {
    "None": None,
    "a word": "word",
    "bytes": b"1",
    "an empty list": [],
    "a list": [1.0, 2.0],
    "a tuple": (1.0, 2.0),
    "a dict": {"a": 1.0},
    "a set": {1.0},
    "an object": object(),
    "a class": float,
    "a function": refuse,
    "True": True,
    "0": 0,
    "1": 1,
    "-1": -1,
    "10^400": 10**400,
    "0.5": 0.5,
    "-1.5": -1.5,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "1e30": 1e30,
    "1e-30": 1e-30,
    "the smallest float": 5e-324,
    "complex": 1.0 + 2.0j,
    "a fraction": fractions.Fraction(1, 3),
    "a decimal": decimal.Decimal("0.5"),
    "np.float64": np.float64(0.5),
    "np.ndarray": X.numpy(),
    "masked": np.ma.masked_array(X.numpy(), X.numpy() > 1),
    "float64": X.double(),
    "float16": X.half(),
    "bfloat16": X.bfloat16(),
    "int64": torch.ones(2, 2, dtype=torch.long),
    "bool": X > 0,
    "complex64": X + 1j,
    "NaN among them": torch.where(X > 1, torch.nan, X),
    "infinities": torch.where(X > 1, torch.inf, -torch.inf),
    "the largest": torch.where(X > 1, 3e38, -3e38),
    "subnormal": torch.full((2, 2), 1e-45),
    "zeros": torch.zeros(2, 2),
    "negative": -torch.ones(2, 2),
    "0-d": torch.tensor(0.5),
    "[0]": torch.zeros(0),
    "[0, 2]": torch.zeros(0, 2),
    "[2, 0]": torch.zeros(2, 0),
    "[2]": torch.ones(2),
    "[3]": torch.ones(3),
    "[2, 3]": torch.ones(2, 3),
    "sparse": torch.eye(2).to_sparse(),
}


def mlp():
    return dq.BayesByBackpropMLP(2, (2,), 1)


def _save(model, metadata):
    with tempfile.TemporaryDirectory() as folder:
        dq.save(os.path.join(folder, "model"), model, metadata=metadata)


def _load(like):
    with tempfile.TemporaryDirectory() as folder:
        dq.save(os.path.join(folder, "model"), mlp())
        dq.load(os.path.join(folder, "model"), like=like)


def _last_layer(**options):
    return dq.LastLayerVariationalInference(nn.Linear(2, 2), **options)


_REGRESSORS = {
    "HeteroscedasticBayesByBackpropRegressor": dq.HeteroscedasticBayesByBackpropRegressor,
    "HeteroscedasticMultiOutputBayesByBackpropRegressor": dq.HeteroscedasticMultiOutputBayesByBackpropRegressor,
    "HomoscedasticBayesByBackpropRegressor": dq.HomoscedasticBayesByBackpropRegressor,
    "MultiOutputBayesByBackpropRegressor": dq.MultiOutputBayesByBackpropRegressor,
    "BayesByBackpropRegressor": dq.BayesByBackpropRegressor,
    "BayesByBackpropMLP": dq.BayesByBackpropMLP,
}
_SIZES = {"input_dim": 2, "hidden_dims": (2,), "output_dim": 1, "prior_sigma": 0.1, "prior_mu": 0.0}

# name -> (call, valid arguments)
ENTRIES = {
    "functional.categorical_log_likelihood": (fn.categorical_log_likelihood, {"outputs": X, "y": LABELS}),
    "functional.gaussian_kl": (fn.gaussian_kl, {"mu": X, "rho": X, "prior_mu": 0.0, "prior_sigma": 1.0}),
    "functional.gaussian_log_likelihood": (
        lambda sigma, outputs, y: fn.gaussian_log_likelihood(sigma)(outputs, y),
        {"sigma": 0.5, "outputs": X, "y": X},
    ),
    "functional.gaussian_log_prob": (fn.gaussian_log_prob, {"w": X, "mu": X, "rho": X}),
    "functional.heteroscedastic_gaussian_log_likelihood": (
        fn.heteroscedastic_gaussian_log_likelihood,
        {"outputs": X, "y": Y},
    ),
    "functional.log_sigma": (fn.log_sigma, {"rho": X}),
    "functional.normal_log_prob": (fn.normal_log_prob, {"w": X, "mu": 0.0, "sigma": 0.5}),
    "functional.reparameterize": (fn.reparameterize, {"mu": X, "rho": X, "noise": X}),
    "functional.rho_from_sigma": (fn.rho_from_sigma, {"sigma": SIGMA}),
    "functional.sigma_from_rho": (fn.sigma_from_rho, {"rho": X}),
    "functional.stack_noise": (fn.stack_noise, {"draws": [X, X]}),
    "BayesianLinear": (dq.BayesianLinear, {"in_features": 2, "out_features": 1, "prior_sigma": 0.1, "prior_mu": 0.0}),
    "GaussianPosterior": (
        lambda mu, rho, prior_mu: dq.GaussianPosterior(mu, rho).kl(dq.GaussianPrior(prior_mu)),
        {"mu": X, "rho": X, "prior_mu": 0.0},
    ),
    "GaussianPrior": (dq.GaussianPrior, {"mu": 0.0, "sigma": 0.1}),
    "LastLayerVariationalInference": (
        _last_layer,
        {"feature_dim": 2, "output_dim": 1, "task": "regression", "heteroscedastic": False, "prior_sigma": 0.1},
    ),
    **{name: (kind, {**_SIZES, "activation": "relu"}) for name, kind in _REGRESSORS.items()},
    "BayesByBackpropMLP.forward": (lambda x, sample: mlp()(x, sample=sample), {"x": X, "sample": True}),
    "NaturalGradient": (
        lambda **options: dq.NaturalGradient(mlp(), **options),
        {"lr": 0.2, "num_data": 2, "beta1": 0.9, "beta2": 0.99, "mean_limit": 0.3, "precision_limit": 0.1},
    ),
    "negative_elbo": (
        lambda **options: dq.negative_elbo(mlp(), log_likelihood=fn.gaussian_log_likelihood(0.5), **options),
        {"x": X, "y": Y, "num_data": 2, "kl_weight": 1.0, "mc_samples": 1},
    ),
    "predict_vi_uq": (
        lambda **options: dq.predict_vi_uq(mlp(), **options).total_var,
        {"x": X, "n_samples": 2, "apply_softmax": False, "aleatoric_var": 0.5},
    ),
    # Paths are not replaced, since an integer would be a file descriptor of the process.
    "save": (_save, {"model": mlp(), "metadata": {"a": 1}}),
    "load": (_load, {"like": mlp()}),
    "to_later_layout": (dq.to_later_layout, {"state_dict": {"weight_mu": X}}),
    "vi_elbo_step": (
        lambda **options: dq.vi_elbo_step(mlp(), **options),
        {"x": X, "y": Y, "num_batches": 2, "kl_weight": 1.0, "mc_samples": 1},
    ),
}


def failure(name, replaced):
    """Return what is wrong with the outcome of a call, or None."""
    call, valid = ENTRIES[name]
    arguments = valid | replaced
    try:
        outcome = call(**arguments)
    except OwnError:
        return None
    except (TypeError, ValueError) as error:
        words = "|".join([*map(re.escape, arguments), "x", "model"])
        told = str(error).startswith("Expected ") and re.search(words, str(error))
        return None if told else f"{type(error).__name__}: {error}"[:200]
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    if _are_moderate(arguments) and any(part.isnan().any() for part in _tensors(outcome)):
        return f"NaN from finite input: {outcome}"[:200]
    return None


def _tensors(tree):
    if isinstance(tree, torch.Tensor) and (tree.is_floating_point()):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from _tensors(part)


def _are_moderate(arguments):
    """Whether all numbers have squares well within float32, and all standard deviations are positive."""
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor):
            if value.is_complex() or value.layout != torch.strided:
                continue
            values = value.double()
        elif isinstance(value, (int, float)) and abs(value) < 1e300:
            values = torch.tensor(float(value), dtype=torch.float64)
        else:
            continue
        if not (values.abs() < 1e18).all() or ("sigma" in name and not (values > 1e-37).all()):
            return False
    return True
