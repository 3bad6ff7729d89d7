"""The number of the whole distribution, which deepuq_jax/_version.py holds too; a test compares them.

It is written here because importing deepuq_jax would import JAX, and the metadata of an editable install may be out of
date.
"""

__version__ = "0.2.0.dev0"
