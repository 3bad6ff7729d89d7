"""The description of a model, JSON in the file's header."""

from __future__ import annotations

from typing import Any

import flax
import jax
from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax.saving._builder import Builder
from deepuq_jax.saving._codec import CLASS, OWN, Leaf
from deepuq_jax.saving._model_arrays import Spec, is_key, spec_of
from deepuq_jax.saving._modes import ATTRIBUTES, EVALUATION, TRAINING, check_mode, common_mode, with_mode
from deepuq_jax.saving._registry import Registry

FORMAT = "deepuq"
VERSION = 1
_FIELDS = {"format_version", "writer", "mode", "model", "keys", "metadata"}


def describe(registry: Registry, model: Any, leaves: list[Leaf], version: str, metadata: Any) -> dict[str, Any]:
    """Describe a model.

    Args:
        registry: the classes that have a name in files.
        model: the model.
        leaves: its arrays.
        version: the version of this package.
        metadata: the user's metadata, a dict of JSON values.
    """
    versions = {"deepuq_jax": version, "jax": jax.__version__, "flax": flax.__version__}
    return {
        "format_version": VERSION,
        "writer": {"package": "deepuq_jax", "versions": versions},
        "mode": common_mode(model),
        "model": registry.describe(model, ""),
        "keys": {leaf.name: str(jax.random.key_impl(leaf.value)) for leaf in leaves if is_key(leaf.value)},
        "metadata": metadata,
    }


def checked(description: Any) -> dict[str, Any]:
    """Check the outer fields of a description.

    Raises:
        ValueError: a field is missing, unknown or of the wrong kind, or the format is newer than this package.
    """
    if not isinstance(description, dict):
        raise ValueError(expected("the description", "to be an object", type(description).__name__))
    version = description.get("format_version")
    if type(version) is not int or version < 1:
        raise ValueError(expected("format_version", "to be a positive int", f"{version!r:.100}"))
    if version > VERSION:
        what = f"of at most {VERSION}, which this deepuq_jax reads (a newer one reads newer files)"
        raise ValueError(expected("format_version", what, f"{version}"))
    if set(description) != _FIELDS:
        found = ", ".join(sorted(description))
        raise ValueError(expected("the description", f"with the fields {', '.join(sorted(_FIELDS))}", f"{found:.200}"))
    for name in ("writer", "model", "keys", "metadata"):
        if not isinstance(description[name], dict):
            raise ValueError(expected(name, "to be an object", type(description[name]).__name__))
    if description["mode"] not in ("train", "eval", None):
        raise ValueError(expected("mode", "to be 'train', 'eval' or null", f"{description['mode']!r:.100}"))
    return description


def skeleton(builder: Builder, node: Any) -> Any:
    """Build a model with shapes in place of arrays."""
    return nnx.eval_shape(lambda: builder.value(node))


def differences(file: Any, model: Any, path: str = "") -> list[str]:
    """List the settings in which two descriptions differ.

    A class of the caller's own in the file matches any class.
    """
    if isinstance(file, dict) and file.get(CLASS) == OWN:
        return []
    if isinstance(file, dict) and isinstance(model, dict) and file.get(CLASS) == model.get(CLASS):
        names = sorted(set(file) | set(model))
        pairs = [(f"{path}.{name}".strip("."), file.get(name, "nothing"), model.get(name, "nothing")) for name in names]
        return [line for at, one, other in pairs for line in differences(one, other, at)]
    if isinstance(file, list) and isinstance(model, list) and len(file) == len(model):
        pairs = zip(file, model, strict=True)
        return [line for i, (one, other) in enumerate(pairs) for line in differences(one, other, f"{path}.{i}")]
    if file == model and isinstance(file, bool) == isinstance(model, bool):
        return []
    return [f"{path or 'the class'} is {_shown(file)} in the file and {_shown(model)} in the model"]


def _shown(value: Any) -> str:
    if isinstance(value, dict) and CLASS in value:
        return f"{value[CLASS]}"
    return f"{value!r:.100}"


def array_differences(leaves: list[Leaf], found: dict[str, Spec]) -> list[str]:
    """List arrays that differ in name, shape or dtype."""
    wanted = {leaf.name: spec_of(leaf) for leaf in leaves}
    lines = [f"{name} is {wanted[name]} in the model and missing in the file" for name in wanted if name not in found]
    lines += [f"{name} is {found[name]} in the file and missing in the model" for name in found if name not in wanted]
    both = [name for name in wanted if name in found and wanted[name] != found[name]]
    return lines + [f"{name} is {found[name]} in the file and {wanted[name]} in the model" for name in both]


def in_mode_of(registry: Registry, model: Any, description: dict[str, Any]) -> Any:
    """Copy a model in the mode of a file."""
    whole = {"train": TRAINING, "eval": EVALUATION}.get(description["mode"])
    node = description["model"]
    if not isinstance(model, nnx.Module) and node.get(CLASS) == OWN:
        return with_mode(model, check_mode(node.get("mode")) or whole)
    copy = with_mode(model, whole)
    _set_modes(registry, copy, node)
    return copy


def _set_modes(registry: Registry, value: Any, node: Any) -> None:
    if not isinstance(value, nnx.Module) or not isinstance(node, dict):
        return
    settings = check_mode(node["mode"]) or {} if "mode" in node else node
    mode = {name: settings[name] for name in ATTRIBUTES if isinstance(settings.get(name), bool)}
    value.set_attributes(raise_if_not_found=False, **mode)
    codec = registry.find(value)
    for part in codec.parts(value) if codec is not None else []:
        _set_modes(registry, part.value, _inside(node, part.setting))


def _inside(node: Any, setting: tuple[str | int, ...]) -> Any:
    for step in setting:
        if isinstance(step, str):
            node = node.get(step) if isinstance(node, dict) else None
        else:
            node = node[step] if isinstance(node, list) and step < len(node) else None
    return node
