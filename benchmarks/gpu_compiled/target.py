"""An H100 as a target of the compiler, without the card."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

# The specification of the card, with its source.
_FILE = Path(__file__).with_name("h100.json")
_PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")
# Triton's kernels for products are chosen by timing them on the card. Without the card, cuBLAS is the better guess.
OPTIONS = {"xla_gpu_enable_triton_gemm": False}


def specification() -> dict[str, Any]:
    """The fields of the target's description."""
    return json.loads(_FILE.read_text(encoding="utf-8"))["target"]


def bandwidth() -> float:
    """Bytes per second between the card's memory and its cores."""
    return float(specification()["gpu_device_info"]["memory_bandwidth"])


def text_of(fields: dict[str, Any]) -> str:
    """Fields in the text format of protocol buffers.

    >>> text_of({"name": "H100", "version": {"major": 9}})
    'name: "H100" version { major: 9 }'
    """
    parts = []
    for name, value in fields.items():
        if isinstance(value, dict):
            parts.append(f"{name} {{ {text_of(value)} }}")
        else:
            parts.append(f"{name}: {json.dumps(value)}")
    return " ".join(parts)


def sharding() -> SingleDeviceSharding:
    """Place arrays on the absent card.

    Raises:
        SystemExit: the plugin that holds the compiler is not installed.
    """
    if not any(find_spec(plugin) for plugin in _PLUGINS):
        plugin = f"{_PLUGINS[0]}=={jax.__version__}"
        raise SystemExit(f"Expected the package {plugin}, as in the extra gpu-compiled of pyproject.toml; got none.")
    text = text_of(specification())
    topology = topologies.get_topology_desc(platform="cuda", target_config=text, topology="1x1x1")
    return SingleDeviceSharding(topology.devices[0])
