"""Models in files that ``deepuq_jax`` reads and writes, too."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ._checks import fault
from ._saving_build import build
from ._saving_describe import describe, describe_own, names_own_parts
from ._saving_file import read_file, write_file
from ._saving_json import from_json, to_json
from ._saving_node import CLASS, OWN, Node, differences
from ._version import __version__
from ._wrappers import unwrapped

_VERSION = 1
_PACKAGE = "deepuq_torch"
_MODES = ("train", "eval")
_KEYS = {"format_version", "writer", "mode", "model", "keys", "metadata"}


def save(path: str | os.PathLike[str], model: nn.Module, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a model to a file.

    The file holds the architecture, the priors, the likelihood, the mode and all tensors, so ``load`` and
    ``deepuq_jax.load`` need nothing else. If a part of the model has a class that the format does not know, such as a
    feature extractor of your own, the file holds its tensors, and ``load`` takes its architecture from ``like``. The
    file does not record which parameters require a gradient, except whether all those of a last layer's feature
    extractor are frozen.

    The file is written whole or not at all: if anything fails, an earlier file at the path is unchanged.

    Args:
        path: path of the file, usually ``*.safetensors``.
        model: a model or a layer of this package, or any other module; also inside ``DistributedDataParallel``,
            ``DataParallel``, ``AveragedModel`` or ``torch.compile``.
        metadata: a JSON object of your own, such as the data set and the number of epochs, for ``read_metadata``.

    Raises:
        TypeError: the model is no ``torch.nn.Module``, or the metadata contains other values than strings, numbers,
            lists and dicts.
        ValueError: the model holds state that is not a dense tensor with values, or the metadata contains a number that
            is not finite.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from deepuq_torch import BayesByBackpropMLP, load
        >>> model = BayesByBackpropMLP(3, [8], 2, prior_sigma=0.5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/model.safetensors", model)
        ...     again = load(f"{folder}/model.safetensors")
        >>> torch.equal(again.kl(), model.kl()), again.prior_sigma
        (True, 0.5)
    """
    model = _need_module("model", unwrapped(model))
    if not isinstance(metadata, (Mapping, type(None))):
        raise TypeError(fault("metadata", "to be a dict", type(metadata).__name__))
    versions = {_PACKAGE: __version__, "torch": str(torch.__version__)}
    description = {
        "format_version": _VERSION,
        "writer": {"package": _PACKAGE, "versions": versions},
        "mode": "train" if model.training else "eval",
        "model": _description_of(model),
        "keys": {},
        "metadata": dict(metadata or {}),
    }
    to_json("metadata", description["metadata"])
    write_file(path, to_json("the description of the model", description), model.state_dict())


