"""Models in files: save, load, and classes of your own."""

from deepuq_jax.saving._registration import register
from deepuq_jax.saving.load import load, read_metadata
from deepuq_jax.saving.save import save

__all__ = ["load", "read_metadata", "register", "save"]
