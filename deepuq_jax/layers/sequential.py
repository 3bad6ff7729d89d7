"""A stack of layers that hands each Bayesian member a key of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_key, expected
from deepuq_jax.functional.propagation import relu_moments
from deepuq_jax.layers.frozen import Frozen
from deepuq_jax.model.base import BaseModel, as_model
from deepuq_jax.model.draw import draw
from deepuq_jax.model.state import Stateful, apply_to_copy, with_streams
from deepuq_jax.model.structure import is_bayesian, refuse_tied


class Sequential(Stateful, BaseModel, nnx.Module):
    """Members called one after the other, Bayesian ones with noise.

    y = f_n(... f_1(x)): Bayesian member i (counted among the Bayesian ones) gets split(key, n)[i]; plain callables
    (activations, `nnx.Linear`, `nnx.BatchNorm`, `nnx.Dropout`) are called as they are; dropout follows the key.
    `nnx.Sequential` hands the key to its first member only, so that the rest would run on their means.

    Args:
        members: layers and callables.
        likelihood: names the model's likelihood, used where none is passed.
    Raises:
        TypeError: a member that cannot be called. ValueError: the same module twice (its KL would count twice).

    >>> import jax
    >>> from deepuq_jax import BayesianLinear
    >>> rngs = nnx.Rngs(0)
    >>> model = Sequential(BayesianLinear(3, 8, rngs=rngs), nnx.relu, BayesianLinear(8, 1, rngs=rngs))
    >>> model(jnp.ones((5, 3)), key=jax.random.key(1)).shape
    (5, 1)
    """

    def __init__(self, *members: Callable[..., Any], likelihood: Any = None):
        for i, member in enumerate(members):
            if not callable(member):
                raise TypeError(expected(f"member {i}", "to be a layer or a callable", member))
        self.layers = nnx.List(members)
        self.likelihood = nnx.static(likelihood)
        refuse_tied(self)

    def _bayesian(self) -> list[Any]:
        return [member for member in self.layers if is_bayesian(member)]

    def _keys(self, key: Array) -> list[Array]:
        """A key for each Bayesian member, by one split: cheaper than a fold-in each."""
        check_key(key)
        return list(jax.random.split(key, len(self._bayesian())))

    def _run(self, x: Any, bayesian_call: Callable[[int, Any, Any], Any]) -> Any:
        """Run the stack; `bayesian_call(i, member, x)` calls the i-th Bayesian member."""
        i = 0
        for member in self.layers:
            if is_bayesian(member):
                x, i = bayesian_call(i, member, x), i + 1
            else:
                x = member(x)
        return x

    def _forward(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        if noise is not None:
            if len(noise) != len(self._bayesian()):
                raise ValueError(expected("noise", f"for {len(self._bayesian())} Bayesian members", f"{len(noise)}"))
            return self._run(x, lambda i, member, x: member(x, noise=noise[i]))
        if key is None:
            return self._run(x, lambda i, member, x: member(x))
        keys = self._keys(key)
        return self._run(x, lambda i, member, x: member(x, key=keys[i]))

    def draw_noise(self, x: Any, *, key: Array) -> tuple[Any]:
        """The noise of `model(x, key=key)`: one entry a Bayesian member."""
        noise, keys = [], self._keys(key)

        def collect(i: int, member: Any, x: Any) -> Any:
            noise.append(member.draw_noise(x, key=keys[i]))
            return member(x)

        # A member's noise may have the shape of its input, so the stack is run, at the means.
        apply_to_copy(lambda stack: stack._run(x, collect), self, key)
        return tuple(noise)

    def propagate(self, mean: Any, var: Array | None = None) -> tuple[Array, Array]:
        """Mean and variance of the outputs by moment propagation, member by member, units taken as independent.

        Args:
            mean: inputs. var: their variances, or None where they are certain; then any member may stand before the
                first Bayesian one.
        Returns:
            (mean, variance), each the shape of the outputs.
        Raises:
            ValueError: after the first Bayesian member, one that is neither Bayesian with `propagate` nor a ReLU.
        """
        for i, member in enumerate(self.layers):
            if is_bayesian(member):
                mean, var = as_model(member).propagate(mean, var)
            elif var is None:
                mean = member(mean)
            elif member is nnx.relu:
                mean, var = relu_moments(mean, var)
            else:
                raise ValueError(expected(f"member {i}", "to be an affine layer or a ReLU for moments", f"{member!r}"))
        if var is None:
            raise ValueError(expected("Sequential", "to hold a Bayesian layer", "none"))
        return mean, var

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether every member's has one."""
        return all(as_model(member).has_closed_form_kl for member in self._bayesian())

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """Sum of the members' KL, nats; `key` or `noise` only where a prior has no closed form."""
        members = self._bayesian()
        if not members:
            raise ValueError(expected("Sequential", "to hold a Bayesian layer", "none"))
        if noise is not None:
            parts = [member.kl(noise=n) for member, n in zip(members, noise, strict=True)]
        else:
            keys = [None] * len(members) if key is None else self._keys(key)
            parts = [member.kl(k) for member, k in zip(members, keys, strict=True)]
        return jnp.sum(jnp.stack(parts))

    def draw(self, *, key: Array) -> Sequential:
        """The stack with every weight fixed at one draw, and with it the streams and statistics of its members."""
        keys = iter(self._keys(key))

        def fix(member: Any) -> Any:
            if is_bayesian(member):
                return draw(member, key=next(keys))
            return Frozen(member) if isinstance(member, nnx.Module) else member

        return Sequential(*map(fix, with_streams(self, key).layers), likelihood=self.likelihood)