def load(
    path: str | os.PathLike[str],
    *,
    like: nn.Module | None = None,
    device: torch.device | str | None = None,
) -> Any:
    """Read a model that either package has saved.

    No code comes from the file. If the saved model has the likelihood ``Gaussian(sigma)``, ``model.noise_sigma`` is
    set, which ``negative_elbo``, ``vi_elbo_step`` and ``predict_vi_uq`` use unless their arguments say otherwise. If it
    has ``Categorical()``, ``task_type`` is "classification". A pruned model stays pruned.

    Args:
        path: path of the file.
        like: a module with the architecture of the saved model; it is not changed. It is needed if a part of the model
            has a class of your own. Its names, shapes, dtypes and settings must be those of the file.
        device: device of the model. If None, torch's default, or the devices of ``like``.

    Returns:
        the model, in the mode in which it was saved.

    Raises:
        ValueError: the file is damaged, of a newer format, or of another kind; its model has a part that this package
            does not have, such as a convolution or another prior than a Gaussian; or it differs from ``like``. The
            message lists every difference.
        TypeError: ``like`` is no ``torch.nn.Module``.
        OSError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> from deepuq_torch import BayesianLinear, save
        >>> def build():
        ...     return torch.nn.Sequential(BayesianLinear(3, 2), torch.nn.Softplus())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/model.safetensors", build())
        ...     model = load(f"{folder}/model.safetensors", like=build())
        >>> tuple(model(torch.ones(4, 3)).shape)
        (4, 2)
    """
    if like is not None:
        like = _need_module("like", unwrapped(like))
    with _naming(path):
        content = read_file(path)
        description = _read_description(content.description)
        empty = _matching(description, content.tensors, like)
    model = _filled(empty, content.tensors, device) if like is None else _copied(empty, content.tensors, device)
    model.train(description["mode"] != "eval")
    _set_own_modes(description["model"], model)
    return model


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the metadata that was saved with a model.

    Args:
        path: path of the file.

    Returns:
        the metadata as a dict.

    Raises:
        ValueError: the file is damaged, of a newer format, or of another kind.
        OSError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> from deepuq_torch import BayesByBackpropMLP, save
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/model.safetensors", BayesByBackpropMLP(3, [8], 2), metadata={"epochs": 20})
        ...     read_metadata(f"{folder}/model.safetensors")
        {'epochs': 20}
    """
    with _naming(path):
        return _read_description(read_file(path).description)["metadata"]


def _need_module(name: str, model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(fault(name, "to be a torch.nn.Module", type(model).__name__))
    return model


def _description_of(model: nn.Module) -> Node:
    """Describe a model; it is of an own class if it cannot be rebuilt from its description."""
    node = describe(model, model.training)
    if names_own_parts(node):
        return node
    wanted = _layout(build(node).state_dict())
    if wanted == _layout(model.state_dict()):
        return node
    return describe_own(model, model.training)


def _layout(tensors: Mapping[str, Tensor]) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn errors into ValueErrors that name the file."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        message = str(error)
        if not message.startswith("Expected "):  # a message of torch or Python, for example about a size too large
            message = fault("the file", "to hold a model that can be built", message.partition("\n")[0])
        raise ValueError(f"{message} The file is {os.fspath(path)!r}.") from error


def _read_description(text: str) -> Node:
    """Check a description down to the root of the model."""
    description = from_json("the description of the model", text)
    if not isinstance(description, dict) or type(description.get("format_version")) is not int:
        raise ValueError(fault("the description", "to be an object with a format_version", text[:80]))
    version = description["format_version"]
    if version != _VERSION:
        advice = "Update deepuq_torch to read it." if version > _VERSION else ""
        raise ValueError(fault("format_version", f"to be {_VERSION}, which this release knows", version, advice))
    if description.keys() != _KEYS:
        wanted = f"to have the keys {', '.join(sorted(_KEYS))}"
        raise ValueError(fault("the description", wanted, ", ".join(description)))
    writer, mode, keys = description["writer"], description["mode"], description["keys"]
    if not isinstance(writer, dict) or writer.keys() != {"package", "versions"}:
        raise ValueError(fault("writer", "to hold package and versions", writer))
    if mode is not None and mode not in _MODES:
        raise ValueError(fault("mode", "to be 'train', 'eval' or null", repr(mode)))
    if not isinstance(keys, dict) or not isinstance(description["metadata"], dict):
        raise ValueError(fault("keys and metadata", "to be objects", keys))
    return description


def _matching(description: Node, tensors: dict[str, Tensor], like: nn.Module | None) -> nn.Module:
    """Return the module for the tensors of a file: a new module without values, or ``like``."""
    node, writer = description["model"], description["writer"]["package"]
    model = build(node) if like is None else like
    different = [] if like is None else list(differences(node, _description_of(like)))
    if different:
        raise ValueError(fault("like", "to have the architecture of the file", "; ".join(different)))
    if names_own_parts(node) and writer != _PACKAGE:  # its arrays may have other layouts under the same names
        raise ValueError(fault("parts of own classes", f"to be written by {_PACKAGE}", repr(writer)))
    if description["keys"]:
        wanted = "to have no random keys, which only deepuq_jax has"
        raise ValueError(fault("the model", wanted, ", ".join(description["keys"])))
    state = model.state_dict()
    if like is not None and any(tensor.is_meta for tensor in state.values()):
        raise ValueError(fault("like", "to have tensors with values", "tensors on the device meta"))
    _need_same(tensors, state)
    return model


def _filled(model: nn.Module, tensors: dict[str, Tensor], device: torch.device | str | None) -> nn.Module:
    """Give a new model its values."""
    # In torch 2.6, torch.get_default_device() ignores `with torch.device(...)`.
    where = torch.empty(0).device if device is None else torch.device(device)
    model.load_state_dict({name: tensor.to(where, copy=True) for name, tensor in tensors.items()}, assign=True)
    return model


def _copied(like: nn.Module, tensors: dict[str, Tensor], device: torch.device | str | None) -> nn.Module:
    """Copy a model, with other values."""
    model = copy.deepcopy(like)
    if device is not None:
        model.to(device)
    model.load_state_dict(tensors)
    return model


def _need_same(tensors: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> None:
    """Require the names, shapes and dtypes of a model's state."""
    found, expected = _layout(tensors), _layout(wanted)
    faults = [f"no {name!r}" for name in expected if name not in found]
    faults += [f"a {name!r} that the model does not have" for name in found if name not in expected]
    faults += [
        f"{name!r} of shape {found[name][0]} and {found[name][1]}, not {expected[name][0]} and {expected[name][1]}"
        for name in expected
        if name in found and found[name] != expected[name]
    ]
    if faults:
        raise ValueError(fault("the arrays of the file", "to be those of the model", "; ".join(faults)))


def _set_own_modes(node: Any, module: Any) -> None:
    """Restore the modes in the parts of own classes."""
    if node[CLASS] == "LastLayerVariationalInference":
        _set_own_modes(node["feature_extractor"], module.feature_extractor)
    elif node[CLASS] == "Stack":
        for member, part in zip(node["members"], module, strict=True):
            _set_own_modes(member, part)
    elif node[CLASS] == OWN and isinstance(node["mode"], list):  # the names of the modules in evaluation mode
        for name, part in module.named_modules():
            part.training = name not in node["mode"]
