"""Standard normal noise, drawn from a key or given."""

from deepuq_jax.noise.normal import draw_key, normal_like
from deepuq_jax.noise.sources import Antithetic, Draw, FromKey, Given, NoiseSource, noise_source

__all__ = ["Antithetic", "Draw", "FromKey", "Given", "NoiseSource", "draw_key", "noise_source", "normal_like"]
