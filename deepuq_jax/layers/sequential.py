"""A stack of layers with a key per Bayesian member."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_key, expected
from deepuq_jax.functional.propagation import relu_moments
from deepuq_jax.layers.activations import is_relu
from deepuq_jax.layers.frozen import FixedNet
from deepuq_jax.likelihoods.base import checked_likelihood
from deepuq_jax.model.base import BaseModel
from deepuq_jax.model.draw import draw
from deepuq_jax.model.own import as_model
from deepuq_jax.model.state import Stateful, apply_to_copy, with_streams
from deepuq_jax.model.structure import is_bayesian, refuse_tied


class Sequential(Stateful, BaseModel, nnx.Module):
    """A stack of members, called in turn.

    y = f_n(... f_1(x)). The i-th of n Bayesian members gets the key split(key, n)[i]. Plain callables (activations,
    `nnx.Linear`, `nnx.BatchNorm`, `nnx.Dropout`) are called without a key, and dropout streams derive from the key of
    the call. `nnx.Sequential` would pass the key only to its first member, so that all other members would use their
    means.

    Args:
        members: layers and callables.
        likelihood: the model's likelihood, used unless another is passed.
    Raises:
        TypeError: a member cannot be called.
        ValueError: the same module occurs twice (its KL would count twice).

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
        self.layers: nnx.List[Any] = nnx.List(members)
        self.likelihood: Any = nnx.static(checked_likelihood(likelihood))
        refuse_tied(self)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse a prior of the whole model, which no layer would read."""
        if name == "prior":
            what = "in the constructor, or of a layer, as in model.layers[0].prior = GaussianPrior()"
            raise AttributeError(expected("prior", what, "an assignment to the model"))
        super().__setattr__(name, value)

    def _bayesian(self) -> list[Any]:
        return [member for member in self.layers if is_bayesian(member)]

    def _keys(self, key: Array) -> list[Array]:
        """Return a key per Bayesian member.

        A single split is cheaper than a fold-in per member.
        """
        check_key(key)
        return list(jax.random.split(key, len(self._bayesian())))

    def _run(self, x: Any, bayesian_call: Callable[[int, Any, Any], Any]) -> Any:
        """Run the stack with `bayesian_call(i, member, x)` per Bayesian member."""
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
        """Draw the noise of `model(x, key=key)`.

        Returns:
            A tuple with an entry per Bayesian member.
        """
        noise, keys = [], self._keys(key)

        def collect(i: int, member: Any, x: Any) -> Any:
            noise.append(member.draw_noise(x, key=keys[i]))
            return member(x)

        # The shape of a member's noise may depend on its input, so the stack runs at the means to compute the inputs.
        apply_to_copy(lambda stack: stack._run(x, collect), self, key)
        return tuple(noise)

    def propagate(self, mean: Any, var: Array | None = None) -> tuple[Array, Array]:
        """Compute the outputs' mean and variance by moment propagation.

        The moments pass through the stack member by member, with units taken as independent.

        Args:
            mean: means of the inputs.
            var: variances of the inputs, or None if the inputs are known exactly. In the latter case, any kind of
                member may precede the first Bayesian member.
        Returns:
            (mean, variance), each of the shape of the outputs.
        Raises:
            ValueError: a member that receives a variance is neither a ReLU nor Bayesian with a method `propagate`.
        """
        for i, member in enumerate(self.layers):
            if is_bayesian(member):
                mean, var = as_model(member).propagate(mean, var)
            elif var is None:
                mean = member(mean)
            elif is_relu(member):
                mean, var = relu_moments(mean, var)
            else:
                raise ValueError(expected(f"member {i}", "to be an affine layer or a ReLU for moments", f"{member!r}"))
        if var is None:
            raise ValueError(expected("Sequential", "to hold a Bayesian layer", "none"))
        return mean, var

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether every member has a closed-form KL."""
        return all(as_model(member).has_closed_form_kl for member in self._bayesian())

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """Return the members' summed KL in nats.

        `key` or `noise` is needed only for priors without a closed form.
        """
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
        """Fix the weights, streams and statistics at a single draw."""
        keys = iter(self._keys(key))

        def fix(member: Any) -> Any:
            if is_bayesian(member):
                return draw(member, key=next(keys))
            return FixedNet(member) if isinstance(member, nnx.Module) else member

        return Sequential(*map(fix, with_streams(self, key).layers), likelihood=self.likelihood)
