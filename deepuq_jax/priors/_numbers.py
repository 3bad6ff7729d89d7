"""Priors as pytrees: plain numbers are static, arrays are leaves."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar, Self

import jax
import numpy as np

from deepuq_jax._arguments import broadcasts_to
from deepuq_jax._checks import check_finite_number, check_positive, check_real, expected


def is_plain(value: Any) -> bool:
    """Whether `value` is a Python number, and therefore static."""
    return isinstance(value, (int, float))


class Numbers:
    """Base of priors whose fields are numbers or arrays.

    A subclass is a frozen dataclass and registers itself as a pytree.

    Attributes:
        SCALES: names of the fields that must be positive. `LearnedPrior` trains them.
    """

    SCALES: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            check = check_positive if field.name in self.SCALES else check_finite_number
            check(f"prior {field.name}", getattr(self, field.name))

    def check_fits(self, w: Any) -> None:
        """Require weights to which the arrays of the prior broadcast."""
        check_real("w", w)
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if not is_plain(value) and not broadcasts_to(np.shape(value), np.shape(w)):
                raise ValueError(
                    expected(f"prior {field.name}", f"to broadcast to the weights w, {list(np.shape(w))}", value)
                )

    def tree_flatten_with_keys(self) -> tuple[Any, Any]:
        """Flatten into arrays (children) and plain numbers (static)."""
        children, static = [], []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if not is_plain(value):
                children.append((jax.tree_util.GetAttrKey(field.name), value))
            static.append(value if is_plain(value) else None)
        return children, tuple(static)

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> Self:
        """Rebuild the prior without checks.

        The checks are skipped because a leaf may be a tracer or a placeholder.
        """
        children = iter(children)
        prior = object.__new__(cls)
        for field, value in zip(fields(cls), static, strict=True):  # type: ignore[arg-type]
            object.__setattr__(prior, field.name, next(children) if value is None else value)
        return prior

    def unchecked(self, **values: Any) -> Self:
        """Copy the prior with other values, without checks.

        A gradient step may produce values that the checks would refuse.
        """
        prior = object.__new__(type(self))
        for field in fields(self):  # type: ignore[arg-type]
            object.__setattr__(prior, field.name, values.get(field.name, getattr(self, field.name)))
        return prior
