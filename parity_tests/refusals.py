"""Calls that both packages must refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import deepuq_jax as dj
import deepuq_torch as dt
from deepuq_torch import functional as ft

X = np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(4, 3)
LABELS = np.array([0, 1, 1, 0])
_IDENTITY: dict[str, Any] = dict(feature_extractor=jax.nn.identity, feature_dim=3, output_dim=2)


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Call that must raise the same error in both packages.

    Attributes:
        name: unique name.
        error: type of the error.
        jax_call, torch_call: the call in each package.
    """

    name: str
    error: type[Exception]
    jax_call: Callable[[], Any]
    torch_call: Callable[[], Any]


def jax_mlp(outputs: int = 2, **how: Any) -> dj.BayesByBackpropMLP:
    return dj.BayesByBackpropMLP(3, (5,), outputs, rngs=nnx.Rngs(0), **how)


def torch_mlp(outputs: int = 2) -> dt.BayesByBackpropMLP:
    return dt.BayesByBackpropMLP(3, [5], outputs)


def jax_regressor(outputs: int = 2, **how: Any) -> dj.MultiOutputBayesByBackpropRegressor:
    return dj.MultiOutputBayesByBackpropRegressor(3, outputs, (5,), rngs=nnx.Rngs(0), **how)


def torch_regressor(outputs: int = 2, **how: Any) -> dt.MultiOutputBayesByBackpropRegressor:
    return dt.MultiOutputBayesByBackpropRegressor(3, outputs, (5,), **how)


def jax_homoscedastic(**how: Any) -> dj.HomoscedasticBayesByBackpropRegressor:
    return dj.HomoscedasticBayesByBackpropRegressor(3, (5,), rngs=nnx.Rngs(0), **how)


def torch_homoscedastic(**how: Any) -> dt.HomoscedasticBayesByBackpropRegressor:
    return dt.HomoscedasticBayesByBackpropRegressor(3, (5,), **how)


def jax_heteroscedastic(**how: Any) -> dj.HeteroscedasticBayesByBackpropRegressor:
    return dj.HeteroscedasticBayesByBackpropRegressor(3, (5,), rngs=nnx.Rngs(0), **how)


def torch_heteroscedastic(**how: Any) -> dt.HeteroscedasticBayesByBackpropRegressor:
    return dt.HeteroscedasticBayesByBackpropRegressor(3, (5,), **how)


def jax_last_layer(task: str = "regression", **how: Any) -> dj.LastLayerVariationalInference:
    """Build a last layer over the three inputs themselves."""
    return dj.LastLayerVariationalInference(**_default(how, **_IDENTITY), task=task, rngs=nnx.Rngs(0))


def torch_last_layer(task: str = "regression", **how: Any) -> dt.LastLayerVariationalInference:
    """Build the same last layer."""
    extractor = dict(feature_extractor=torch.nn.Identity())
    return dt.LastLayerVariationalInference(**_default(how, **_IDENTITY | extractor), task=task)


