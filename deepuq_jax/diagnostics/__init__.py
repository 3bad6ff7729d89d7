"""Tools that show whether a fit can be trusted.

They measure the health of a fit, compute importance weights of the posterior, and check the calibration of an inference
by simulation.
"""

from deepuq_jax.diagnostics.findings import FitHealth, LayerHealth
from deepuq_jax.diagnostics.health import diagnose, effective_temperature
from deepuq_jax.diagnostics.importance import log_importance_weights, pareto_khat
from deepuq_jax.diagnostics.simulation import CalibrationRanks, simulation_based_calibration

__all__ = [
    "CalibrationRanks",
    "FitHealth",
    "LayerHealth",
    "diagnose",
    "effective_temperature",
    "log_importance_weights",
    "pareto_khat",
    "simulation_based_calibration",
]
