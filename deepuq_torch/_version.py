"""The version of the whole distribution, which is also in deepuq_jax/_version.py; a test compares the two.

It is repeated here because importing deepuq_jax would import JAX, and the metadata of an editable install may be out of
date.
"""

__version__ = "0.2.0"