def _default(how: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    return defaults | how


def jax_step(y: Any = LABELS, model: Any = None, x: Any = X, **how: Any) -> Any:
    how = _default(how, num_batches=2, key=jax.random.key(0))
    return dj.vi_elbo_step(model or jax_mlp(), jnp.asarray(x), jnp.asarray(y), **how)


def torch_step(y: Any = LABELS, model: Any = None, x: Any = X, **how: Any) -> Any:
    how = _default(how, num_batches=2)
    return dt.vi_elbo_step(model or torch_mlp(), torch.tensor(x), torch.tensor(y), **how)


def jax_elbo(y: Any = LABELS, model: Any = None, **how: Any) -> Any:
    how = _default(how, num_data=4, key=jax.random.key(0))
    return dj.negative_elbo(model or jax_mlp(likelihood=dj.Categorical()), jnp.asarray(X), jnp.asarray(y), **how)


def torch_elbo(y: Any = LABELS, model: Any = None, **how: Any) -> Any:
    return dt.negative_elbo(model or torch_mlp(), torch.tensor(X), torch.tensor(y), **_default(how, num_data=4))


def jax_predict(x: Any = X, **how: Any) -> Any:
    if "noise" not in how:
        how["key"] = jax.random.key(0)
    return dj.predict_vi_uq(jax_mlp(), jnp.asarray(x), **_default(how, n_samples=2))


def torch_predict(x: Any = X, **how: Any) -> Any:
    return dt.predict_vi_uq(torch_mlp(), torch.tensor(x), **_default(how, n_samples=2))


def same(name: str, error: type[Exception], one: Callable, other: Callable, *args: Any, **how: Any) -> Refusal:
    """Refusal of the same arguments by both packages."""
    return Refusal(name, error, partial(one, *args, **how), partial(other, *args, **how))


def _counts() -> list[Refusal]:
    found = []
    for bad in (0, -1, 1.0, 2.5, True, False, "3", float("nan"), np.float64(3), np.True_):
        found += [
            same(f"num_batches={bad!r}", ValueError, jax_step, torch_step, num_batches=bad),
            same(f"mc_samples={bad!r}", ValueError, jax_step, torch_step, mc_samples=bad),
            same(f"negative_elbo mc_samples={bad!r}", ValueError, jax_elbo, torch_elbo, mc_samples=bad),
            same(f"n_samples={bad!r}", ValueError, jax_predict, torch_predict, n_samples=bad),
        ]
    return found


def _batch_counts() -> list[Refusal]:
    return [
        same("no batch count", ValueError, jax_step, torch_step, num_batches=None),
        same("unequal batch counts", ValueError, jax_step, torch_step, num_batches=2, n_batches=3),
        *[
            same(f"num_data={bad!r}", ValueError, jax_elbo, torch_elbo, num_data=bad)
            for bad in (0, -1, float("nan"), float("inf"))
        ],
        same("num_data='4'", TypeError, jax_elbo, torch_elbo, num_data="4"),
        same("kl_weight='1'", TypeError, jax_elbo, torch_elbo, kl_weight="1"),
    ]


def _regression_targets() -> list[Refusal]:
    """Targets that would broadcast.

    Mean squared error, learned noise and known noise refuse them.
    """
    found = []
    known = dict(log_likelihood=dj.Gaussian(1.0)), dict(log_likelihood=ft.gaussian_log_likelihood(1.0))
    for shape in ((4,), (4, 2)):
        y, name = np.zeros(shape, np.float32), f"{list(shape)} against [4, 1]"
        for kind, one, other in (
            ("regressor", jax_regressor(1), torch_regressor(1)),
            ("heteroscedastic", jax_heteroscedastic(), torch_heteroscedastic()),
        ):
            jax_how, torch_how = ({}, {}) if kind == "heteroscedastic" else known
            jax_calls = partial(jax_step, y, one), partial(jax_elbo, y, one, **jax_how)
            torch_calls = partial(torch_step, y, other), partial(torch_elbo, y, other, **torch_how)
            steps = f"vi_elbo_step {kind}, target {name}", f"negative_elbo {kind}, target {name}"
            found += [Refusal(s, ValueError, a, b) for s, a, b in zip(steps, jax_calls, torch_calls, strict=True)]
    return found


def _shapes() -> list[Refusal]:
    short = np.zeros(4, np.float32)
    found = _regression_targets()
    for shape in ((4, 1), (2,), (1,)):
        labels = np.zeros(shape, np.int64)
        found.append(same(f"vi_elbo_step labels {shape}", ValueError, jax_step, torch_step, labels))
        found.append(same(f"negative_elbo labels {shape}", ValueError, jax_elbo, torch_elbo, labels))
    found.append(same("labels that are floats", TypeError, jax_elbo, torch_elbo, short))
    found.append(same("features too few", ValueError, jax_predict, torch_predict, X[:, :2]))
    found.append(same("features too few in a step", ValueError, jax_step, torch_step, x=X[:, :2]))
    return found


def _models() -> list[Refusal]:
    def jax_layer(prior_sigma: float) -> dj.BayesianLinear:
        return dj.BayesianLinear(3, 2, prior=dj.GaussianPrior(0.0, prior_sigma), rngs=nnx.Rngs(0))

    def torch_layer(prior_sigma: float) -> dt.BayesianLinear:
        return dt.BayesianLinear(3, 2, prior_sigma)

    def jax_net(*sizes: Any) -> dj.BayesByBackpropMLP:
        return dj.BayesByBackpropMLP(*sizes, rngs=nnx.Rngs(0))

    found = [
        same(f"prior_sigma={sigma!r}", ValueError, jax_layer, torch_layer, sigma)
        for sigma in (0.0, -1.0, float("nan"), float("inf"))
    ]
    found += [
        same(f"sizes {sizes}", ValueError, jax_net, dt.BayesByBackpropMLP, *sizes)
        for sizes in ((0, (5,), 2), (3, (0,), 2), (3, (5,), -1))
    ]
    found.append(
        Refusal(
            "mu and rho of different shapes",
            ValueError,
            lambda: dj.GaussianPosterior(jnp.zeros(2), jnp.zeros(3)),
            lambda: dt.GaussianPosterior(torch.zeros(2), torch.zeros(3)),
        )
    )
    found += [
        same(f"noise sigma={sigma!r}", ValueError, dj.Gaussian, ft.gaussian_log_likelihood, sigma)
        for sigma in (0.0, -1.0, float("nan"))
    ]
    return found


def _noise() -> list[Refusal]:
    """Noise of three draws instead of two, and noise that lacks a layer."""
    pairs = [(np.zeros((3, 5, 3), np.float32), np.zeros((3, 5), np.float32))]
    pairs += [(np.zeros((3, 2, 5), np.float32), np.zeros((3, 2), np.float32))]
    for_jax = tuple({"kernel": jnp.asarray(w.swapaxes(1, 2)), "bias": jnp.asarray(b)} for w, b in pairs)
    for_torch = tuple((torch.tensor(w), torch.tensor(b)) for w, b in pairs)
    one_jax, one_torch = jax.tree.map(lambda a: a[0], for_jax), tuple((w[0], b[0]) for w, b in for_torch)
    return [
        Refusal(
            "noise of three draws for n_samples=2",
            ValueError,
            lambda: jax_predict(noise=for_jax),
            lambda: torch_predict(noise=for_torch),
        ),
        Refusal(
            "noise of three draws for mc_samples=2",
            ValueError,
            lambda: jax_step(key=None, noise=for_jax, mc_samples=2),
            lambda: torch_step(noise=for_torch, mc_samples=2),
        ),
        Refusal(
            "noise of one layer for two",
            ValueError,
            lambda: jax_mlp()(jnp.asarray(X), noise=one_jax[:1]),
            lambda: torch_mlp()(torch.tensor(X), noise=one_torch[:1]),
        ),
    ]


def _aleatoric() -> list[Refusal]:
    def of_shape(shape: tuple[int, ...]) -> Refusal:
        return Refusal(
            f"aleatoric_var of shape {shape}",
            ValueError,
            lambda: jax_predict(aleatoric_var=jnp.ones(shape)),
            lambda: torch_predict(aleatoric_var=torch.ones(shape)),
        )

    bad = ((-1.0, ValueError), (float("nan"), ValueError), ("1", TypeError))
    return [of_shape(shape) for shape in ((3,), (2, 4, 2), (1, 4, 2), (4, 3))] + [
        same(f"aleatoric_var={value!r}", error, jax_predict, torch_predict, aleatoric_var=value) for value, error in bad
    ]


def _later_models() -> list[Refusal]:
    """Arguments of the classes that later releases of Deep-UQ have."""
    y = np.zeros((4, 2), np.float32)
    makers = [
        ("MLP", jax_mlp, partial(dt.BayesByBackpropMLP, 3, [5], 2)),
        ("regressor", jax_regressor, torch_regressor),
        ("heteroscedastic", jax_heteroscedastic, torch_heteroscedastic),
    ]
    found = [
        same(f"{kind} of activation={bad!r}", error, one, other, activation=bad)
        for kind, one, other in makers
        for bad, error in (("swish", ValueError), ("", ValueError), (3, TypeError))
    ]
    layers = jax_last_layer, torch_last_layer
    found += [same(f"task={bad!r}", ValueError, *layers, bad) for bad in ("ranking", "Regression", None)]
    found += [
        same("a last layer over no callable", TypeError, *layers, feature_extractor="resnet"),
        same("feature_dim=0", ValueError, *layers, feature_dim=0),
        same("output_dim=0", ValueError, *layers, output_dim=0),
        _on_models("features of another size", ValueError, "__call__", X, feature_dim=4),
        _on_models("nll without noise", RuntimeError, "nll", np.zeros((4, 4), np.float32), y),
        _on_models("split_prediction without noise", RuntimeError, "split_prediction", y),
        _on_models("nll of outputs of another size", ValueError, "nll", y, y, heteroscedastic=True),
        _on_models("split_prediction of another size", ValueError, "split_prediction", y, heteroscedastic=True),
    ]
    unnamed = [("regressor", jax_regressor(), torch_regressor()), ("last layer", jax_last_layer(), torch_last_layer())]
    return found + [
        Refusal(
            f"negative_elbo, {kind} of unknown noise", ValueError, partial(jax_elbo, y, a), partial(torch_elbo, y, b)
        )
        for kind, a, b in unnamed
    ]


def _on_models(name: str, error: type[Exception], method: str, *arrays: np.ndarray, **how: Any) -> Refusal:
    """Refusal by a method of a last layer."""
    return Refusal(
        name,
        error,
        lambda: getattr(jax_last_layer(**how), method)(*map(jnp.asarray, arrays)),
        lambda: getattr(torch_last_layer(**how), method)(*map(torch.tensor, arrays)),
    )


REFUSALS = [*_counts(), *_batch_counts(), *_shapes(), *_models(), *_noise(), *_aleatoric(), *_later_models()]
