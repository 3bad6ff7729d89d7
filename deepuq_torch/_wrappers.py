"""Models inside torch's wrappers for several devices, averages and compiled calls."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from ._checks import fault

_WRAPPERS = (DistributedDataParallel, DataParallel, AveragedModel)


def unwrapped(model: Any) -> Any:
    """Return the model inside any number of wrappers.

    Only the model has ``kl`` and the other methods of a Bayesian model.
    """
    inner = _inside(model)
    while inner is not None:
        model, inner = inner, _inside(inner)
    return model


def to_predict_with(model: Any) -> Any:
    """Remove the outer wrappers that do nothing in a prediction.

    Without gradients, ``DistributedDataParallel`` has nothing to reduce, and its broadcast of buffers would wait for
    processes that do not predict.
    """
    while isinstance(model, _WRAPPERS) and not _spreads(model) and not _is_hooked(model):
        model = model.module
    return model


def no_shared_noise(model: Any, noise: object) -> None:
    """Refuse given noise that ``DataParallel`` would split among devices."""
    if noise is not None and _spreads(model):
        wanted = "to be None with a DataParallel of several devices, which would split it as it splits x"
        raise ValueError(fault("noise", wanted, type(noise).__name__))


def _inside(model: Any) -> Any:
    if isinstance(model, _WRAPPERS):
        return model.module
    # The wrapper of torch.compile is recognized by its name, because importing its class takes a second.
    return model._orig_mod if type(model).__name__ == "OptimizedModule" else None


def _spreads(model: Any) -> bool:
    return isinstance(model, DataParallel) and len(model.device_ids) > 1


def _is_hooked(model: nn.Module) -> bool:
    return bool(model._forward_hooks or model._forward_pre_hooks)
