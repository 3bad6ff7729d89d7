"""The zip archive of an exported program and its requirements."""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import asdict, dataclass
from typing import Any

import jax
from jax import export as jax_export

from deepuq_jax._paths import dotted
from deepuq_jax._version import __version__
from deepuq_jax.model.owners import join_paths
from deepuq_jax.saving.atomic import write_file

FORMAT = "deepuq_jax exported prediction, 1"
# All entries have the oldest date of the zip format, so that equal programs give equal files.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Needs:
    """The requirements, inputs and outputs of an exported program.

    Attributes:
        format: name and number of the format of the archive.
        jax: version that wrote the program. JAX runs programs that are up to six months older than itself.
        deepuq_jax: version that wrote the program; it is not needed to run it.
        calling_convention_version: the version of the calling convention of `jax.export`.
        platforms: platforms on which the program runs.
        inputs: type and shape of the arguments; "batch" is any positive number.
        outputs: type and shape of the returned arrays by name.
        n_samples: number of draws.
        level: probability of the interval from `lower` to `upper`, or None.
    """

    format: str
    jax: str
    deepuq_jax: str
    calling_convention_version: int
    platforms: list[str]
    inputs: dict[str, str]
    outputs: dict[str, str]
    n_samples: int
    level: float | None

    @classmethod
    def of(cls, exported: jax_export.Exported, *, n_samples: int, level: float | None, has_seed: bool) -> Needs:
        """Read the needs from an exported program."""
        (inputs, _) = jax.tree.unflatten(exported.in_tree, exported.in_avals)
        names = ("x", "seed") if has_seed else ("x",)
        outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
        return cls(
            format=FORMAT,
            jax=jax.__version__,
            deepuq_jax=__version__,
            calling_convention_version=exported.calling_convention_version,
            platforms=list(exported.platforms),
            inputs={name: kind for pair in zip(names, inputs, strict=True) for name, kind in _types(*pair).items()},
            outputs={name: kind for pair in outputs.items() for name, kind in _types(*pair).items()},
            n_samples=n_samples,
            level=level,
        )


def _types(name: str, tree: Any) -> dict[str, str]:
    """Describe the arrays of a tree by their dotted paths, as in {"x": "float32[batch, 4]"}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    kinds = [f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]" for _, leaf in leaves]
    return {join_paths(name, dotted(path)): kind for (path, _), kind in zip(leaves, kinds, strict=True)}


def write_package(path: str | os.PathLike[str], function: bytearray, needs: Needs) -> None:
    """Write the archive, whole or not at all."""
    buffer = io.BytesIO()
    text = json.dumps(asdict(needs), indent=1) + "\n"
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (("README.txt", _readme(needs)), ("needs.json", text), ("function", bytes(function))):
            archive.writestr(zipfile.ZipInfo(name, _DATE), data)
    write_file(path, [buffer.getvalue()])


def _readme(needs: Needs) -> str:
    """Explain how to run the program."""
    inputs = ", ".join(f"{name} {kind}" for name, kind in needs.inputs.items())
    outputs = "\n".join(f"  {name} {kind}" for name, kind in needs.outputs.items())
    platforms = ", ".join(needs.platforms)
    call = "function(x, numpy.uint32(0))  # another seed: other draws" if "seed" in needs.inputs else "function(x)"
    return f"""A prediction of a Bayesian neural network, averaged over {needs.n_samples} draws of its weights.

To run this program, install jax and flatbuffers. It was written with jax {needs.jax} for {platforms}.

  import zipfile
  import numpy
  from jax import export
  data = zipfile.ZipFile("THIS FILE").read("function")
  function = export.deserialize(bytearray(data)).call
  prediction = {call}

Inputs: {inputs}
Outputs, a dict of arrays:
{outputs}

Variances are squares of the units of the targets, entropies are in nats.
"""
