"""How a public function is called, and which outcomes of a hostile call are allowed."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from deepuq_jax import NonFiniteError
from deepuq_jax.tests.hostile.values import OwnError
from deepuq_jax.training._scale import ScaleWarning

WORDING = re.compile(r"^Expected .+", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A call with valid arguments. A test replaces one or two of them.

    Attributes:
        call: takes the arguments by name.
        valid: a valid value per argument, or a `Made` that makes a new one.
        words: per argument, a pattern of the words that a message uses for it. Default: the argument's name.
        fixed: names of the arguments that a test does not replace.
        may_be_nan: takes finite arguments, and returns whether NaN is documented for them.
    """

    call: Callable[..., Any]
    valid: Mapping[str, Any]
    words: Mapping[str, str] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    may_be_nan: Callable[[dict[str, Any]], bool] | None = None

    @property
    def hostile(self):
        """Names of the arguments that are replaced."""
        return [name for name in self.valid if name not in self.fixed]


@dataclass(frozen=True)
class Made:
    """A valid argument that each call makes anew."""

    make: Callable[[], Any]


def is_large(arguments: dict[str, Any]) -> bool:
    """Whether an argument is so large that its square comes near the largest float32."""
    return any(np.abs(values).max(initial=0) > 1e18 for values in _numbers(arguments))


def failure(entry: Entry, replaced: dict[str, Any]) -> str | None:
    """Return what is wrong with the outcome of a call, or None."""
    arguments = {name: value.make() if isinstance(value, Made) else value for name, value in entry.valid.items()}
    arguments.update(replaced)
    try:
        # NumPy warns of a float64 beyond float32. As an error inside JAX, the warning would end the process.
        with np.errstate(over="ignore"):
            outcome = jax.block_until_ready(entry.call(**arguments))
    except (OwnError, NonFiniteError, ScaleWarning):  # Documented: `fit` says what is wrong with the data.
        return None
    except (TypeError, ValueError) as error:
        return _fault_of_message(entry, error)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    if not is_finite(arguments):
        return None
    if has_nan(outcome) and not (entry.may_be_nan and entry.may_be_nan(arguments)):
        return f"NaN from finite input: {outcome!r}"[:300]
    return None


def _fault_of_message(entry: Entry, error: Exception) -> str | None:
    names = "|".join(entry.words.get(name, re.escape(name)) for name in entry.valid)
    if type(error) not in (TypeError, ValueError) or not WORDING.match(str(error)) or not re.search(names, str(error)):
        return f"{type(error).__name__}: {str(error)[:200]}"
    return None


def _numbers(tree: Any) -> list[np.ndarray]:
    """Return the real numbers and arrays among the leaves, as float32."""
    found = []
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
            if isinstance(leaf.dtype, np.dtype) and (leaf.dtype.kind in "biuf" or leaf.dtype.name == "bfloat16"):
                with np.errstate(all="ignore"):
                    found.append(np.asarray(leaf).astype(np.float32))
        elif isinstance(leaf, (int, float)):
            found.append(np.asarray(_as_float32(leaf)))
    return found


def _as_float32(number: float) -> np.float32:
    with np.errstate(all="ignore"):
        return np.float32(number) if abs(number) < 1e300 else np.float32(np.inf)


def is_finite(arguments: Any) -> bool:
    """Whether every number of the arguments is finite in float32."""
    return all(np.isfinite(values).all() for values in _numbers(arguments))


def has_nan(outcome: Any) -> bool:
    """Whether an array of the outcome holds NaN."""
    return any(np.isnan(values).any() for values in _numbers(outcome))
