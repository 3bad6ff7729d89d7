"""Base class of layers and models."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ._checks import fault

# Parts of messages about models that are not Bayesian.
A_PASS = "calls such as model(x, sample=True)"
WHICH_MODELS = (
    "BayesianLinear and the models of deepuq_torch are such models, and LastLayerVariationalInference makes the last "
    "layer of a network Bayesian."
)


class BayesianModule(nn.Module):
    """Module whose call returns a tensor, for type checkers too.

    ``nn.Module`` declares that a call returns Any.
    """

    if TYPE_CHECKING:

        def __call__(
            self, x: Any, sample: bool = True, *, noise: Any = None, generator: torch.Generator | None = None
        ) -> Tensor: ...


def need_stochastic_pass(model: Any) -> None:
    """Require a model whose call takes ``sample``."""
    try:
        signature = inspect.signature(model.forward if isinstance(model, nn.Module) else model)
    except ValueError:  # of a scripted module, say
        return
    except TypeError:
        raise TypeError(fault("model", f"to take {A_PASS}", type(model).__name__, WHICH_MODELS)) from None
    parameters = signature.parameters
    if "sample" not in parameters and all(one.kind is not one.VAR_KEYWORD for one in parameters.values()):
        raise TypeError(fault("model", f"to take {A_PASS}", type(model).__name__, WHICH_MODELS))
