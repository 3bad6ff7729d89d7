"""The backend that a comparison computes on."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import jax

BACKENDS = ("cpu", "gpu")


def detect(jax_backend: Callable[[], str] = jax.default_backend) -> str:
    """Return "gpu" if JAX finds one, else "cpu"."""
    return "gpu" if jax_backend() in ("gpu", "cuda", "rocm") else "cpu"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add --backend."""
    parser.add_argument("--backend", choices=BACKENDS, help="default: the GPU if JAX finds one")


def parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Parse the arguments, and make JAX and torch compute on the chosen backend.

    Args:
        parser: has the option of `add_option`. It ends the program with exit code 2 if there is no such backend.
        argv: the arguments; None stands for those of the process.
    """
    args = parser.parse_args(argv)
    if args.backend == "cpu":
        jax.config.update("jax_platforms", "cpu")
        # Torch looks for a GPU when it is first asked for one.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif args.backend == "gpu" and detect() != "gpu":
        parser.error("Expected --backend gpu where JAX can use a GPU; got a machine without one.")
    return args
