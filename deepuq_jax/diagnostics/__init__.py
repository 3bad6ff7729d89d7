"""Whether a fit can be trusted: its health, importance weights, and simulation-based calibration of the inference."""

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
