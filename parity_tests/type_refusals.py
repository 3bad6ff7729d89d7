"""Refused calls: wrong types, counts and shapes.

A wrong value raises a ValueError, and so does a count of a wrong type; other wrong types raise a TypeError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import deepuq_jax as dj
import deepuq_torch as dt
from deepuq_torch import functional as ft
from parity_tests import refusals as calls
from parity_tests.refusals import LABELS, Refusal, X, same

NAN, INF = float("nan"), float("inf")
_NOT_NUMBERS = (True, "1", None, 1j)


def _jax_layer(*args: Any, **how: Any) -> dj.BayesianLinear:
    return dj.BayesianLinear(*args, rngs=nnx.Rngs(0), **how)


def _jax_net(hidden: Any) -> dj.BayesByBackpropMLP:
    return dj.BayesByBackpropMLP(3, hidden, 2, rngs=nnx.Rngs(0))


def _torch_net(hidden: Any) -> dt.BayesByBackpropMLP:
    return dt.BayesByBackpropMLP(3, hidden, 2)


def _numbers() -> list[Refusal]:
    objectives = (
        ("vi_elbo_step", calls.jax_step, calls.torch_step),
        ("negative_elbo", calls.jax_elbo, calls.torch_elbo),
    )
    found = [
        same(f"{name} kl_weight={bad!r}", error, one, other, kl_weight=bad)
        for name, one, other in objectives
        for error, values in ((ValueError, (NAN, INF, -INF)), (TypeError, _NOT_NUMBERS))
        for bad in values
    ]
    found += [
        same(f"num_data={b!r}", TypeError, calls.jax_elbo, calls.torch_elbo, num_data=b) for b in (True, None, 1j)
    ]
    two = np.array([4.0, 5.0], np.float32)
    found.append(
        Refusal(
            "num_data of two numbers",
            ValueError,
            lambda: calls.jax_elbo(num_data=jnp.asarray(two)),
            lambda: calls.torch_elbo(num_data=torch.tensor(two)),
        )
    )
    both = dict(num_batches=1.5, n_batches=1.5)
    found.append(same("a bad count under both names", ValueError, calls.jax_step, calls.torch_step, **both))
    for bad, error in ((INF, ValueError), (True, TypeError)):
        found.append(same(f"aleatoric_var={bad!r}", error, calls.jax_predict, calls.torch_predict, aleatoric_var=bad))
    return found


def _construction() -> list[Refusal]:
    found = [same(f"hidden_dims=({bad!r},)", TypeError, _jax_net, _torch_net, (bad,)) for bad in (True, 2.0, "2", None)]
    found += [same(f"hidden_dims={bad!r}", TypeError, _jax_net, _torch_net, bad) for bad in (4, None, "12")]
    for bad in (True, 2.0, "2", None):
        found += [
            same(f"in_features={bad!r}", TypeError, _jax_layer, dt.BayesianLinear, bad, 2),
            same(f"out_features={bad!r}", TypeError, _jax_layer, dt.BayesianLinear, 3, bad),
        ]
    for bad in _NOT_NUMBERS:
        found += [
            same(f"prior mu={bad!r}", TypeError, dj.GaussianPrior, dt.GaussianPrior, bad),
            same(f"prior sigma={bad!r}", TypeError, dj.GaussianPrior, dt.GaussianPrior, 0.0, bad),
        ]
    found += [same(f"prior mu={b!r}", ValueError, dj.GaussianPrior, dt.GaussianPrior, b) for b in (NAN, -INF)]
    for bad in (True, "1", None):
        found.append(same(f"noise sigma={bad!r}", TypeError, dj.Gaussian, ft.gaussian_log_likelihood, bad))
    found.append(same("noise sigma=inf", ValueError, dj.Gaussian, ft.gaussian_log_likelihood, INF))
    return [*found, _posterior("mu", np.int32, np.float32), _posterior("rho", np.float32, np.int32)]


def _posterior(name: str, mu: type, rho: type) -> Refusal:
    return Refusal(
        f"{name} of integers",
        TypeError,
        lambda: dj.GaussianPosterior(jnp.zeros(2, mu), jnp.zeros(2, rho)),
        lambda: dt.GaussianPosterior(torch.tensor(np.zeros(2, mu)), torch.tensor(np.zeros(2, rho))),
    )


def _targets() -> list[Refusal]:
    def of_shape(name: str, one: Callable, other: Callable, shape: tuple[int, ...]) -> Refusal:
        y = np.zeros(shape, np.float32)
        return Refusal(
            f"{name} target {shape} of a heteroscedastic model",
            ValueError,
            lambda: one(y, calls.jax_heteroscedastic()),
            lambda: other(y, calls.torch_heteroscedastic()),
        )

    found = [
        same("labels that are floats in a step", TypeError, calls.jax_step, calls.torch_step, np.zeros(4, np.float32)),
    ]
    for shape in ((4,), (4, 2), (2, 1), (1, 4)):
        found.append(of_shape("vi_elbo_step", calls.jax_step, calls.torch_step, shape))
        found.append(of_shape("negative_elbo", calls.jax_elbo, calls.torch_elbo, shape))
    return found


def _inputs() -> list[Refusal]:
    def of_layer(name: str, x: Any) -> Refusal:
        return Refusal(
            f"a layer on x of {name}",
            ValueError,
            lambda: _jax_layer(3, 2)(jnp.asarray(x)),
            lambda: dt.BayesianLinear(3, 2)(torch.tensor(x)),
        )

    found = []
    for name, x in (("no axes", np.float32(1.0)), ("one feature too many", np.zeros((4, 4), np.float32))):
        found += [
            same(f"a step on x of {name}", ValueError, calls.jax_step, calls.torch_step, x=x),
            same(f"a prediction of x of {name}", ValueError, calls.jax_predict, calls.torch_predict, x),
            of_layer(name, x),
        ]
    as_list: Any = [1.0, 2.0, 3.0]  # the wrong type, on purpose
    found.append(
        Refusal(
            "a layer on a list", TypeError, lambda: _jax_layer(3, 2)(as_list), lambda: dt.BayesianLinear(3, 2)(as_list)
        )
    )
    found.append(same("a step on no examples", ValueError, calls.jax_step, calls.torch_step, LABELS[:0], x=X[:0]))
    one, other, key = calls.jax_mlp, calls.torch_mlp, jax.random.key(0)
    found.append(
        Refusal(
            "negative_elbo on no examples",
            ValueError,
            lambda: dj.negative_elbo(one(), jnp.asarray(X[:0]), jnp.asarray(LABELS[:0]), key=key, num_data=4),
            lambda: dt.negative_elbo(other(), torch.tensor(X[:0]), torch.tensor(LABELS[:0]), num_data=4),
        )
    )
    return found


def _noise() -> list[Refusal]:
    def of_layer(name: str, weight: tuple[int, ...], bias: tuple[int, ...]) -> Refusal:
        noise = {"kernel": jnp.zeros(weight[::-1]), "bias": jnp.zeros(bias)}
        pair = torch.zeros(weight), torch.zeros(bias)
        return Refusal(
            f"noise of another shape for a layer's {name}",
            ValueError,
            lambda: _jax_layer(3, 2)(jnp.asarray(X), noise=noise),
            lambda: dt.BayesianLinear(3, 2)(torch.tensor(X), noise=pair),
        )

    zeros, twin = jnp.zeros(3), torch.zeros(3)
    fit = {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}, (torch.zeros(2, 3), torch.zeros(2))
    return [
        of_layer("kernel", (2, 2), (2,)),
        of_layer("bias that would broadcast", (2, 3), (1,)),
        Refusal(
            "noise of another shape for a posterior",
            ValueError,
            lambda: dj.GaussianPosterior(zeros, zeros).sample(noise=zeros[:1]),
            lambda: dt.GaussianPosterior(twin, twin).sample(noise=twin[:1]),
        ),
        Refusal(
            "two sources of noise",
            ValueError,
            lambda: _jax_layer(3, 2)(jnp.asarray(X), key=jax.random.key(0), noise=fit[0]),
            lambda: dt.BayesianLinear(3, 2)(torch.tensor(X), generator=torch.Generator(), noise=fit[1]),
        ),
    ]


def _likelihoods() -> list[Refusal]:
    wrong = {"one number": lambda o, y: o.sum(), "[B, 2]": lambda o, y: o, "one example less": lambda o, y: o[1:, 0]}
    found = [
        same(f"log_likelihood that returns {name}", ValueError, calls.jax_elbo, calls.torch_elbo, log_likelihood=bad)
        for name, bad in wrong.items()
    ]
    name = "that cannot be called"
    found.append(same(f"criterion {name}", TypeError, calls.jax_step, calls.torch_step, criterion="mse"))
    return [*found, same(f"log_likelihood {name}", TypeError, calls.jax_elbo, calls.torch_elbo, log_likelihood="g")]


REFUSALS = [*_numbers(), *_construction(), *_targets(), *_inputs(), *_noise(), *_likelihoods()]
