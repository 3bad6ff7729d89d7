"""Standard normal noise: how a key becomes numbers, and where the draws of a call come from."""

from deepuq_jax.noise.normal import draw_key, normal_like
from deepuq_jax.noise.sources import Antithetic, Draw, FromKey, Given, NoiseSource, noise_source

__all__ = ["Antithetic", "Draw", "FromKey", "Given", "NoiseSource", "draw_key", "noise_source", "normal_like"]
