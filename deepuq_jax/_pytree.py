"""Frozen dataclasses as pytrees, and plain functions as static pytrees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import jax

from deepuq_jax._checks import expected

T = TypeVar("T")


def register(*, static: tuple[str, ...] = ()) -> Callable[[type[T]], type[T]]:
    """Register a frozen dataclass as a pytree.

    Unflattening bypasses `__init__`, and with it `__post_init__`: its checks are for values that a user passes, but a
    leaf may be a tracer or a placeholder.

    Args:
        static: names of the fields that are not children.

    >>> @register(static=("name",))
    ... @dataclass(frozen=True)
    ... class Named:
    ...     name: str
    ...     value: float
    >>> jax.tree.map(lambda value: 2 * value, Named("a", 1.5))
    Named(name='a', value=3.0)
    """

    def decorate(cls: type[T]) -> type[T]:
        names = tuple(field.name for field in fields(cls) if field.name not in static)  # type: ignore[arg-type]
        keys = tuple(jax.tree_util.GetAttrKey(name) for name in names)

        def flatten(node: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            values = node.__dict__
            return tuple([values[name] for name in names]), tuple([values[name] for name in static])

        def flatten_with_keys(node: Any) -> tuple[Any, Any]:
            children, aux = flatten(node)
            return tuple(zip(keys, children, strict=True)), aux

        def unflatten(aux: tuple[Any, ...], children: Any) -> Any:
            node = object.__new__(cls)
            node.__dict__.update(zip(names, children, strict=True))
            node.__dict__.update(zip(static, aux, strict=True))
            return node

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
        return cls

    return decorate


def is_opaque(value: Any) -> bool:
    """Whether JAX treats `value` as a single leaf."""
    leaves = jax.tree.leaves(value)
    return len(leaves) == 1 and leaves[0] is value


@jax.tree_util.register_static
@dataclass(frozen=True)
class StaticFunction:
    """A function as a pytree without leaves.

    JAX keeps the compiled program for this function object. Another function object compiles again, even if its source
    text is the same, so define the function once, outside of a loop.

    >>> jax.jit(lambda f, x: f(x))(StaticFunction(abs), -2.0)
    Array(2., dtype=float32, weak_type=True)
    """

    function: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)


def as_pytree(name: str, function: Any) -> Any:
    """Wrap a function that is not a pytree in `StaticFunction`.

    Raises:
        TypeError: `function` is not callable, or is neither a pytree nor hashable.
    """
    if not callable(function):
        raise TypeError(expected(name, "to be a callable", function))
    if not is_opaque(function):
        return function
    try:
        hash(function)
    except TypeError as error:
        raise TypeError(expected(name, "to be hashable, or a registered pytree", function)) from error
    return StaticFunction(function)
