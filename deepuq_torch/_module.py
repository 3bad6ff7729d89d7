"""Base class of layers and models."""

from __future__ import annotations

import copy
import inspect
import types
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


_OF_PRIOR = ("prior_mu", "prior_sigma")
_CHANGE_OF_PRIOR = "To change the prior of a layer, assign `layer.prior = GaussianPrior(mu, sigma)`."


class BayesianModule(nn.Module):
    """Module whose call returns a tensor, for type checkers too.

    ``nn.Module`` declares that a call returns Any.
    """

    # These tell objectives and predictions how to read the outputs. They are defined here because nn.Module takes
    # microseconds to report that an attribute is missing.
    heteroscedastic = False
    predicts_noise = False
    # Standard deviation of the targets' noise, if it is known from a file; see `load`.
    noise_sigma = None

    if TYPE_CHECKING:
        noise_sigma: float | None

        def __call__(
            self, x: Any, sample: bool = True, *, noise: Any = None, generator: torch.Generator | None = None
        ) -> Tensor: ...

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse assignments after construction that would change nothing.

        These are assignments to ``prior_sigma`` and ``prior_mu``, and to the ``prior`` of a model: a layer uses its
        ``prior``, and a model has only the two numbers. A subclass may define its own property ``prior``.
        """
        if name in _OF_PRIOR and (name in self.__dict__ or "prior" in self.__dict__):
            got = f"an assignment of {value!r}"
            raise AttributeError(fault(name, "to be set in the constructor only", got, _CHANGE_OF_PRIOR))
        if name == "prior" and "prior_sigma" in self.__dict__ and not hasattr(type(self), name):
            got = f"an assignment to a {type(self).__name__}"
            raise AttributeError(fault(name, "to be assigned to layers only", got, _CHANGE_OF_PRIOR))
        super().__setattr__(name, value)

    def _script_forward(self, x: Tensor, sample: bool = True) -> Tensor:
        """Run the documented pass, in the part of Python that TorchScript reads."""
        raise NotImplementedError

    def __prepare_scriptable__(self) -> nn.Module:
        """Return the module that ``torch.jit.script`` compiles in place of this one.

        TorchScript does not support keyword-only arguments, so a scripted model takes only the documented
        ``(x, sample=True)``. Its parameters are those of this module. The ``forward`` of a subclass is compiled as it
        is.
        """
        twin = _shallow_copy(self)
        if _owner(type(self), "forward") is _owner(type(self), "_script_forward"):
            twin.__dict__["forward"] = types.MethodType(type(self)._script_forward, twin)
        return twin


def _shallow_copy(module: nn.Module) -> nn.Module:
    """Copy a module with the same members and parameters; lists of members are copied, too.

    ``torch.jit.script`` replaces members in place, and must not do so in the caller's model.
    """
    twin = copy.copy(module)
    members = {
        name: _shallow_copy(member) if isinstance(member, nn.ModuleList) else member
        for name, member in module._modules.items()
        if member is not None
    }
    twin.__dict__["_modules"] = members
    return twin


def _owner(kind: type, name: str) -> type:
    """Return the class that defines an attribute."""
    return next(base for base in kind.__mro__ if name in vars(base))


def need_stochastic_pass(model: Any) -> None:
    """Require a model whose call takes ``sample``."""
    try:
        signature = inspect.signature(model.forward if isinstance(model, nn.Module) else model)
    except ValueError:  # for example, for a scripted module
        return
    except TypeError:
        raise TypeError(fault("model", f"to take {A_PASS}", type(model).__name__, WHICH_MODELS)) from None
    parameters = signature.parameters
    if "sample" not in parameters and all(one.kind is not one.VAR_KEYWORD for one in parameters.values()):
        raise TypeError(fault("model", f"to take {A_PASS}", type(model).__name__, WHICH_MODELS))
